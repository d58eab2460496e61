"""Streaming layers: one call for a chunk or for the whole utterance."""
