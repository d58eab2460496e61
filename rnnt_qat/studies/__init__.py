"""Several recognizers side by side: sweeps, comparisons, diagnoses, chips."""
