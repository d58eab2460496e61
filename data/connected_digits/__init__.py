"""Digit strings joined from single digits of one speaker."""
