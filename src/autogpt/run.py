"""One run: its folder, its row in the store, its clock and its stages, whatever happens to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from autogpt.config import RunConfig
from autogpt.errors import AutoGPTError, Interrupted, StoreError, StoreUnavailable
from autogpt.events import Consumer, Event, JsonlConsumer
from autogpt.search.racing import Budget
from autogpt.store.artifacts import RunFolder
from autogpt.store.database import RunRow, Store
from autogpt.training.watching import Watch

__all__ = ["Run", "recorded"]

_HEARTBEAT_S = 10.0
_PATIENCE_S, _PAUSE_S = 120.0, 1.0
"""How long a run waits for a database that cannot be used, and between two tries."""


@dataclass(slots=True)
class Run:
    """What every stage of a run shares.

    Attributes:
        stages: stage → seconds.
        watches: number of the trial → what says when its training goes wrong; None for the finish.
        busy_s: seconds spent training and scoring; the rest is overhead.
        reasons: option → why "auto" became what it is.
    """

    row: RunRow
    folder: RunFolder
    config: RunConfig
    store: Store
    budget: Budget
    consumers: list[Consumer]
    reasons: dict[str, str] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)
    busy_s: float = 0.0
    watches: dict[int | None, Watch] = field(default_factory=dict)
    _stage: tuple[str, float] = ("start", 0.0)
    _beat: float = 0.0

    def emit(self, kind: str, **data: Any) -> None:
        self.take(Event(kind, data))

    def take(self, event: Event) -> None:
        """Hand `event` to every consumer, and tell the store now and then that the run is alive."""
        watch = self.watches.setdefault(event.data.get("number"), Watch())
        for told in (event, *watch.look(event)):
            for consumer in self.consumers:
                consumer(told)
        if time.monotonic() - self._beat > _HEARTBEAT_S:
            self._beat = time.monotonic()
            self.keep(lambda: self.store.heartbeat(self.row.id, self.budget.elapsed()))

    def keep(self, write: Callable[[], object]) -> None:
        """Do a write to the store, which waits while the database cannot be used: hours of training are not lost to a
        minute without it. Raises StoreUnavailable after two minutes; the run can be resumed then."""
        end = time.monotonic() + _PATIENCE_S
        told = False
        while True:
            try:
                write()
                return
            except StoreUnavailable as error:
                if time.monotonic() > end:
                    raise
                if not told:
                    told, self._beat = True, time.monotonic()  # a heartbeat would have to wait as well
                    self.emit("pipeline.note", message=f"{error.what} ({error.found}): waiting for it")
                time.sleep(_PAUSE_S)

    def stage(self, name: str, message: str = "") -> None:
        """Begin a stage; the time since the last one began is booked to that one."""
        now, (last, began) = self.budget.elapsed(), self._stage
        self.stages[last] = self.stages.get(last, 0.0) + now - began
        self._stage = (name, now)
        self.keep(lambda: self.store.heartbeat(self.row.id, now))
        self.emit("pipeline.stage", stage=name, message=message, left_s=round(self.budget.remaining(), 1))

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Book what happens inside as training or scoring."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.busy_s += time.perf_counter() - began


@contextmanager
def _beating(run: Run) -> Iterator[None]:
    """Tells the store that the run is alive, however long an evaluation is silent."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(_HEARTBEAT_S):
            # A database that is gone for a moment, or a run that another process took, is said by the run's next event.
            with suppress(StoreError):
                run.store.heartbeat(run.row.id, run.budget.elapsed())

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _ended(run: Run, state: Literal["interrupted", "failed"], error: str = "") -> None:
    # Where the store cannot take it, the run counts as lost when its heartbeat is old; the reason why it ended goes on.
    with suppress(StoreError):
        run.store.finish_run(run.row.id, state, error, spent_s=run.budget.elapsed())


@contextmanager
def recorded(run: Run) -> Iterator[Run]:
    """The run with its event file open; how it ended goes to the store, whatever happens.

    Raises Interrupted, with the line that resumes the run, when the user stops it.
    """
    log = JsonlConsumer(run.folder.events)
    run.consumers.insert(0, log)
    try:
        with _beating(run):
            yield run
    except (KeyboardInterrupt, Interrupted):  # the latter from a run within this one
        _ended(run, "interrupted")
        usable = f"; the best model so far is in {run.folder.so_far}" if run.folder.so_far.exists() else ""
        raise Interrupted(f"stopped{usable}; go on with: autogpt runs resume {run.row.id}") from None
    except BaseException as error:
        text = str(error) if isinstance(error, AutoGPTError) else f"{type(error).__name__}: {error}"
        _ended(run, "failed", text)
        raise
    finally:
        log.close()
    run.keep(lambda: run.store.finish_run(run.row.id, "finished", spent_s=run.budget.elapsed()))
