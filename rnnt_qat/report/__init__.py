"""Self-contained HTML reports of stored evaluation results."""
