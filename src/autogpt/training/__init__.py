"""The one training loop, what it optimizes, its checkpoints, and how the winner is finished."""
