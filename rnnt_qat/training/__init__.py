"""Training: state, optimizer, update step, stages, loop, checkpoints."""
