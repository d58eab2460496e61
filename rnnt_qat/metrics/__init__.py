"""Word errors, confidence intervals, emission latency."""
