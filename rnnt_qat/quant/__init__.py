"""Operators of a chip in training: operator sets, policies, calibration and AQT."""
