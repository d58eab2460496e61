"""Command-line programs on top of rnnt_qat."""
