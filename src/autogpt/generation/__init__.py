"""How a model answers: sampling, the engine that runs it, and predictions for every kind of task."""
