"""Log-mel features, frame stacking, SpecAugment."""
