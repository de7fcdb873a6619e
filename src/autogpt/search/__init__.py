"""Which configurations are tried, in what order, and when one is stopped; knows nothing of models."""
