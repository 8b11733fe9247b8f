"""Rows that an export leaves out, with the reason of their pairs."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

import curate
from curate.cli import app
from curate.evaluation.dataset_lint import lint_dataset
from curate.export.catalogue import FORMS, form_identity, form_named
from curate.export.forms import PAIRS_VERSION
from curate.export.lost import left_out, why_lost
from curate.export.pairs import usable_pairs
from curate.export.records import Tally, lost_rows, reshape
from curate.export.survey import survey
from curate.export.trainer_files import write_form
from curate.schema import COLUMNS

PIPELINE = """\
name: left
source:
  jsonl:
    path: PATH
    shard_rows: 2
    columns: {id: id, prompt: prompt, chosen: chosen, rejected: rejected}
stages:
  - exact_dedup
"""


def rows(*pairs: list[tuple[int | None, int | None, str | None]]) -> pa.Table:
    made = [
        {
            "id": f"r{number}",
            "prompt": [{"role": "user", "content": "q"}],
            "candidates": [{"text": "a"}, {"text": "b", "drop": "score below 3"}, {"text": None}],
            "pairs": [{"chosen": c, "rejected": r, "drop": drop} for c, r, drop in of_row],
        }
        for number, of_row in enumerate(pairs)
    ]
    names = ("id", "prompt", "candidates", "pairs")
    return pa.Table.from_pylist(made, schema=pa.schema([(n, COLUMNS[n]) for n in names]))


def test_a_rows_reason_is_that_of_its_first_pair() -> None:
    table = rows(
        [(0, 2, "rejected is null")], [(0, 1, None)], [(2, 0, None)], [(0, 0, None)], [],
        [(0, 2, "exact pair duplicate of r0"), (0, 1, None)],
    )  # fmt: skip
    shape = form_named("preference")
    live = usable_pairs(table).rows
    why = [
        "rejected is null", "rejected was dropped, score below 3", "chosen has no text",
        "chosen and rejected are one answer", None, "exact pair duplicate of r0",
    ]  # fmt: skip
    said = ["export: no pair left" + (f": {text}" if text else "") for text in why]
    assert why_lost(table, live, shape).to_pylist() == said
    counted = why_lost(table, live, shape, counted=True).to_pylist()
    assert counted == [*said[:-1], "export: no pair left: exact pair duplicate"]
    assert list(lost_rows([table], shape)) == [(f"r{k}", said[k]) for k in range(6)]


def test_a_usable_pair_leaves_the_forms_own_reason() -> None:
    candidates = [{"text": "a"}, {"text": "b"}]
    table = rows([(0, 2, "too close"), (0, 1, None)])
    table = table.set_column(2, "candidates", pa.array([candidates], COLUMNS["candidates"]))
    none = usable_pairs(table).rows[:0]  # a form may have more against a pair than most
    assert why_lost(table, none, form_named("goals")).to_pylist() == [form_named("goals").reason]


def test_a_pair_of_one_text_gives_no_record_of_any_form() -> None:
    made = {
        "id": "r", "prompt": [{"role": "user", "content": "q"}], "scores": [3.0, 2.0, 1.0],
        "candidates": [{"text": "Yes.", "drop": None}, {"text": "\n Yes.\t"}, {"text": "yes."}],
        "pairs": [{"chosen": 0, "rejected": 1}], "goals": ["worth 3", "worth 2", "worth 1"],
        "step_pairs": [{"chosen": "Yes.", "rejected": "No."}], "steps": [],
        "other_prompt": [{"role": "user", "content": "p"}], "reference": "Yes.",
    }  # fmt: skip
    names = [name for name in COLUMNS if name in made]
    schema = pa.schema([(name, COLUMNS[name]) for name in names])
    table = pa.Table.from_pylist([made], schema=schema)
    paired = [name for name, form in FORMS.items() if "pairs" in form.needs]
    assert len(paired) > 15
    for name in paired:
        form = form_named(name)
        assert len(form.build(table).table) == 0, name
        why = why_lost(table, form.build(table).rows, form).to_pylist()
        assert why == [f"{form.reason}: chosen and rejected are the same text"], name
    # A second pair of the row, of texts that differ, is exported as ever.
    both = [{"chosen": 0, "rejected": 1}, {"chosen": 0, "rejected": 2}]
    table = pa.Table.from_pylist([made | {"pairs": both}], schema=schema)
    record = form_named("preference-text").build(table).table.to_pylist()
    assert [(one["chosen"], one["rejected"]) for one in record] == [("Yes.", "yes.")]


@pytest.mark.parametrize("form", [name for name in FORMS if name != "prompt-only"])
def test_lint_finds_no_identical_pair_in_any_form(tmp_path: Path, form: str) -> None:
    user = {"role": "user", "content": "q"}
    rows = [
        {
            "id": key, "prompt": [user], "reference": "ref", "scores": [3.0, 2.0, 1.0],
            "candidates": [{"text": "Yes."}, {"text": "Yes. "}, {"text": "no"}],
            "pairs": [{"chosen": 0, "rejected": 1}, {"chosen": 0, "rejected": 2}],
            "goals": ["worth 3", "worth 2", "worth 1"],
            "steps": [{"candidate": 0, "text": "Yes.", "right": True}],
            "step_pairs": [{"chosen": "a", "rejected": "b"}, {"chosen": "a", "rejected": rest}],
            "other_prompt": [user | {"content": other}],
        }
        for key, rest, other in (("whole", "b", "p"), ("same", "a\n", "q "))
    ]  # fmt: skip
    names = [name for name in COLUMNS if name in rows[0]]
    table = pa.Table.from_pylist(rows, schema=pa.schema([(n, COLUMNS[n]) for n in names]))
    done = write_form([table], tmp_path / "out.parquet", form)
    assert done.records
    assert "identical_pair" not in lint_dataset(str(tmp_path / "out.parquet"))["findings"]


def test_rows_without_any_pair_are_lost_and_no_error(tmp_path: Path) -> None:
    for form in ("implicit", "preference", "openrlhf"):
        done = write_form([rows([], [])], tmp_path / f"{form}.jsonl", form)
        assert done.rows_dropped == {"export: no pair left": 2}


def test_a_text_stands_in_a_ranked_list_once() -> None:
    names = ("id", "prompt", "candidates", "scores")
    rows = [
        {
            "id": key,
            "prompt": [{"role": "user", "content": "q"}],
            "candidates": [{"text": text} for text in texts],
            "scores": [1.0, 3.0, 2.0],
        }
        for key, texts in (("a", ["x ", "x", "y"]), ("b", ["x", " x", "x\n"]))
    ]
    table = pa.Table.from_pylist(rows, schema=pa.schema([(n, COLUMNS[n]) for n in names]))
    form = form_named("ranked")
    built = form.build(table)
    answers = [
        {"answer": "x", "rank": 1, "score": 3.0},
        {"answer": "y", "rank": 2, "score": 2.0},
    ]
    assert built.table["answers"].to_pylist() == [answers]
    why = [None, "export: fewer than two different scored candidates left"]
    assert why_lost(table, built.rows, form).to_pylist() == why
    assert len(form.build(table.slice(0, 0)).table) == 0


def test_the_books_count_pairs_of_one_text(tmp_path: Path) -> None:
    data = [
        {"id": "whole", "prompt": "q1", "chosen": "yes", "rejected": "no"},
        {"id": "same", "prompt": "q2", "chosen": "yes", "rejected": "yes\n"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in data))
    ended = curate.run(curate.Pipeline.loads(PIPELINE.replace("PATH", str(path))), tmp_path)
    why = "export: no pair left: chosen and rejected are the same text"
    assert ended.accounting["dropped"] == {why: 1}
    assert ended.accounting["records"] == 1
    assert why in (ended.folder / "dataset" / "README.md").read_text()


def test_a_rule_about_pairs_makes_the_datasets_of_every_form_of_pairs_anew() -> None:
    assert form_identity("preference-text").endswith(f", pairs {PAIRS_VERSION}")
    assert form_identity("prompt-only") == "prompt-only"


def test_show_names_the_rows_that_the_export_left_out(tmp_path: Path) -> None:
    data = [
        {"id": "whole", "prompt": "q1", "chosen": "yes", "rejected": "no"},
        {"id": "null", "prompt": "q2", "chosen": "yes", "rejected": None},
        {"id": "other", "prompt": "q3", "chosen": None, "rejected": "no"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in data))
    ended = curate.run(curate.Pipeline.loads(PIPELINE.replace("PATH", str(path))), tmp_path)
    lost = {"rejected is null": "null", "chosen is null": "other"}
    assert ended.accounting["dropped"] == {f"export: no pair left: {why}": 1 for why in lost}
    shown = CliRunner().invoke(app, ["show", "left", "--dropped", "--root", str(tmp_path)])
    counts, *named = map(json.loads, shown.stdout.splitlines())
    assert {entry["dropped"] for entry in counts["lost"]} == {f"no pair left: {w}" for w in lost}
    assert {row["dropped"]: row["id"] for row in named} == {
        f"no pair left: {why}": row_id for why, row_id in lost.items()
    }
    assert {row["stage"] for row in named} == {"export"}
    few = ["show", "left", "--dropped", "--limit", "1", "--root", str(tmp_path)]
    assert "1 of 2 rows shown; --limit 2 shows all" in CliRunner().invoke(app, few).output
    for stage, shown in (("export", 3), ("exact_dedup", 1)):
        only = ["show", "left", "--dropped", "--stage", stage, "--root", str(tmp_path)]
        assert len(CliRunner().invoke(app, only).stdout.splitlines()) == shown


def test_pairs_that_only_the_export_leaves_out_are_counted_where_their_row_gives_records() -> None:
    table = rows(
        [(0, 1, None), (0, 3, None), (3, 2, None), (0, 0, None), (0, 4, None), (3, 0, "too close")],
        [(0, 1, None), (0, 2, "rejected is null")],  # gives none: the row's own reason tells
    )
    more = [{"text": "a"}, {"text": "b", "drop": "score below 3"}, {"text": None}]
    more += [{"text": "c"}, {"text": " a\n"}]
    table = table.set_column(2, "candidates", pa.array([more] * 2, COLUMNS["candidates"]))
    shape = form_named("preference")
    live = usable_pairs(table).rows
    assert live.tolist() == [0]
    found = {
        "export: rejected was dropped, score below 3": 1,
        "export: rejected has no text": 1,
        "export: chosen and rejected are one answer": 1,
        "export: chosen and rejected are the same text": 1,
    }
    assert left_out(table, live, shape) == found
    assert left_out(table, live[:0], shape) == {}
    assert left_out(table, live, form_named("prompt-only")) == {}
    ways = [[table], [table.slice(0, 1), table.slice(1)]]
    for tables in ways:
        tally = Tally()
        survey_of, again = survey(tables, shape, ())
        for _ in reshape(again, "preference", shape, tally, survey_of):
            pass
        assert tally.summary().pairs_dropped == found


def test_pairs_left_out_stand_in_the_books_the_card_and_what_the_command_says(
    tmp_path: Path,
) -> None:
    """Two of one prompt's three pairs are of equal texts, as the source gave them."""
    made = [
        {"id": "r", "prompt": "q", "chosen": "a", "rejected": "b"},
        {"id": "r", "prompt": "q", "chosen": "c", "rejected": "c "},
        {"id": "r", "prompt": "q", "chosen": "d\n", "rejected": "d"},
        {"id": "s", "prompt": "p", "chosen": None, "rejected": "b"},
        {"id": "s", "prompt": "p", "chosen": "a", "rejected": "b"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    columns = curate.Columns(id="id", group="id", chosen="chosen", rejected="rejected")
    source = curate.Jsonl(path=str(path), columns=columns)
    pipeline = curate.Pipeline(name="left", source=source, stages=[])
    for _ in range(2):  # made, and found as it was
        books = curate.run(pipeline, tmp_path).accounting
        assert (books["rows_exported"], books["records"]) == (2, 2)
        assert books["dropped_inside"]["pairs"] == {
            "source: chosen is null": 1,
            "export: chosen and rejected are the same text": 2,
        }
    card = (tmp_path / "runs/left/dataset/README.md").read_text()
    assert "pairs: chosen and rejected are the same text: 2" in card.replace("export: ", "")
    asked = ["export", "left", str(tmp_path / "out.jsonl"), "--root", str(tmp_path)]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    said = done.stderr
    assert "2 pairs of other rows gave none: export: chosen and rejected are the same" in said
    status = CliRunner().invoke(app, ["status", "left", "--root", str(tmp_path)]).stdout
    assert "2  pairs, export: chosen and rejected are the same text" in status
