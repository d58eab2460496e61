"""The chip's operators inside training: operator sets, policies, calibration, AQT."""
