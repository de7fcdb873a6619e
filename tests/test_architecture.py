"""The shape of the project: import order, light imports, size caps, public names, CLI options, the tree of files."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "autogpt"
MODULES = sorted(PACKAGE.rglob("*.py"))

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_OWN_OPTIONS = 8
COMMON_OPTIONS = {"--json", "--debug", "-q", "--quiet", "--config", "--set", "--task", "--help"}
"""Options that all verbs, or all that take a configuration or a model, have alike: not a verb's own."""

HEAVY = {
    "torch",
    "transformers",
    "peft",
    "sklearn",
    "scipy",
    "numpy",
    "optuna",
    "sacrebleu",
    "pyarrow",
    "sqlalchemy",
    "alembic",
    "openai",
}
NEEDS_TORCH = {"torch", "transformers", "peft", "safetensors", "gguf"}
TORCH_FREE = (
    "errors.py",
    "types.py",
    "events.py",
    "registry.py",
    "config.py",
    "endpoint.py",
    "store/",
    "tasks/",
    "search/",
)

SEES_WHOLE_CONFIG = (
    "config.py",
    "pipeline.py",
    "adding.py",
    "given.py",
    "bench.py",
    "stages.py",
    "stages_grouping.py",
    "stages_search.py",
    "run.py",
    "cli/",
    "agent/agent.py",
)

NO_TEST_FILE = {
    "types.py": "records without behaviour",
    "testing.py": "fakes and contracts that the other tests use",
}

TESTED_WITH = {
    "data/conversations.py": "data/test_cleaning.py",
    "data/entities.py": "data/test_cleaning.py",
    "data/decoding.py": "data/test_readers.py",
    "data/formats.py": "data/test_readers.py",
    "data/layouts.py": "data/test_readers.py",
    "data/keys.py": "data/test_splits.py",
    "evaluation/lexicon.py": "evaluation/test_baselines.py",
    "evaluation/similarity.py": "evaluation/test_baselines.py",
    "evaluation/metrics.py": "evaluation/test_metrics_labels.py",
    "evaluation/resampling.py": "evaluation/test_evaluate.py",
    "models/sight.py": "models/test_gpt.py",
    "evaluation/final.py": "test_pipeline.py",
    "stages.py": "test_pipeline.py",
    "generation/predict.py": "test_model.py",
    "training/objectives.py": "training/test_loop.py",
    "training/optim.py": "training/test_loop.py",
    "delivery.py": "test_pipeline.py",
}
"""Inner parts that are tested through the module they serve."""


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything a module imports, at whatever depth."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module or ''}.{alias.name}") for alias in node.names)


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Dotted name of the callee (`torch.load`) and the call, for every call whose callee is a plain dotted name."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            parts: list[str] = []
            callee: ast.expr = node.func
            while isinstance(callee, ast.Attribute):
                parts.append(callee.attr)
                callee = callee.value
            if isinstance(callee, ast.Name):
                yield ".".join([callee.id, *reversed(parts)]), node


def is_given(call: ast.Call, keyword: str, value: object) -> bool:
    return any(
        given.arg == keyword and isinstance(given.value, ast.Constant) and given.value.value is value
        for given in call.keywords
    )


def offenders(rule: Callable[[Path], Iterator[str]]) -> list[str]:
    return [f"{relative(path)}:{what}" for path in MODULES for what in rule(path)]


# --- imports ---------------------------------------------------------------------------------------------------------


