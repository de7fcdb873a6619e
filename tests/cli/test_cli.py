"""The command line: exit codes, one-line errors, JSON purity, and each verb against a scripted model."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from autogpt.cli import common
from autogpt.errors import DataError, Interrupted, NoModelError, TrainingError
from autogpt.events import Event
from autogpt.tasks.spec import TaskKind

Cli = Callable[..., Any]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [{"text": f"message {n} 你好", "label": ("refund", "praise")[n % 2], "id": n} for n in range(40)]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


def is_one_error_line(text: str) -> bool:
    lines = text.strip().splitlines()
    return len(lines) == 1 and lines[0].startswith("autogpt: error: ")


# --- errors and exit codes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["fit", "sort", "--data", "no-such-file.csv"], "--data 'no-such-file.csv' does not exist"),
        (["fit", "sort", "--data", "{rows}", "--test", "none.csv"], "--test 'none.csv' does not exist"),
        (["fit", "sort", "--data", "{rows}", "--budget", "soon"], "--budget cannot be read; found 'soon'"),
        (["fit", "sort", "--data", "{rows}", "--sampler", "bayse"], "unknown sampler 'bayse'; did you mean 'bayes'?"),
        (["fit", "sort", "--data", "{rows}", "--set", "search.samplr=random"], "did you mean 'sampler'?"),
        (["fit", "sort", "--data", "{rows}", "--set", "nonsense"], "--set cannot be read"),
        (["fit", "sort", "--data", "{rows}", "--config", "none.yaml"], "no config file 'none.yaml'"),
        (["fit", "sort"], "Missing option '--data'"),
        (["fit", "sort", "--data", "{rows}", "--bugdet", "1m"], "No such option: --bugdet"),
        (["fti"], "No such command 'fti'"),
        (["generate", "no-such-model", "text"], "no model 'no-such-model'; there are no models yet"),
        (["generate", "m", "text", "--file", "{rows}"], "--file; found a text or --stream beside it"),
        (["generate", "m", "text", "--out", "x"], "--out without --file"),
        (["generate", "m", "text", "--stream", "--json"], "--stream with --json"),
        (["generate", "m", "--file", "{rows}", "--out", "no/such/folder/x"], "--out; found 'no/such/folder/x'"),
        (["generate", "m", "--seed", "x"], "Invalid value for '--seed'"),
        (["generate", "m"], "standard input is empty"),
        (["evaluate", "m", "--data", "none.csv"], "--data 'none.csv' does not exist"),
        (["models", "show", "m"], "no model 'm'"),
        (["models", "remove", "m"], "no model 'm'"),
        (["runs", "show", "r"], "no run 'r'"),
        (["runs", "resume"], "no run to resume"),
        (["data", "inspect", "none.csv"], "FILE 'none.csv' does not exist"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_bad_input_is_one_line_and_exit_2(
    cli: Cli, home: Path, rows: Path, argv: list[str], message: str, as_json: bool
) -> None:
    argv = [str(rows) if argument == "{rows}" else argument for argument in argv]
    done = cli(*argv, *(["--json"] if as_json and "--json" not in argv else []))
    assert done.code == 2
    assert is_one_error_line(done.err)
    assert message in done.err
    if as_json or "--json" in argv:
        error = done.document["error"]
        assert error["message"] in done.err
        assert error["exit_code"] == 2
    else:
        assert done.out == ""
    assert not (home / "runs").exists()


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (DataError("a.csv has one class", todo="add another"), 2, "a.csv has one class; add another"),
        (TrainingError("the loss is\nnot finite"), 1, "the loss is not finite"),
        (NoModelError("the budget ended"), 3, "the budget ended"),
        (Interrupted("stopped; go on with: autogpt runs resume r1"), 130, "autogpt runs resume r1"),
        (KeyError("x"), 1, "unexpected KeyError: 'x'; run again with --debug for the traceback"),
        (OSError(28, "No space left on device"), 2, "no disk space left"),
        (PermissionError(13, "Permission denied", "/x/y"), 2, "'/x/y' cannot be used: Permission denied"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_how_fit_ends(
    cli: Cli, rows: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, message: str
) -> None:
    from autogpt import pipeline

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(pipeline, "fit", fails)
    done = cli("fit", "sort", "--data", rows, "-q")
    assert (done.code, done.out) == (code, "")
    assert is_one_error_line(done.err)
    assert message in done.err
    done = cli("fit", "sort", "--data", rows, "-q", "--json")
    assert done.code == done.document["error"]["exit_code"] == code
    if not isinstance(error, KeyboardInterrupt):
        done = cli("fit", "sort", "--data", rows, "-q", "--debug")
        assert "Traceback (most recent call last)" in done.err
        assert "run again with --debug" not in done.err


def test_a_group_without_a_verb_shows_its_help(cli: Cli) -> None:
    done = cli("models")
    assert done.code == 2
    assert "Usage: autogpt models" in done.err


def test_version_and_help(cli: Cli) -> None:
    assert cli("--version").out.startswith("0.")
    assert cli().out == cli("--help").out == cli("-h").out
    assert cli("fit", "--help").code == 0


def test_help_loads_neither_pydantic_nor_yaml_nor_rich() -> None:
    script = (
        "import sys\nfrom autogpt.cli.main import run\n"
        "heavy = {'torch', 'transformers', 'numpy', 'pydantic', 'yaml', 'rich', 'sqlalchemy', 'importlib.metadata'}\n"
        "print('LOADED', run(['--help']), sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.rpartition("LOADED")[2].strip() == "0 []"


def test_a_reader_that_leaves_is_no_error(home: Path) -> None:
    """`autogpt … | head -0`: the pipe is closed before anything is written."""
    script = "from autogpt.cli.main import main; main()"
    for argv in (["fit", "--help"], ["runs", "show", "none", "--json"]):
        process = subprocess.Popen(
            [sys.executable, "-c", script, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        complaint = process.stderr.read().decode()
        process.stderr.close()
        process.wait(timeout=60)
        assert "Traceback" not in complaint
        assert "BrokenPipe" not in complaint


# --- fit -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def fitted(make_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replaces `pipeline.fit` by one that tells a short story; the list holds what it was called with."""
    from autogpt import pipeline

    calls: list[dict[str, Any]] = []
    model = make_model(labels=["refund", "praise"])

    def fit(description: str, data: Path, *, consumers: Sequence[Any], **options: Any) -> Any:
        calls.append({"description": description, "data": data, **options})
        for kind, told in (
            ("pipeline.understood", {"spec": model.spec.model_dump(mode="json")}),
            ("pipeline.stage", {"stage": "search", "left_s": 60.0}),
            ("search.trial_finished", {"trial": {"number": 0, "state": "finished", "score": 0.9}}),
            (
                "pipeline.done",
                {
                    "report": "/runs/r/report.md",
                    "verdict": "Clearly better than TF-IDF.",
                    "overhead": 0.042,
                    "next": ["autogpt generate topics '…'", "autogpt runs show r"],
                },
            ),
        ):
            for consumer in consumers:
                consumer(Event(kind, told))
        return model

    summary = {**model.recipe["fit"], "task": model.spec.model_dump(mode="json")}
    monkeypatch.setattr(pipeline, "fit", fit)
    monkeypatch.setattr(pipeline, "fit_summary", lambda _: summary)
    return calls


