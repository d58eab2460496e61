"""Input pipeline: bucketed, padded batches from prepared corpora."""
