"""Specifications of the arithmetic of chips: one file per chip."""
