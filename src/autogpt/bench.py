"""What the stages of a run work on: one task or several with their rows, the machine, the space, the score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from autogpt.config import DataConfig, RunConfig
from autogpt.data import readers
from autogpt.data.corpus import Corpus, Texts
from autogpt.data.joint_corpus import JointCorpus
from autogpt.data.splits import Dataset, SealedSplit, prepare, with_fewer_rows
from autogpt.errors import BadInput
from autogpt.evaluation.joint import MeanScore, joined
from autogpt.evaluation.metrics import Metric, get_metric
from autogpt.evaluation.validate import Validator
from autogpt.generation.engine import Engine
from autogpt.registry import SAMPLERS
from autogpt.search.gpt_space import SCRATCH, space_for, space_for_several
from autogpt.search.space import Space
from autogpt.search.stopping import stopper
from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.tasks.task_file import addressed
from autogpt.tasks.understand import with_labels
from autogpt.training.admission import Admission, Ceilings, without_impossible
from autogpt.training.candidate import Candidate, build
from autogpt.training.finish import Judgement
from autogpt.training.machine import Machine, probe
from autogpt.training.starts import Start, bases_of, choose_bases

__all__ = [
    "Bench",
    "Known",
    "Part",
    "Told",
    "bench_of",
    "candidate_of",
    "judge",
    "judge_parts",
    "set_up",
    "set_up_tasks",
]


@dataclass(frozen=True, slots=True)
class Known:
    """A task that a model does already which is now taught another one.

    Attributes:
        model: folder of that model.
        rows: training rows of the task that it is reminded of.
        data, seed: by which its rows were split: what it has learnt from must not be held out now.
    """

    model: Path
    rows: int
    data: DataConfig
    seed: int


@dataclass(frozen=True, slots=True)
class Told:
    """A task as it was understood, and its files as they were read: training rows and, perhaps, test rows.

    Attributes:
        name: which of several tasks it is; empty where there is one.
        weight: how much it counts beside the others.
        known: where the model that training begins with does the task already.
    """

    spec: TaskSpec
    tables: Sequence[readers.Table]
    name: str = ""
    weight: float = 1.0
    known: Known | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A task of a bench: what is asked for, its rows as splits, and what scores a model on them; see `Told`."""

    spec: TaskSpec
    dataset: Dataset
    validator: Validator
    name: str = ""
    weight: float = 1.0
    known: Known | None = None

    @property
    def learnt(self) -> Dataset:
        """What is trained on: all training rows, or those that a known task is replayed with."""
        if self.known is None:
            return self.dataset
        return with_fewer_rows(self.spec, self.dataset, self.known.rows, self.known.seed)

    @property
    def told(self) -> dict[str, str]:
        """What an event about this task says of it: its name, where it has one."""
        return {"task": self.name} if self.name else {}

    def reason(self, option: str) -> str:
        """The option's name among the reasons of a run."""
        return f"{self.name}.{option}" if self.name else option


@dataclass(frozen=True, slots=True)
class Bench:
    """What the stages work on.

    Attributes:
        parts: the tasks that one model is to do; for most runs a single one.
        corpus: the training rows of all of them as tokens.
        bases: name → pretrained start.
        reasons: option → why "auto" became what it is.
        score: what decides between two models: the task's metric, or the mean score of several tasks.
    """

    parts: tuple[Part, ...]
    corpus: Texts
    machine: Machine
    bases: Mapping[str, Start]
    space: Space
    reasons: Mapping[str, str]
    score: Metric

    @property
    def direction(self) -> Literal["max", "min"]:
        return "max" if self.score.higher_is_better else "min"

    @property
    def label_losses(self) -> bool:
        """Whether the losses of `judge` are those of labels, which vary more from seed to seed than those of text."""
        return all(part.spec.kind is TaskKind.CLASSIFICATION for part in self.parts)

    @property
    def train_rows(self) -> int:
        """Training rows of all tasks."""
        return sum(len(part.dataset.train) for part in self.parts)

    def engine(self, candidate: Candidate, model: Any, place: int = 0) -> Engine:
        """`model`, which is the candidate's own or an average of it, ready to do the task at that place."""
        own = model if len(self.parts) == 1 else model.plain(place)
        return Engine(own, candidate.tokenizer, context=candidate.context, precision=self.machine.precision)

    def without_sealed_rows(self) -> Bench:
        """The same for a process that must not be able to read the test rows."""
        parts = tuple(
            replace(part, dataset=replace(part.dataset, sealed=SealedSplit(()), drops=())) for part in self.parts
        )
        return replace(self, parts=parts, corpus=_corpus_of(parts))


