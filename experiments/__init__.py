"""The binaries: short, over rnnt_qat."""
