"""Accelerator-aware training of streaming RNN transducers. WORKSPACE.md is the map."""
