"""What the README shows works as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import datasets
from typer.main import get_command

from curate.cli import app
from curate.pipeline import Pipeline
from curate.sources.contract import source_registry

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    return next(re.finditer(rf"```{language}\n(.*?)```", README, re.S))[1]


def test_the_python_example_gives_a_dataset(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/pairs.jsonl").write_bytes((ROOT / "data/pairs.jsonl").read_bytes())
    (tmp_path / "example.py").write_text(block("python"))
    ended = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert ended.stdout.startswith("DatasetDict")
    loaded = datasets.load_from_disk(str(tmp_path / "runs/mine/dataset"))
    assert {"prompt", "chosen", "rejected"} <= set(loaded["train"].column_names)
    assert len(loaded["train"]) > 3


def test_the_yaml_example_is_a_pipeline() -> None:
    Pipeline.loads(block("yaml")).check()


def test_every_source_and_every_command_is_named() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    missing = [name for name in commands if f"`curate {name}" not in README]
    missing += [name for name in source_registry.names() if f"`{name}`" not in README]
    assert not missing
    options = {flag for c in commands.values() for p in c.params for flag in p.opts}
    options |= {f for c in commands["judge"].commands.values() for p in c.params for f in p.opts}
    table = README.partition("## Commands")[2].partition("Exit codes")[0]
    assert set(re.findall(r"--[a-z][a-z-]+", table)) <= options


def test_every_file_that_the_readme_points_to_is_there() -> None:
    targets = set(re.findall(r"\]\(([^)#:]+)\)", README))
    assert "docs/sources.md" in targets
    assert not [target for target in targets if not (ROOT / target).exists()]


def test_marked_tests_are_run_by_a_target_that_the_docs_name() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    marks = re.findall(
        r'^    "(\w+): ', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M
    )
    (chosen,) = re.findall(r'-m "([^"]+)"', makefile)
    left_out = re.findall(r"not (\w+)", chosen)
    assert set(left_out) < set(marks)
    docs = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for mark in set(left_out) - {"gpu"}:  # no test needs one yet
        assert f"\ntest-{mark}:" in makefile
        assert re.search(rf"pytest -q -m {mark}\n", makefile)
        assert f"`make test-{mark}`" in docs
    for target in re.findall(r"`make ([a-z-]+)`", docs):
        assert f"\n{target}:" in makefile, target