def test_import_order() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([command, "--no-cache", "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_torch_free_rooms_never_import_torch() -> None:
    def rule(path: Path) -> Iterator[str]:
        if relative(path).startswith(TORCH_FREE):
            yield from (f"{line} imports {name}" for line, name in imports(path) if name.split(".")[0] in NEEDS_TORCH)

    assert offenders(rule) == []


@pytest.mark.parametrize(
    "code",
    [
        "import autogpt",
        "import autogpt.cli.main",
        "import autogpt.config, autogpt.registry, autogpt.events, autogpt.errors, autogpt.types",
    ],
)
def test_light_import(code: str) -> None:
    assert loaded_by(code) & HEAVY == set()


def test_help_loads_nothing_heavy() -> None:
    assert loaded_by(HELP) & HEAVY == set()


HELP = """
from autogpt.cli.main import main

sys.argv = ["autogpt", "--help"]
try:
    main()
except SystemExit:
    pass
"""


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after `code`."""
    script = f"import sys\n{code}\nprint('\\nLOADED', *sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED")[2].split())


def test_only_wiring_code_sees_the_whole_config() -> None:
    def rule(path: Path) -> Iterator[str]:
        if not relative(path).startswith(SEES_WHOLE_CONFIG):
            for line, name in imports(path):
                if name.startswith("autogpt.config.") and name.endswith((".RunConfig", ".load_run_config")):
                    yield f"{line} imports {name}"

    assert offenders(rule) == []


def test_every_option_is_read_somewhere() -> None:
    """An option that nothing reads would be ignored in silence."""
    from autogpt import config

    used = {
        node.attr
        for path in MODULES
        if path.name != "config.py"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute)
    }
    sections = [getattr(config, name) for name in config.__all__ if name.endswith("Config")]
    assert [f"{s.__name__}.{name}" for s in sections for name in s.model_fields if name not in used] == []


# --- size ------------------------------------------------------------------------------------------------------------


def test_files_are_short() -> None:
    lengths = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FILE_LINES} == {}


def test_functions_are_short() -> None:
    def rule(path: Path) -> Iterator[str]:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    yield f"{node.lineno} {node.name} has {lines} lines"

    assert offenders(rule) == []


# --- dangerous or misplaced calls ------------------------------------------------------------------------------------


def test_no_print_outside_the_command_line() -> None:
    def rule(path: Path) -> Iterator[str]:
        if not relative(path).startswith("cli/"):
            yield from (f"{call.lineno}" for name, call in calls(path) if name == "print")

    assert offenders(rule) == []


FORBIDDEN_CALLS = {
    "eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "joblib.load", "marshal.loads",
    "yaml.load_all", "yaml.full_load", "yaml.unsafe_load",
}  # fmt: skip


def test_nothing_that_runs_code_from_data() -> None:
    def rule(path: Path) -> Iterator[str]:
        for name, call in calls(path):
            if name in FORBIDDEN_CALLS:
                yield f"{call.lineno} {name}()"
            if name == "yaml.load" and "SafeLoader" not in ast.unparse(call):
                yield f"{call.lineno} yaml.load() without a safe loader"
            if name == "torch.load" and not is_given(call, "weights_only", True):
                yield f"{call.lineno} torch.load() without weights_only=True"
            for keyword in ("shell", "trust_remote_code"):
                if is_given(call, keyword, True):
                    yield f"{call.lineno} {name}({keyword}=True)"

    assert offenders(rule) == []


# --- public names ----------------------------------------------------------------------------------------------------


def test_public_names() -> None:
    autogpt = importlib.import_module("autogpt")
    assert {"fit", "load", "Model"} <= set(autogpt.__all__)
    missing = [name for name in autogpt.__all__ if not hasattr(autogpt, name)]
    assert missing == []
    assert set(autogpt.__all__) <= set(dir(autogpt))


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_all_lists_what_is_there(path: Path) -> None:
    name = ".".join(("autogpt", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    if ".migrations" in name:
        pytest.skip("run by Alembic, not imported")
    module = importlib.import_module(name)
    assert [public for public in getattr(module, "__all__", ()) if not hasattr(module, public)] == []


# --- command line ----------------------------------------------------------------------------------------------------


def verbs(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Full name and command of every leaf verb."""
    for name, child in getattr(command, "commands", {}).items():
        if hasattr(child, "commands"):
            yield from verbs(child, (*path, name))
        else:
            yield " ".join((*path, name)), child


def cli() -> Any:
    import typer

    return typer.main.get_command(importlib.import_module("autogpt.cli.main").app)


def test_verbs_have_few_own_options() -> None:
    own = {
        name: [p.opts[0] for p in verb.params if p.param_type_name == "option" and not COMMON_OPTIONS & set(p.opts)]
        for name, verb in verbs(cli())
    }
    assert {name: options for name, options in own.items() if len(options) > MAX_OWN_OPTIONS} == {}


def test_every_verb_of_the_design_is_there() -> None:
    names = {name.split()[0] for name, _ in verbs(cli())}
    assert {"fit", "generate", "chat", "evaluate", "models", "runs", "data", "doctor"} <= names


@pytest.mark.parametrize("option", ["--json", "--debug", "-q"])
def test_common_options_are_on_every_verb(option: str) -> None:
    without = [
        name for name, verb in verbs(cli()) if not any(option in (*p.opts, *p.secondary_opts) for p in verb.params)
    ]
    assert without == []


# --- the tree --------------------------------------------------------------------------------------------------------


def has_test_file(path: Path) -> bool:
    """Whether the mirrored test file is there, or that of the module this one serves or was split off from."""
    folder = ROOT / "tests" / path.parent.relative_to(PACKAGE)
    if (folder / f"test_{path.stem}.py").exists():
        return True
    if relative(path) in TESTED_WITH:
        return (ROOT / "tests" / TESTED_WITH[relative(path)]).exists()
    origin = path.stem.rpartition("_")[0]
    return bool(origin) and path.with_stem(origin).exists() and (folder / f"test_{origin}.py").exists()


def test_each_module_has_its_test_file() -> None:
    missing = [
        relative(path)
        for path in MODULES
        if path.name != "__init__.py"
        and relative(path) not in NO_TEST_FILE
        and "migrations" not in path.parts
        and path.parent.name != "cli"  # verbs are tested together, through the app
        and not has_test_file(path)
    ]
    assert missing == []
    assert (ROOT / "tests" / "cli" / "test_cli.py").exists()


def test_exceptions_are_still_needed() -> None:
    """Each names a module that is there and has no test file of its own."""
    stale = [
        name
        for name in (*NO_TEST_FILE, *TESTED_WITH)
        if not (PACKAGE / name).exists() or (ROOT / "tests" / Path(name).parent / f"test_{Path(name).name}").exists()
    ]
    assert stale == []


def test_contributing_lists_the_tree() -> None:
    script = ROOT / "scripts" / "tree.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_each_module_says_what_it_is() -> None:
    silent = [relative(path) for path in MODULES if path.name != "__init__.py" and not ast.get_docstring(tree_of(path))]
    assert silent == []
