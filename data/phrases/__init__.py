"""Folders that are named after what is said in them: wake words, Speech Commands."""
