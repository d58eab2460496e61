"""Corpora as tensorflow-datasets builders that do not need TensorFlow; one folder per corpus."""

from rnnt_qat.missing_packages import watch_imports

watch_imports()
