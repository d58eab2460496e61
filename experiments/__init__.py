"""Command-line programs on top of rnnt_qat."""

from rnnt_qat.infra.early_interrupt import watch_imports

watch_imports()
