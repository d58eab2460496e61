"""Studies of several recognizers: sweeps, comparisons, diagnoses, chip reports."""
