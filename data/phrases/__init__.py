"""Corpora of phrases, one folder per phrase: wake words, Speech Commands."""
