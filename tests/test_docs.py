"""What the documents say is so: commands parse, links lead somewhere, Python compiles, both READMEs agree."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])
SCRIPTS = sorted([ROOT / "Makefile", *(ROOT / "examples").glob("*.sh")])
SHELL = {"sh", "bash", "shell", "console"}
ENDS_COMMAND = {"|", "||", "&&", ";", "&", ">", ">>", "<", "2>", "<<<"}

READ_FIRST = [
    "src/autogpt/pipeline.py",
    "src/autogpt/types.py",
    "src/autogpt/tasks/spec.py",
    "src/autogpt/data/batching.py",
    "src/autogpt/models/gpt.py",
    "src/autogpt/training/loop.py",
    "src/autogpt/search/study.py",
    "src/autogpt/evaluation/evaluate.py",
]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(text: str, languages: set[str]) -> Iterator[str]:
    """The contents of the fenced code blocks in one of `languages`."""
    for language, body in re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        if language in languages:
            yield body


def commands(shell: str) -> Iterator[list[str]]:
    """Arguments of every `autogpt …` in a piece of shell, wherever in a line it stands; redirections are cut off."""
    for line in shell.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line.strip().removeprefix("$ "), posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        words = list(lexer)
        for position, word in enumerate(words):
            starts = all(before in ENDS_COMMAND or "=" in before for before in words[max(0, position - 1) : position])
            if word == "autogpt" and starts:
                rest = words[position + 1 :]
                end = next((i for i, other in enumerate(rest) if other in ENDS_COMMAND), len(rest))
                yield rest[:end]


def documented() -> list[tuple[str, list[str]]]:
    found = [
        (name_of(page), words) for page in PAGES for block in blocks(read(page), SHELL) for words in commands(block)
    ]
    # In a Makefile recipe or a script the command is the same after `@` and a path variable are taken off.
    return found + [(name_of(file), words) for file in SCRIPTS for words in commands(recipe_lines(read(file)))]


def recipe_lines(text: str) -> str:
    lines = text.replace("\\\n", " ").splitlines()
    return "\n".join(line.strip().lstrip("@") for line in lines if line.strip().lstrip("@").startswith("autogpt "))


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def parse(arguments: list[str]) -> tuple[str, list[str]]:
    """Verb and options given, as the command line itself reads them; nothing runs and no file is looked up.

    Raises the command line's own usage error for an unknown option, a missing value, a missing or superfluous argument,
    and AssertionError for an unknown verb.
    """
    import typer

    command: Any = typer.main.get_command(importlib.import_module("autogpt.cli.main").app)
    if arguments in (["--help"], ["--version"]):
        return "", arguments
    verb: list[str] = []
    while hasattr(command, "commands"):
        name, *arguments = arguments or [""]
        assert name in command.commands, f"no verb {' '.join([*verb, name])!r}"
        command, verb = command.commands[name], [*verb, name]
    context = command.make_context(" ".join(verb), arguments)
    given = [param for param in command.params if context.get_parameter_source(param.name).name == "COMMANDLINE"]
    return " ".join(verb), sorted(param.opts[0] for param in given if param.param_type_name == "option")


def test_commands_are_found_in_shell() -> None:
    shell = r"""
A=1 autogpt fit "a # b" \
  --data x.csv  # note
