"""Replay of an exported recognizer in several runtimes, integer by integer."""
