"""Asterisk's recorded English telephone prompts."""
