"""Measurements, one script per claim.

Workers of peers run in environments without any of our packages, so that importing this needs none.
"""

from rnnt_qat.missing_packages import watch_packages

watch_packages()
