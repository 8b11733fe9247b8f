"""What holds for the whole package: no code from data, the same bytes anywhere, no lock no run."""

from __future__ import annotations

import ast
import errno
import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import curate
from curate.errors import StageError, StoreError
from curate.executors import Local
from curate.guard import locked
from curate.loop import run
from curate.pipeline import Pipeline
from curate.stage import Context, Stage

PACKAGE = Path(curate.__file__).parent
SEALED = "sandbox/inside"  # what runs behind the sandbox's walls, whose business is to run code
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
CALLS = {"eval", "exec", "compile", "__import__", "system", "popen"}
FLAGS = {"allow_pickle", "trust_remote_code", "shell"}


def forbidden(source: str) -> list[str]:
    """The places of a module that unpickle, evaluate or shell out."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found += [f"{node.lineno}: {n}" for n in names if n.partition(".")[0] in MODULES]
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            free = isinstance(node.func, ast.Name) or name in ("system", "popen")
            if name in CALLS and free:
                found.append(f"{node.lineno}: {name}()")
            for word in node.keywords:
                value = getattr(word.value, "value", None)
                if word.arg in FLAGS and value is True:
                    found.append(f"{node.lineno}: {word.arg}")
            if ast.unparse(node.func) in ("np.load", "numpy.load"):
                given = {w.arg: getattr(w.value, "value", None) for w in node.keywords}
                if given.get("allow_pickle") is not False:
                    found.append(f"{node.lineno}: np.load without allow_pickle=False")
    return found


def test_nothing_is_unpickled_evaluated_or_given_to_a_shell() -> None:
    paths = [p for p in PACKAGE.rglob("*.py") if SEALED not in p.as_posix()]
    assert len(paths) > 100
    assert {str(p): found for p in paths if (found := forbidden(p.read_text()))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from dill import loads", "eval(x)", "exec('y')", "os.system('x')",
        "run(x, shell=True)", "load(x, trust_remote_code=True)", "np.load(x)",
    ],
)  # fmt: skip
def test_the_search_for_it_can_find_it(source: str) -> None:
    assert forbidden(source)


def left(root: Path) -> dict[str, str]:
    files = [*(root / "store").glob("*/*.arrow"), *(root / "runs").rglob("*.parquet")]
    names = {p: p.name.split(".")[0] for p in files}
    return {names[p]: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_the_same_bytes_under_any_hash_seed_time_zone_and_language(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    run(Pipeline.load(scripted_pipeline), tmp_path / "here", executor=Local(workers=1))
    expected = left(tmp_path / "here")
    assert len(expected) > 50
    places = (
        {"PYTHONHASHSEED": "1", "TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONUTF8": "0"},
        {"PYTHONHASHSEED": "4294967295", "TZ": "America/St_Johns", "LC_ALL": "tr_TR.UTF-8"},
    )
    for number, place in enumerate(places):
        root = tmp_path / str(number)
        command = [sys.executable, "-m", "curate", "run", str(scripted_pipeline), "--root", root]
        subprocess.run(command, env=os.environ | place, check=True, capture_output=True)
        assert left(root) == expected, place


def test_a_file_system_without_locks_is_no_place_for_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS answers where its lock daemon is missing: two runs must not both think it theirs."""

    def refuse(*arguments: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StoreError, match="No locks available"), locked(tmp_path / "run"):
        pytest.fail("it went on without a lock")


class Hungry(Stage, name="hungry_in_tests"):
    """Ask for more memory than there is."""

    needs = ("id",)

    def apply(self, view: pa.Table, ctx: Context) -> dict[str, pa.Array]:
        return {"drop": np.empty(1 << 50)}


def test_memory_that_runs_out_is_said_and_costs_nothing_that_is_done(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    text = scripted_pipeline.read_text()
    scripted_pipeline.write_text(
        text.replace("  - combine\n", "  - hungry_in_tests\n  - combine\n")
    )
    with pytest.raises(StageError, match=r"`hungry_in_tests`, over 8 rows, ran out of memory.*run"):
        run(Pipeline.load(scripted_pipeline), tmp_path, executor=Local(workers=2))
    scripted_pipeline.write_text(text)
    todo: dict[str, int] = {}

    def hear(event: dict[str, Any]) -> None:
        if event["event"] == "stage":
            todo[event["stage"]] = event["todo"]

    assert run(Pipeline.load(scripted_pipeline), tmp_path, listener=hear).finished
    assert todo["likelihood"] == 0
    assert todo["combine"] > 0
