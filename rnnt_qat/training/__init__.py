"""State, optimizer, update step, loop, checkpoints."""
