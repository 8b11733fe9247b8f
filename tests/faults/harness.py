"""A server that forks runs, what an undisturbed run gives, and how two roots are compared."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
REPOSITORY = Path(__file__).parents[2]
QUICKSTART = ("pipelines/quickstart.yaml", "--set", "engines.small={scripted: {}}")


@dataclass
class Ended:
    """How a run ended: its exit code (negative: the signal), what it said, its steps."""

    code: int
    said: str
    steps: list[str] = field(default_factory=list)


class Runs:
    """Starts `curate` in processes that have already imported what it needs."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        quiet = {"HF_HUB_OFFLINE": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "2"}
        path = os.pathsep.join([str(HERE), str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
        self._server = subprocess.Popen(
            [sys.executable, str(HERE / "fork_server.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **quiet, "PYTHONPATH": path},
        )  # fmt: skip

    def start(self, root: Path, *more: str, **request: Any) -> tuple[int, Path]:
        """Start `curate run` of the quickstart below `root`."""
        pipeline = request.pop("pipeline", QUICKSTART)
        return self.command("run", *map(str, pipeline), "--root", str(root), *more, **request)

    def command(self, *arguments: str, **request: Any) -> tuple[int, Path]:
        """Start a command."""
        self._count += 1
        log = self._folder / f"{self._count}.log"
        asked = {"arguments": arguments, "cwd": str(REPOSITORY), "log": str(log), **request}
        return self._ask(asked)["pid"], log

    def wait(self, started: tuple[int, Path]) -> Ended:
        pid, log = started
        code = self._ask({"wait": pid})["code"]
        steps = log.with_name(log.name + ".steps")
        return Ended(code, log.read_text(), steps.read_text().split("\n") if steps.exists() else [])

    def __call__(
        self,
        root: Path,
        *more: str,
        at: int | None = None,
        what: str = "kill",
        of: str = "",
        **request: Any,
    ) -> Ended:
        """Run to the end; with `at`, a fault at that step of those that start with `of`."""
        if at is not None:
            request["fault"] = {"root": str(root), "at": at, "what": what, "of": of}
        return self.wait(self.start(root, *more, **request))

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(timeout=60)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())


def left(root: Path, name: str = "quickstart") -> dict[str, str]:
    """Everything that a run gives: parts by key, files of the dataset, the books."""
    found = {}
    for path in (root / "store").glob("*/*.json"):
        record = json.loads(path.read_text())
        raw = (root / "store" / record["file"]).read_bytes()
        assert hashlib.sha256(raw).hexdigest() == record["sha256"], path
        found[f"{path.parent.name}/{path.stem}"] = record["sha256"]
    folder = root / "runs" / name / "dataset"
    for path in folder.rglob("*"):
        if path.is_file():
            found[str(path.relative_to(root))] = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = json.loads((root / "runs" / name / "manifest.json").read_bytes())
    assert manifest["finished"]
    books = manifest["accounting"]
    lost = sum(books["dropped"].values()) + sum(books["failed"].values())
    assert books["rows_in"] == books["rows_exported"] + lost
    return {**found, "books": json.dumps(books)}


@dataclass
class Calm:
    """An undisturbed run: its root, what it gave, and every step it took."""

    root: Path
    left: dict[str, str]
    steps: Sequence[str]
