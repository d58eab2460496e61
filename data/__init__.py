"""Corpora as tensorflow-datasets builders that do not need TensorFlow; one folder per corpus."""

from rnnt_qat.infra.early_interrupt import watch_imports

watch_imports()
