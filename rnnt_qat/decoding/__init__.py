"""Frame-synchronous streaming search: one file a decoder."""
