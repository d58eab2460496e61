"""Acoustic frontend: log-mel features, frame stacking, SpecAugment."""
