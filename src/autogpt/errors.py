"""The exception tree. Every error a user can meet says what happened, what was found, what was expected, what to do.

AutoGPTError            exit 1   the run failed
├── TrainingError       exit 1   training diverged or ran out of memory
├── StoreError          exit 1   the database or a checkpoint cannot be read or written
│   └── StoreUnavailable         not now: somebody else writes for long, or the database cannot be reached
├── EndpointError       exit 1   a language model that was asked over an endpoint did not answer
├── NoModelError        exit 3   the budget ended before any model existed
├── Interrupted         exit 130 stopped by the user, state kept
└── BadInput            exit 2   wrong usage, or input that cannot be used
    ├── DataError                a file, a row, a column, a label
    ├── TaskError                the description or the task it was understood as
    ├── ConfigError              an option, a config file, an override
    ├── ModelError               a model name, folder or base that is not there or not usable
    ├── BudgetError              a budget that cannot be read or is too short
    └── AccessError              an access key that opens nothing
        └── Forbidden            a valid key that does not reach so far
"""

from __future__ import annotations

__all__ = [
    "AccessError",
    "AutoGPTError",
    "BadInput",
    "BudgetError",
    "ConfigError",
    "DataError",
    "EndpointError",
    "Forbidden",
    "Interrupted",
    "ModelError",
    "NoModelError",
    "StoreError",
    "StoreUnavailable",
    "TaskError",
    "TrainingError",
]


class AutoGPTError(Exception):
    """Base of all errors raised on purpose; its text is one line that a person can act on.

    Args:
        what: what happened, with the place (file, row, option).
        found: what was there.
        expected: what would have been right.
        todo: what to do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, found: str = "", expected: str = "", todo: str = "") -> None:
        self.what, self.found, self.expected, self.todo = what, found, expected, todo
        super().__init__(str(self))

    def __str__(self) -> str:
        parts = [self.what]
        if self.found:
            parts.append(f"found {self.found}")
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.todo:
            parts.append(self.todo)
        return "; ".join(" ".join(part.split()) for part in parts)


class TrainingError(AutoGPTError):
    """Training diverged (a loss that is not finite) or the machine ran out of memory."""


class StoreError(AutoGPTError):
    """The database, a run folder or a checkpoint cannot be read or written."""


class StoreUnavailable(StoreError):
    """The database is there but cannot be used now; the same call may work in a minute."""


class EndpointError(AutoGPTError):
    """A language model that was asked over an endpoint did not answer, or with nothing that can be read."""


class NoModelError(AutoGPTError):
    """The budget ended before any model existed."""

    exit_code = 3


class Interrupted(AutoGPTError):
    """The user stopped the run; its state is kept and the message holds the line that resumes it."""

    exit_code = 130


class BadInput(AutoGPTError):
    """Wrong usage or input that cannot be used; nothing was written."""

    exit_code = 2


class DataError(BadInput):
    """A file, a row, a column or a label that cannot be used."""


class TaskError(BadInput):
    """A description that names nothing, or a task that does not fit its data."""


class ConfigError(BadInput):
    """An unknown option or a value that an option cannot have."""


class ModelError(BadInput):
    """A model, folder or base that is not there or cannot be used."""


class BudgetError(BadInput):
    """A budget that cannot be read, or too short to train anything."""


class AccessError(BadInput):
    """An access key that opens nothing. It reads the same for unknown, wrong, revoked and expired keys."""


class Forbidden(AccessError):
    """A valid access key whose role or models do not cover what was asked."""