cat x | autogpt generate m - > out && autogpt runs list
echo autogpt
"""
    assert list(commands(shell)) == [["fit", "a # b", "--data", "x.csv"], ["generate", "m", "-"], ["runs", "list"]]


@pytest.mark.parametrize(("page", "arguments"), documented(), ids=lambda value: value if isinstance(value, str) else "")
def test_documented_commands_parse(page: str, arguments: list[str]) -> None:
    parse(arguments)


@pytest.mark.parametrize(
    "arguments",
    [["fit", "x", "--data", "f", "--no-such-option"], ["no-such-verb"], ["generate"], ["runs", "list", "superfluous"]],
)
def test_wrong_commands_do_not_parse(arguments: list[str]) -> None:
    import typer

    with pytest.raises((AssertionError, typer.TyperException)):
        parse(arguments)


def test_every_verb_is_in_the_readme() -> None:
    import typer

    verbs = typer.main.get_command(importlib.import_module("autogpt.cli.main").app).commands
    shown = {words[0] for page, words in documented() if page == "README.md" and words}
    assert set(verbs) - shown == set()


def test_both_readmes_show_the_same() -> None:
    by_page: dict[str, list[tuple[str, list[str]]]] = {"README.md": [], "README.zh.md": []}
    for page, words in documented():
        if page in by_page:
            by_page[page].append(parse(words))
    assert by_page["README.md"]
    assert by_page["README.md"] == by_page["README.zh.md"]


@pytest.mark.parametrize("page", ["README.md", "README.zh.md"])
def test_exactly_two_set_up_commands(page: str) -> None:
    first = next(blocks(read(ROOT / page), SHELL))
    assert [line.split("#")[0].strip() for line in first.strip().splitlines()] == ["make demo", "make test"]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_local_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", read(page), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", prose)
    local = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_blocks_compile_and_use_real_names(page: Path) -> None:
    for block in blocks(read(page), {"python"}):
        check_python(block)


def test_the_package_docstring_uses_real_names() -> None:
    docstring = ast.get_docstring(ast.parse(read(ROOT / "src" / "autogpt" / "__init__.py"))) or ""
    check_python("\n".join(line[4:] for line in docstring.splitlines() if line.startswith("    ")))


def check_python(code: str) -> None:
    """That imports from autogpt succeed and calls of `autogpt.name(…)` fit the function's signature."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("autogpt"):
            module = importlib.import_module(node.module or "")
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
        if isinstance(node, ast.Call) and re.match(r"autogpt\.\w+$", ast.unparse(node.func)):
            function = getattr(importlib.import_module("autogpt"), ast.unparse(node.func).removeprefix("autogpt."))
            keywords = {keyword.arg: None for keyword in node.keywords if keyword.arg}
            inspect.signature(function).bind(*node.args, **keywords)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_named_in_prose_are_there(page: Path) -> None:
    named = re.findall(r"`((?:src|tests|docs|examples|benchmarks|scripts)/[\w./-]+)`", read(page))
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_reading_guide() -> None:
    section = read(ROOT / "CONTRIBUTING.md").partition("## Read these eight files first")[2].partition("\n## ")[0]
    assert re.findall(r"^\d\. `([^`]+)`: \S", section, flags=re.MULTILINE) == READ_FIRST
    assert [path for path in READ_FIRST if not (ROOT / path).exists()] == []


def test_changelog_and_version_agree() -> None:
    headings = re.findall(r"^## \[([^\]]+)\]", read(ROOT / "CHANGELOG.md"), flags=re.MULTILINE)
    assert headings[0] == "Unreleased"
    version = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]["version"]
    assert headings[1:2] in ([], [version])


def test_constraints_pin_every_dependency() -> None:
    pinned = {
        re.split(r"==", line)[0].lower().replace("_", "-")
        for line in read(ROOT / "constraints.txt").splitlines()
        if "==" in line
    }
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    names = {re.split(r"[<>=\[]", name)[0].strip().lower().replace("_", "-") for name in wanted} - {project["name"]}
    assert names - pinned == set()
    assert "torch==2.13.0" in read(ROOT / "constraints.txt").splitlines()


def test_training_loop_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    import yaml
    from transformers import LlamaConfig, LlamaForCausalLM

    from autogpt.data.tokenizers import train_tokenizer

    page = read(ROOT / "docs" / "training-loop.md")
    data = ROOT / "examples" / "data" / "customer_messages.jsonl"
    rows = read(data).splitlines()[:24]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    tokenizer = train_tokenizer(rows, 400)
    shape = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
    )
    torch.manual_seed(0)
    LlamaForCausalLM(shape).save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    config = yaml.safe_load(next(blocks(page, {"yaml"})))
    config |= {"model_name": str(tmp_path / "tiny"), "dataset_path": str(tmp_path / "rows.jsonl"), "epochs": 2}
    config |= {"learning_rate": 1e-2, "max_tokens": 64}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTOGPT_CONFIG", raising=False)

    names: dict[str, Any] = {}
    exec(compile(next(blocks(page, {"python"})), "training-loop.md", "exec"), names)

    def loss_of(folder: str) -> float:
        model = names["AutoModelForCausalLM"].from_pretrained(folder)
        inputs = tokenizer(rows[0], return_tensors="pt")
        with torch.no_grad():
            return float(model(**inputs, labels=inputs["input_ids"]).loss)

    assert loss_of("my-model") < loss_of("tiny") - 0.1
