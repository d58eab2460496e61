"""Synthetic English speech of any amount, generated offline: telephone prompts or books."""
