"""Metrics: word errors, confidence intervals, emission latency, real-time factor."""