def test_fit_prints_what_was_understood_before_and_the_outcome_after(
    cli: Cli, rows: Path, fitted: list[dict[str, Any]]
) -> None:
    done = cli("fit", "Sort messages by topic.", "--data", rows)
    assert done.code == 0
    for part in ("Understood", "refund, praise", "searching", "trial 0: finished, accuracy 0.9"):
        assert part in done.err
    for part in (
        "accuracy 0.9 [0.85, 0.94] on 200 unseen rows",
        "Clearly better than TF-IDF.",
        "/runs/r/report.md",
        "1:01, 7 trials, 4% outside training and evaluation",
        "autogpt generate topics '…'",
        "autogpt runs show r",
    ):
        assert part in done.out


def test_fit_speaks_the_language_of_the_sentence(cli: Cli, rows: Path, fitted: list[dict[str, Any]]) -> None:
    done = cli("fit", "给消息分类", "--data", rows)
    assert "理解为" in done.err
    assert "行未见数据" in done.out


def test_fit_json_is_one_document_and_quiet_is_quiet(cli: Cli, rows: Path, fitted: list[dict[str, Any]]) -> None:
    done = cli("fit", "sort", "--data", rows, "--json")
    assert done.document["metric"]["value"] == 0.9
    assert "searching" in done.err
    assert cli("fit", "sort", "--data", rows, "--json", "-q").err == ""


