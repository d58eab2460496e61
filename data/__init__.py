"""Corpora as tensorflow-datasets builders that do not need TensorFlow; one folder per corpus."""
