"""Frame-synchronous streaming search: one file per decoder."""
