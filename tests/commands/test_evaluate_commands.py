from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from curate.cli import main

PIPELINE = """\
version: 1
name: small
source: {jsonl: {path: unused.jsonl}}
engines:
  small: {scripted: {}}
stages:
  - exact_dedup
  - judge_pairs: {engine: small, max_error_rate: 1.0}
  - combine
"""


class Ended(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def curate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """The command line within this process: a new one for each call takes its time."""

    def call(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["curate", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return call


def labelled(path: Path) -> Path:
    rows = [
        {"q": f"Question {i}?", "one": f"Good {i}.", "two": f"Poor {i * i}.",
         "human": "a" if i % 3 else "b", "stored": "a" if i % 4 else "b"}
        for i in range(60)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


MAP = ("--map", "prompt=q", "--map", "chosen=one", "--map", "rejected=two", "--human", "human")


def test_judge_eval_of_stored_verdicts(
    tmp_path: Path, curate: Callable[..., Ended], caplog: pytest.LogCaptureFixture
) -> None:
    data = labelled(tmp_path / "x.jsonl")
    found = curate("judge", "eval", data, *MAP, "--judge", "stored", "--json")
    assert found.returncode == 0, found.stderr
    report = json.loads(found.stdout)
    assert report["labelled"] == 60
    assert report["judges"]["stored"]["accuracy"]["value"] == 35 / 60
    table = curate("judge", "eval", data, *MAP, "--judge", "stored")
    assert table.returncode == 0, table.stderr
    assert "Agreement with the humans" in table.stdout
    (heads,) = [line for line in table.stdout.splitlines() if "verdicts right" in line]
    assert "unreadable" in heads  # where no terminal wraps it, nothing is cut off
    assert not caplog.messages
    asked = data.read_text()
    data.write_text(asked + asked.splitlines()[0].replace("Question 0?", "  ") + "\n")
    less = curate("judge", "eval", data, *MAP, "--judge", "stored", "--json")
    assert json.loads(less.stdout) == report
    assert caplog.messages == ["1 rows of the set are left out: prompt is empty (1)"]
    wrong = curate("judge", "eval", data, *MAP, "--judge", "sored")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "did you mean 'stored'" in wrong.stderr


def test_columns_that_are_called_as_they_are_meant_need_no_map(
    tmp_path: Path, curate: Callable[..., Ended]
) -> None:
    data = labelled(tmp_path / "x.jsonl")
    mapped = curate("judge", "eval", data, *MAP, "--judge", "stored", "--json")
    named = tmp_path / "named.jsonl"
    text = data.read_text().replace('"q"', '"prompt"').replace('"one"', '"chosen"')
    named.write_text(text.replace('"two"', '"rejected"'))
    plain = ("judge", "eval", named, "--human", "human", "--judge", "stored", "--json")
    found = curate(*plain)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout) == json.loads(mapped.stdout)


def test_judge_eval_asks_a_pipeline_s_judge_once(
    tmp_path: Path, curate: Callable[..., Ended]
) -> None:
    data = labelled(tmp_path / "x.jsonl")
    (tmp_path / "p.yaml").write_text(PIPELINE)
    command = ("judge", "eval", data, *MAP, "--pipeline", tmp_path / "p.yaml", "--root", tmp_path)
    found = curate(*command, "--json")
    assert found.returncode == 0, found.stderr
    judge = json.loads(found.stdout)["judges"]["small:helpfulness:pairs"]
    assert judge["asked"] == 60
    assert judge["self_preference"] == (
        "not measurable: none of the answers is by its model, scripted"
    )
    assert "none of the answers is by its model" in " ".join(curate(*command).stdout.split())
    parts = sorted((tmp_path / "store").rglob("*.json"))
    again = curate(*command, "--json")
    assert again.stdout == found.stdout
    assert sorted((tmp_path / "store").rglob("*.json")) == parts
    (tmp_path / "p.yaml").write_text(
        PIPELINE.replace("judge_pairs", "generate").split("max_e")[0] + "}\n"
    )
    none = curate(*command)
    assert none.returncode == 2
    assert "no stage asks an engine for judgments" in none.stderr
    (tmp_path / "p.yaml").write_text(PIPELINE)
    (tmp_path / "x.jsonl").write_text("")
    empty = curate(*command)
    assert empty.returncode == 2
    assert "no row of the set is left" in empty.stderr


def test_lint_prints_findings_and_its_exit_code_says_whether_they_are_errors(
    tmp_path: Path, curate: Callable[..., Ended]
) -> None:
    data = labelled(tmp_path / "x.jsonl")
    mapping = ("--map", "prompt=q", "--map", "chosen=one", "--map", "rejected=two")
    found = curate("lint", data, *mapping, "--json")
    assert (found.returncode, json.loads(found.stdout)) == (
        0,
        {"rows": 60, "columns": ["q", "one", "two"], "findings": {"length_skew": 56}},
    )
    same = tmp_path / "same.jsonl"
    same.write_text(json.dumps({"prompt": "a?", "chosen": "Yes.", "rejected": "Yes."}) + "\n")
    found = curate("lint", same)
    assert found.returncode == 1
    assert found.stdout.startswith("1 rows, of which were read: prompt, chosen, rejected\nerror ")
    assert "identical_pair" in found.stdout
    assert json.loads(curate("lint", same, "--json").stdout) == {
        "rows": 1,
        "columns": ["prompt", "chosen", "rejected"],
        "findings": {"identical_pair": 1},
    }
    missing = curate("lint", tmp_path / "none.parquet")
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
