"""The jitted streaming evaluator, its reports and plots."""
