"""What the tests of this folder share."""

from __future__ import annotations

import pytest

from autogpt.tasks.spec import TaskKind, TaskSpec


@pytest.fixture(scope="session")
def colour_spec() -> TaskSpec:
    """Texts sorted into red and green."""
    return TaskSpec(
        description="d",
        kind=TaskKind.CLASSIFICATION,
        input_fields=["text"],
        output_field="label",
        labels=["red", "green"],
        metric="accuracy",
        direction="max",
    )
