"""`run` and `status` say where too many of a model's replies are of no use."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PIPELINE = """
name: night
source: {jsonl: {path: "rows*.jsonl", shard_rows: 20, columns: {id: id, prompt: prompt}}}
engines:
  good: {scripted: {model: good, replies: ["Score: 1", "Score: 5"]}}
  vague: {scripted: {model: vague, replies: ["It depends."]}}
stages:
  - generate: {engine: good, n: 2}
  - judge: {engine: good}
  - judge: {engine: vague}
export: null
"""


def curate(folder: Path, *arguments: str) -> tuple[list[str], list[str]]:
    """Return the lines on stdout and those on stderr."""
    command = [sys.executable, "-m", "curate", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.splitlines(), done.stderr.splitlines()


def add_rows(folder: Path, name: str) -> None:
    rows = [{"id": f"{name}{k}", "prompt": f"Why {name} {k}?"} for k in range(20)]
    (folder / f"rows-{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("quiet", [True, False])
def test_what_this_run_was_answered_is_said_once_and_status_keeps_it(
    tmp_path: Path, quiet: bool
) -> None:
    (tmp_path / "p.yaml").write_text(PIPELINE)
    add_rows(tmp_path, "a")
    command = ["run", "p.yaml", *(["--quiet"] if quiet else [])]
    _, said = curate(tmp_path, *command)
    (line,) = (text for text in said if "of no use" in text)
    assert line.startswith("judge 2: all 40 replies are of no use: they could not be read.")
    assert "`curate show night --id ID`" in line
    assert "20 rows = " in said[-1 if quiet else said.index(line) + 1]
    _, again = curate(tmp_path, *command)
    assert not any("of no use" in text for text in again)  # nobody was asked
    add_rows(tmp_path, "b")
    _, next_night = curate(tmp_path, *command)
    assert any("all 40 replies" in text for text in next_night)  # those of the new file alone
    shown, _ = curate(tmp_path, "status", "night")
    assert any(text.startswith("judge 2: all 80 replies are of no use") for text in shown)
    assert not any(text.startswith(("judge: ", "generate: ")) for text in shown)


@pytest.mark.parametrize("quiet", [True, False])
def test_calls_that_failed_are_said_and_how_to_have_them_made_again(
    tmp_path: Path, quiet: bool
) -> None:
    failing = "{model: good, fail_every: 3, replies"
    limit = "max_error_rate: 0.9"
    (tmp_path / "p.yaml").write_text(
        PIPELINE.replace("{model: good, replies", failing)
        .replace("engine: good, n: 2", f"engine: good, n: 2, {limit}")
        .replace("engine: good}", f"engine: good, {limit}}}")
    )
    add_rows(tmp_path, "a")
    command = ["run", "p.yaml", *(["--quiet"] if quiet else [])]
    _, said = curate(tmp_path, *command)
    (line,) = (text for text in said if text.startswith("calls failed"))
    assert re.fullmatch(
        r"calls failed: \d+ of generate, \d+ of judge; once the engine is mended, "
        r"`run --retry-failed` does their shards again", line
    )  # fmt: skip
    _, again = curate(tmp_path, *command)
    assert not any("calls failed" in text for text in again)  # none was made
    shown, _ = curate(tmp_path, "status", "night")
    assert line in shown