def test_fit_options_reach_the_pipeline(cli: Cli, rows: Path, tmp_path: Path, fitted: list[dict[str, Any]]) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("seed: 5\nbudget: 1h\nsearch: {max_trials: 3}\n", encoding="utf-8")
    options = ["--budget", "2m", "--base", "scratch", "--sampler", "random", "--name", "n", "--fresh"]
    sets = ["--set", "task.kind=extraction", "--set", "search.max_trials=4"]
    assert cli("fit", "sort", "--data", rows, "--test", rows, "--config", config, *options, *sets).code == 0
    call = fitted[0]
    settings = call.pop("config")
    assert call == {"description": "sort", "data": [rows], "test": [rows], "name": "n", "fresh": True}
    assert (settings.seed, settings.budget, settings.base) == (5, "2m", "scratch")
    assert (settings.search.sampler, settings.search.max_trials) == ("random", 4)
    assert settings.task == {"kind": "extraction"}


def test_a_known_task_is_shown_with_the_verdict_of_then(
    cli: Cli, rows: Path, fitted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from autogpt import pipeline

    told = pipeline.fit
    monkeypatch.setattr(pipeline, "fit", lambda *args, consumers, **options: told(*args, consumers=(), **options))
    done = cli("fit", "sort", "--data", rows)
    assert "Clearly better than TF-IDF." in done.out
    assert "autogpt models show topics" in done.out


# --- generate --------------------------------------------------------------------------------------------------------


def test_generate_label_from_argument_pipe_and_dash(cli: Cli, make_model: Callable[..., Any]) -> None:
    model = make_model()
    for done in (
        cli("generate", "m", "hello"),
        cli("generate", "m", stdin=b"hello\n"),
        cli("generate", "m", "-", stdin=b"hello"),
    ):
        assert done.out == "refund\n  refund 70.0%  delivery 20.0%  praise 6.0%\n"
    assert [asked for asked, _ in model.asked] == [["hello"]] * 3


def test_generate_reads_gb18030_and_a_byte_order_mark(cli: Cli, make_model: Callable[..., Any]) -> None:
    model = make_model()
    cli("generate", "m", stdin="退款".encode("gb18030"))
    cli("generate", "m", stdin=b"\xef\xbb\xbf" + "退款".encode())
    assert [asked for asked, _ in model.asked] == [["退款"], ["退款"]]
    done = cli("generate", "m", stdin=b"\xff\xff\xff")
    assert (done.code, "not text" in done.err) == (2, True)


def test_generate_text_kinds_and_sampling_options(cli: Cli, make_model: Callable[..., Any]) -> None:
    model = make_model(TaskKind.SUMMARIZATION, metric="rougeL")
    assert cli("generate", "m", "a b c", "--temperature", "0.5", "--set", "top_p=0.9", "--seed", "3").out == "A B C\n"
    assert model.asked[0] == ("a b c", {"temperature": 0.5, "top_p": 0.9, "seed": 3})
    assert cli("generate", "m", "a b", "--stream", "--max-new-tokens", "7").out == "A B \n"
    assert model.asked[1] == ("a b", {"max_new_tokens": 7})


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(TaskKind.MULTI_LABEL, "refund, delivery\n  refund 90.0%\n"), (TaskKind.EXTRACTION, "PER\tAnn\t0–3\n")],
)
def test_generate_structured_for_a_person(
    cli: Cli, make_model: Callable[..., Any], kind: TaskKind, expected: str
) -> None:
    make_model(kind)
    assert cli("generate", "m", "Ann wants money").out == expected


