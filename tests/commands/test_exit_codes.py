"""How the command line ends where something is wrong with curate itself, or comes at the end."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curate.cli import main
from curate.ingest import ingest
from curate.manifest import write_manifest
from curate.store import Record, Store

Called = Callable[..., tuple[int, str, str]]


@pytest.fixture
def called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Called:
    """Call `curate` in this process; return its exit code, stdout and stderr."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["curate", *map(str, arguments), "--root", str(tmp_path)])
        monkeypatch.setattr(sys, "path", [*sys.path])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


@pytest.mark.parametrize("exported", [True, False])
def test_a_row_that_is_lost_without_a_word_is_found_by_the_books(
    scripted_pipeline: Path, called: Called, monkeypatch: pytest.MonkeyPatch, exported: bool
) -> None:
    commit = Store.commit
    hurt: list[str] = []

    def losing(self: Store, record: Record, columns: Mapping[str, pa.Array]) -> Record:
        kept = commit(self, record, columns)
        if kept.stage == "exact_dedup" and kept.dropped and not hurt:
            hurt.append(kept.key)
            return replace(kept, dropped={})  # the row is gone, and nobody says why
        return kept

    run = ("run", scripted_pipeline, "--quiet", *(() if exported else ("--until", "exact_dedup")))
    with monkeypatch.context() as patch:
        patch.setattr(Store, "commit", losing)
        code, out, err = called(*run)
    assert hurt
    assert (code, out) == (1, "")
    counted = re.fullmatch(
        r"error: 60 rows came in but (\d+) kept \+ (\d+) dropped \+ 0 failed = 59; "
        r"please report this\n",
        err,
    )
    assert counted
    assert int(counted[1]) + int(counted[2]) == 59
    facts = json.loads(called("status", "small", "--json")[1])
    assert (facts["state"], facts["error"]) == ("failed", err.strip().removeprefix("error: "))
    assert called(*run)[0] == 0


def test_a_bug_is_a_traceback_with_a_code_of_its_own(
    scripted_pipeline: Path, called: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise IndexError("a bug")

    monkeypatch.setattr("curate.loop.account", broken)
    code, _, err = called("run", scripted_pipeline, "--quiet", "--until", "exact_dedup")
    assert code == 70
    assert err.startswith("Traceback")
    assert "commands/runs.py" in err
    assert "typer" not in err  # how the command line was read says nothing of the bug
    assert err.endswith("IndexError: a bug\n")


def test_an_expected_error_keeps_its_code_when_its_traceback_is_asked_for(
    called: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURATE_DEBUG", "1")
    code, _, err = called("status", "nowhere")
    assert code == 2
    assert "Traceback" in err


@pytest.mark.parametrize("until", [(), ("--until", "exact_dedup")])
def test_a_signal_after_the_last_stage_stops_nothing(
    scripted_pipeline: Path, tmp_path: Path, called: Called, monkeypatch: pytest.MonkeyPatch,
    until: tuple[str, ...],
) -> None:  # fmt: skip
    def asked(*arguments: object, **options: object) -> None:
        write_manifest(*arguments, **options)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("curate.loop.write_manifest", asked)
    code, _, err = called("run", scripted_pipeline, "--quiet", *until)
    assert code == 0
    assert "stopped" not in err
    assert not (tmp_path / "runs/small/open").exists()


def test_a_signal_before_the_last_stage_stops_the_run(
    scripted_pipeline: Path, called: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return ingest(*arguments)

    monkeypatch.setattr("curate.loop.ingest", asked)
    code, _, err = called("run", scripted_pipeline, "--quiet")
    assert (code, err) == (143, "stopped; the same command resumes\n")
