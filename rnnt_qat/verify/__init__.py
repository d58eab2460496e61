"""Replay of an exported recognizer in several runtimes, compared integer by integer."""