def test_generate_json(cli: Cli, make_model: Callable[..., Any]) -> None:
    make_model()
    document = cli("generate", "m", "你好", "--json").document
    assert (document["model"], document["input"], document["prediction"]) == ("topics", "你好", "refund")
    assert sum(document["scores"].values()) == pytest.approx(1.0)


def test_generate_file_keeps_order_and_fields(
    cli: Cli, make_model: Callable[..., Any], rows: Path, tmp_path: Path
) -> None:
    model = make_model()
    out = tmp_path / "out.jsonl"
    done = cli("generate", "m", "--file", rows, "--out", out)
    assert (done.code, done.out) == (0, "")
    written = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    given = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    assert [{key: row[key] for key in ("text", "label", "id")} for row in written] == given
    assert {row["prediction"] for row in written} == {"refund"}
    assert all(set(row["scores"]) == {"refund", "delivery", "praise", "other"} for row in written)
    assert sum(len(asked) for asked, _ in model.asked) == 40
    assert cli("generate", "m", "--file", rows).out == out.read_text(encoding="utf-8")
    assert cli("generate", "m", "--file", rows, "--out", out, "--json").document["n"] == 40
    assert len(cli("generate", "m", "--file", rows, "--json").document["rows"]) == 40


def test_generate_csv_and_plain_text_files(cli: Cli, make_model: Callable[..., Any], tmp_path: Path) -> None:
    model = make_model(TaskKind.SUMMARIZATION, input_fields=["body"], metric="rougeL")
    (tmp_path / "a.csv").write_text("text,n\nx y,007\n", encoding="utf-8")
    (row,) = cli("generate", "m", "--file", tmp_path / "a.csv", "--json").document["rows"]
    assert row == {"text": "x y", "n": "007", "prediction": "X Y"}
    (tmp_path / "a.txt").write_text("one paragraph of text\n", encoding="utf-8")
    (row,) = cli("generate", "m", "--file", tmp_path / "a.txt", "--json").document["rows"]
    assert row["prediction"] == "ONE PARAGRAPH OF TEXT"
    assert model.asked[-1][0] == ["one paragraph of text"]  # as text, whatever the task calls its column


def test_generate_file_with_an_unreadable_row_writes_nothing(
    cli: Cli, make_model: Callable[..., Any], rows: Path, tmp_path: Path
) -> None:
    make_model()
    rows.write_text(rows.read_text(encoding="utf-8") + "{not json\n", encoding="utf-8")
    out = tmp_path / "out.jsonl"
    done = cli("generate", "m", "--file", rows, "--out", out)
    assert done.code == 2
    assert "rows.jsonl:41" in done.err
    assert not out.exists()


# --- chat ------------------------------------------------------------------------------------------------------------


def test_chat_piped_keeps_the_history(cli: Cli, make_model: Callable[..., Any]) -> None:
    model = make_model(TaskKind.DIALOGUE, metric="bits_per_byte", direction="min")
    done = cli("chat", "m", "--seed", "1", stdin="hi\n\n再见\n".encode())
    assert done.out == "you said hi\nyou said 再见\n"
    assert [turn["content"] for turn in model.asked[1][0]] == ["hi", "you said hi", "再见"]
    assert model.asked[0][1] == {"seed": 1}


