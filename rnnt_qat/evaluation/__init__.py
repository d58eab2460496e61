"""Streaming evaluation of test sets, with reports and plots."""
