"""Corpora as tensorflow-datasets builders that need no TensorFlow; one folder a corpus."""