def test_chat_commands(cli: Cli, make_model: Callable[..., Any], tmp_path: Path) -> None:
    model = make_model(TaskKind.DIALOGUE)
    saved = tmp_path / "talk.jsonl"
    lines = f"one\n/clear\ntwo\n/save {saved}\n/save\n/save no/such/folder/x\n/what\n/exit\nthree\n"
    done = cli("chat", "m", stdin=lines.encode())
    assert done.out == "you said one\nyou said two\n"
    assert [len(messages) for messages, _ in model.asked] == [1, 1]
    messages = json.loads(saved.read_text(encoding="utf-8"))["messages"]
    assert [turn["role"] for turn in messages] == ["user", "assistant"]
    for part in ("cleared", "saved to", "unknown command /save", "unknown command /what", "'no/such/folder/x'"):
        assert part in done.err


def test_chat_ctrl_c_stops_the_reply_only(cli: Cli, make_model: Callable[..., Any]) -> None:
    model = make_model(TaskKind.DIALOGUE)
    done = cli("chat", "m", stdin=b"stop me\nand on\n")
    assert done.code == 0
    assert "you said and on" in done.out
    assert [turn["content"] for turn in model.asked[1][0]] == ["stop me", "you said stop me", "and on"]


def test_chat_json_is_one_document(cli: Cli, make_model: Callable[..., Any]) -> None:
    make_model(TaskKind.DIALOGUE)
    done = cli("chat", "m", "--json", stdin=b"hi\n")
    assert done.document["messages"][-1] == {"role": "assistant", "content": "you said hi"}
    assert "you said hi" in done.err


# --- evaluate, models, runs ------------------------------------------------------------------------------------------


def test_evaluate(cli: Cli, make_model: Callable[..., Any], rows: Path) -> None:
    make_model()
    done = cli("evaluate", "m", "--data", rows)
    assert "accuracy" in done.out
    assert "[0.7, 0.8]" in done.out
    assert cli("evaluate", "m", "--data", rows, "--json").document["metrics"]["macro_f1"]["value"] == 0.5
    assert "adapting" not in done.out
    assert "bits_per_byte, adapting" in cli("evaluate", "m", "--data", rows, "--adapt").out


@pytest.fixture
def stored(home: Path) -> Any:
    """A home with two runs, one of them finished with a model."""
    from autogpt.store.database import Store
    from autogpt.types import MetricValue

    with Store(home) as store:
        spec = {"kind": "classification"}
        settings = {"description": "Sort [bold] messages.", "budget": "10m"}
        first = store.start_run("topics", spec=spec, fingerprint="f", config=settings, budget_s=600.0)
        trial = {"number": 0, "config": {"lr": 0.01}, "state": "stopped", "score": 0.5, "reason": "place 3 of 3"}
        store.record_trial(first.id, {**trial, "reports": [{"share": 0.25, "score": 0.5}], "seconds": 9.0})
        folder = home / "models" / "topics"
        folder.mkdir(parents=True)
        metric = MetricValue("accuracy", 0.9, (0.85, 0.94), 200, True)
        store.register_model("topics", folder=folder, metric=metric, run=first.id, description="Sort [bold] messages.")
        store.finish_run(first.id, "finished", spent_s=61.0)
        second = store.start_run("other", spec=spec, fingerprint="g", config=settings, budget_s=60.0)
        store.finish_run(second.id, "interrupted")
    return first.id, second.id


def test_models_list_and_remove(cli: Cli, home: Path, stored: Any) -> None:
    done = cli("models", "list")
    for part in ("topics", "accuracy", "0.9", "[0.85, 0.94]", "Sort [bold] messages."):
        assert part in done.out
    assert cli("models", "list", "-q").out == "topics\n"
    (listed,) = cli("models", "list", "--json").document["models"]
    assert listed["metric"] == {"name": "accuracy", "value": 0.9, "ci95": [0.85, 0.94]}
    done = cli("models", "remove", "topics", "topixs")
    assert (done.code, "did you mean 'topics'" in done.err) == (2, True)
    assert cli("models", "list", "-q").out == "topics\n"
    assert "topics removed" in cli("models", "remove", "topics").out
    assert not (home / "models" / "topics").exists()
    done = cli("models", "list")
    assert (done.code, "no models yet" in done.err) == (0, True)


