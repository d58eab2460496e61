"""Command-line programs on top of rnnt_qat."""

from rnnt_qat.missing_packages import watch_imports

watch_imports()
