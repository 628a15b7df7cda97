"""Evidence that two models, or two regions, compute the same: inputs, evaluation, comparison, verdicts."""