def test_models_show(cli: Cli, make_model: Callable[..., Any]) -> None:
    make_model()
    done = cli("models", "show", "m")
    for part in ("classification", "accuracy 0.9 [0.85, 0.94] on 200 rows", "lr=0.001", "TF-IDF"):
        assert part in done.out
    assert cli("models", "show", "m", "--json").document["bytes"] > 100


def test_models_pull(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from autogpt.models import bases

    monkeypatch.setattr(bases, "pull", lambda name, folder, progress: folder / "cache" / name)
    document = cli("models", "pull", "smollm2-135m", "--json").document
    assert document == {"base": "smollm2-135m", "folder": str(home / "cache" / "smollm2-135m")}


def test_runs_list_and_show(cli: Cli, stored: tuple[str, str]) -> None:
    first, second = stored
    done = cli("runs", "list")
    assert done.out.index(second) < done.out.index(first)
    assert "1:01 of 10:00" in done.out
    assert [run["state"] for run in cli("runs", "list", "--json").document["runs"]] == ["interrupted", "finished"]
    done = cli("runs", "show", first)
    for part in ("Sort [bold] messages.", "lr=0.01", "25%", "place 3 of 3"):
        assert part in done.out
    assert cli("runs", "show", first, "--json").document["trials"][0]["reason"] == "place 3 of 3"


def test_runs_compare(cli: Cli, home: Path, stored: tuple[str, str]) -> None:
    done = cli("runs", "compare", *stored)
    assert (done.code, f"run {stored[0]} has no report" in done.err) == (2, True)
    for run, value, rate in zip(stored, (0.9, 0.8), (0.01, 0.02), strict=True):
        score = {"name": "accuracy", "value": value, "ci95": [value - 0.05, value + 0.05], "n": 200}
        report = {"description": "Sort.", "primary": "accuracy", "scores": [score], "verdict": "good", "trials": []}
        report |= {"reasons": {}, "stages": {"search": 9.0}, "model": "m", "chosen": {"lr": rate, "width": 128}}
        folder = home / "runs" / run
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    done = cli("runs", "compare", *stored)
    for part in ("0.9", "[0.75, 0.85]", "0.02"):
        assert part in done.out
    assert "width" not in done.out  # is the same in both
    assert "their data differ" in done.err
    listed = cli("runs", "compare", *stored, "--json").document["runs"]
    assert [one["chosen"]["lr"] for one in listed] == [0.01, 0.02]
    assert cli("runs", "compare", stored[0]).code == 2


def test_a_run_whose_process_is_gone_is_lost(
    cli: Cli, stored: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from autogpt.config import home as home_folder
    from autogpt.store.database import Store

    with Store(home_folder()) as store:
        store.claim_run(stored[1])
    assert cli("runs", "list", "--json").document["runs"][0]["state"] == "running"
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    assert cli("runs", "list", "--json").document["runs"][0]["state"] == "lost"


def test_resume_takes_the_newest_unfinished_run(
    cli: Cli, stored: tuple[str, str], fitted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from autogpt import pipeline

    resumed: list[str] = []

    def resume(run_id: str, *, consumers: Sequence[Any]) -> Any:
        resumed.append(run_id)
        return pipeline.fit("", Path(), consumers=consumers)

    monkeypatch.setattr(pipeline, "resume", resume)
    assert cli("runs", "resume", "--json").document["model"] == "topics"
    assert cli("runs", "resume", stored[1], "-q").code == 0
    assert resumed == [stored[1]] * 2


# --- data inspect ----------------------------------------------------------------------------------------------------


def test_data_inspect(cli: Cli, rows: Path) -> None:
    lines = rows.read_text(encoding="utf-8").splitlines()
    rows.write_text("\n".join([*lines, lines[0], '{"broken": ']) + "\n", encoding="utf-8")
    document = cli("data", "inspect", rows, "--json").document
    assert (document["format"], document["encoding"], document["rows"], document["duplicates"]) == (
        "jsonl",
        "utf-8",
        41,
        1,
    )
    assert sum(document["drops"].values()) == 1
    columns = {column["name"]: column for column in document["columns"]}
    assert columns["text"]["types"] == {"str": 41}
    assert columns["text"]["chars"] == {"p0": 12, "p50": 13, "p90": 13, "p99": 13, "p100": 13}
    assert columns["label"]["distinct"] == 2
    assert columns["id"]["types"] == {"int": 41}
    done = cli("data", "inspect", rows)
    for part in ("41 rows, 1 duplicates", "refund | praise", "layout table"):
        assert part in done.out


def test_data_inspect_with_a_sentence(cli: Cli, rows: Path) -> None:
    document = cli("data", "inspect", rows, "Sort messages by label.", "--json").document
    assert document["task"]["kind"] == "classification"
    assert document["usable_rows"] == 40
    done = cli("data", "inspect", rows, "按标签给消息分类")
    assert "理解为" in done.out
    assert "40 usable" in done.out
    changed = cli("data", "inspect", rows, "Sort messages by label.", "--set", "task.metric=macro_f1", "--json")
    assert changed.document["task"]["metric"] == "macro_f1"


def test_data_inspect_loads_no_torch(rows: Path) -> None:
    script = (
        "import sys\nfrom autogpt.cli.main import run\n"
        "code = run(['data', 'inspect', sys.argv[1], 'Sort messages by label.', '--json'])\n"
        "print('LOADED', code, sorted({'torch', 'transformers', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script, rows], capture_output=True, text=True, check=True)
    assert done.stdout.rpartition("LOADED")[2].strip() == "0 []"


# --- doctor ----------------------------------------------------------------------------------------------------------


def test_doctor(cli: Cli, home: Path) -> None:
    done = cli("doctor", "--json")
    assert (done.code, done.document["ok"]) == (0, True)
    checks = {check["name"]: check for check in done.document["checks"]}
    for name in ("python", "cores", "memory", "torch", "pyarrow", "home", "disk", "database", "network", "bases"):
        assert checks[name]["state"] in ("ok", "warn")
    assert not home.exists()  # an examination leaves nothing behind
    assert "torch" in cli("doctor").out
    assert "python" not in cli("doctor", "-q").out


def test_doctor_tells_what_is_broken(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder", encoding="utf-8")
    monkeypatch.setenv("AUTOGPT_HOME", str(blocked / "home"))
    done = cli("doctor", "--json")
    assert done.code == 1
    broken = [check for check in done.document["checks"] if check["state"] == "broken"]
    assert [check["name"] for check in broken] == ["home"]
    assert "AUTOGPT_HOME" in broken[0]["fix"]


def test_doctor_with_a_damaged_database(cli: Cli, home: Path) -> None:
    home.mkdir()
    (home / "autogpt.db").write_bytes(b"this is no database" * 100)
    done = cli("doctor")
    assert done.code == 1
    assert "BROKEN" in done.out


# --- what all share --------------------------------------------------------------------------------------------------


def test_plain_is_strict_json() -> None:
    import numpy as np

    value = {"a": float("nan"), 1: [np.float32(0.5), np.int64(3), Path("x")], "k": TaskKind.DIALOGUE, "t": (True, None)}
    assert json.dumps(common.plain(value), allow_nan=False)
    assert common.plain(value) == {"a": None, "1": [0.5, 3, "x"], "k": "dialogue", "t": [True, None]}


def test_model_names_complete(home: Path) -> None:
    for name in ("news", "novel", "topics", ".tmp"):
        (home / "models" / name).mkdir(parents=True)
    assert common.complete_model("n") == ["news", "novel"]
    assert common.complete_model("") == ["news", "novel", "topics"]
