"""Fixed-point arithmetic on integer arrays: pure functions, no Flax."""
