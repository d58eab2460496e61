"""Recorded dialogues of The Ur-Quan Masters."""
