"""Metrics with intervals, baselines that need no GPT, the paired test between them, and the report."""
