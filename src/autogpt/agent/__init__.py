"""The agent room. `Agent` is the facade: the functions of the package on one object, and the hand-written loop."""

from autogpt.agent.agent import Agent

__all__ = ["Agent"]
