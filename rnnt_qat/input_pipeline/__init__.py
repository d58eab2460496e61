"""From a prepared corpus to bucketed, padded batches."""
