"""What stages count is told by `status` and by the report, whichever stage it is."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curate.counters import COSTS, counted, worded
from curate.executors import Local
from curate.history import manifest, shards
from curate.loop import run
from curate.pipeline import Pipeline
from curate.stage import Context, Result, Stage


class Counting(Stage, name="counting"):
    """Counts what no stage of curate's own counts."""

    needs = ("id",)

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        ctx.counts["<b>odd</b> rows\x1b[2J"] += len(view) % 2
        ctx.counts["rows_of_this"] += np.int64(len(view))
        ctx.counts["never"] += 0
        return {}


@pytest.fixture
def ended(scripted_pipeline: Path, tmp_path: Path) -> Path:
    text = scripted_pipeline.read_text() + "  - test_counters:Counting\n"
    executor = Local(workers=2)
    run(Pipeline.loads(text), tmp_path, executor=executor)
    executor.close()
    return tmp_path


@pytest.fixture
def status(
    ended: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    from curate.cli import main

    def call(*options: str) -> str:
        monkeypatch.setattr(
            sys, "argv", ["curate", "status", "small", *options, "--root", f"{ended}"]
        )
        with pytest.raises(SystemExit) as left:
            main()
        assert not left.value.code
        return capsys.readouterr().out

    return call


def test_counters_in_words() -> None:
    counts = {"prompt_tokens": 1200, "radius_e4": 12_345, "right labels, percent": 71, "none": 0}
    assert worded(counts) == (
        [("prompt tokens", "1,200"), ("radius", "1.2345"), ("right labels", "71 %")],
        ["none"],
    )
    assert worded(counts, leave_out=COSTS).numbers[0] == ("radius", "1.2345")
    assert counted([]) == []


def test_counters_add_up_over_the_shards_and_keep_zeros(ended: Path) -> None:
    found = manifest(ended, "small")
    last = found["counts"][-1]
    assert last == {
        "place": len(found["stages"]),
        "stage": "counting",
        "counts": {"<b>odd</b> rows\x1b[2J": last["counts"]["<b>odd</b> rows\x1b[2J"],
                   "rows_of_this": found["accounting"]["rows_exported"], "never": 0},
    }  # fmt: skip
    assert counted(shards(ended, found)[1]) == found["counts"]
    split = next(row["counts"] for row in found["counts"] if row["stage"] == "split")
    in_parts = sum(n for name, n in split.items() if name.startswith("rows in "))
    assert in_parts == last["counts"]["rows_of_this"]


def test_status_tells_them_as_text_and_as_json(status: Callable[..., str]) -> None:
    told = json.loads(status("--json"))["counts"]
    assert [row["stage"] for row in told][-2:] == ["split", "counting"]
    text = status()
    rows = told[-1]["counts"]["rows_of_this"]
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert f"counting {rows} rows of this" in lines
    assert "counting 0 never" in lines
    assert "\x1b[2J" not in text  # a name may come from a text of the data


def test_status_of_a_run_from_before_says_nothing_of_counters(
    ended: Path, status: Callable[..., str]
) -> None:
    path = ended / "runs/small/manifest.json"
    older = json.loads(path.read_text())
    del older["counts"]
    path.write_text(json.dumps(older))
    assert "counts" not in json.loads(status("--json"))
    assert "counted by" not in status()


def test_the_report_shows_them(ended: Path) -> None:
    pytest.importorskip("jinja2", reason="needs the extra `report`")
    from curate.report import gather, report

    rows = gather(ended, "small")["counted"]
    names = [name for row in rows for name, _ in row["numbers"]]
    assert "rows of this" in names
    assert "groups" in names
    assert "calls" not in names  # they are under cost
    page = report(ended, "small")
    assert '<section id="counted">' in page
    assert "<b>odd</b>" not in page
    assert "rows of this" in page
