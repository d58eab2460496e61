"""Measurements, one script per claim."""

from rnnt_qat.missing_packages import watch_imports

watch_imports()