def set_up(config: RunConfig, spec: TaskSpec, tables: Sequence[readers.Table], seconds: float) -> Bench:
    """`set_up_tasks` of a single task."""
    return set_up_tasks(config, [Told(spec, tables)], seconds)


def set_up_tasks(config: RunConfig, tasks: Sequence[Told], seconds: float) -> Bench:
    """Everything that can be refused is refused here: rows, names of samplers and bases, wishes and ceilings."""
    rungs = (1.0,) if config.search.rungs == "auto" else config.search.rungs
    stopper(config.search.stopping, rungs, config.search.keep, config.search.spare)
    return bench_of(config, [_part(config, task) for task in tasks], seconds)


def bench_of(config: RunConfig, parts: Sequence[Part], seconds: float) -> Bench:
    """The bench of tasks whose rows are prepared, for a run that has so many seconds left."""
    parts = tuple(parts) if len(parts) > 1 else (replace(parts[0], name=""),)
    corpus, machine = _corpus_of(parts), probe(config.training.precision, config.training.threads)
    reasons = {"precision": f"{machine.precision}: {machine.reason}; {machine.threads} threads"}
    ceilings = Ceilings.of(config.search)
    bases = choose_bases(config.base, corpus, machine, seconds, reasons, ceilings.memory_of_trial)
    scratch, several = config.base in ("auto", SCRATCH), len(parts) > 1
    found = bases_of(bases, corpus, scratch=scratch)
    if several:
        sizes = [part.characters for part in corpus.parts]
        specs, names = [part.spec for part in parts], [part.name for part in parts]
        space = space_for_several(specs, sizes, found, names=names, scratch=scratch)
    else:
        space = space_for(parts[0].spec, corpus.characters, found, scratch=scratch)
    space = without_impossible(space.narrowed(config.search.space), config.search.space, bases)
    Admission(corpus, bases, config.training, machine.precision, ceilings).require_any(space)
    bench = Bench(parts, corpus, machine, bases, space, reasons, _score_of(parts))
    SAMPLERS.get(config.search.sampler)(space, config.seed, direction=bench.direction)
    return bench


def _part(config: RunConfig, task: Told) -> Part:
    test = task.tables[1] if len(task.tables) > 1 else None
    data, seed = (config.data, config.seed) if task.known is None else (task.known.data, task.known.seed)
    try:
        dataset = prepare(task.spec, task.tables[0], test, data, seed)
    except BadInput as error:
        if not task.name:
            raise
        raise addressed(error, task.name) from error
    spec = with_labels(task.spec, [example.target for example in (*dataset.train, *dataset.valid)])
    validator = Validator(spec, dataset.valid, config.evaluation.search_rows)
    return Part(spec, dataset, validator, task.name, task.weight, task.known)


def _corpus_of(parts: Sequence[Part]) -> Texts:
    corpora = [Corpus(part.spec, part.learnt) for part in parts]
    if len(corpora) == 1:
        return corpora[0]
    return JointCorpus(corpora, [part.weight for part in parts], [part.name for part in parts])


def _score_of(parts: Sequence[Part]) -> Metric:
    if len(parts) == 1:
        return get_metric(parts[0].spec.metric)
    return MeanScore([(part.spec, part.validator.examples, part.weight) for part in parts])


def candidate_of(bench: Bench, config: RunConfig, trial: Mapping[str, Any]) -> Candidate:
    """What the configuration of a trial trains, at step 0."""
    return build(
        trial,
        bench.corpus,
        base=bench.bases.get(trial["start"]),
        options=config.training,
        machine=bench.machine,
        longest_answer=config.evaluation.max_new_tokens,
        seed=config.seed,
    )


def judge(bench: Bench, candidate: Candidate, model: Any) -> Judgement:
    """What the validation rows say of `model`, which is the candidate's own or an average of it."""
    found = judge_parts(bench, candidate, model)
    return joined(bench.score, found) if isinstance(bench.score, MeanScore) else found[0]


def judge_parts(bench: Bench, candidate: Candidate, model: Any) -> list[Judgement]:
    """What the validation rows of each task say of `model`."""
    return [
        part.validator.judge(bench.engine(candidate, model, place), candidate.answering[place].max_new_tokens)
        for place, part in enumerate(bench.parts)
    ]
