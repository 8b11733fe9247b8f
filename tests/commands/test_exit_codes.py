"""How the command line ends where something is wrong with curate itself, or comes at the end."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from curate.cli import main
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
