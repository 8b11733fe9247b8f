"""An audit finds the preference that was planted, and none where labels are drawn by lot."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from planted_pairs import made

from curate.arrays import flat, lists
from curate.audit import audit, audit_tables
from curate.commands.audit import audit_lines
from curate.errors import ConfigError, InputError
from curate.loop import run
from curate.pipeline import Pipeline
from curate.schema import CANDIDATES


def leaning(found) -> set[str]:
    return {row["property"] for row in found["properties"] if row.get("leans")}


def by_name(found) -> dict:
    return {row["property"]: row for row in found["properties"]}


def test_a_planted_length_preference_is_found_and_nothing_else():
    found = audit_tables([made("length")], "x")
    assert leaning(found) == {"words"}
    row = by_name(found)["words"]
    assert 0 < row["low"] < row["weight"] < row["high"]
    assert row["more_chosen"]["share"] == pytest.approx(0.92, abs=0.04)
    assert (found["pairs"], found["prompts"]) == (500, 250)


def test_a_planted_flattery_preference_is_found_and_nothing_else():
    found = audit_tables([made("flattery")], "x")
    assert leaning(found) == {"flattery"}


def test_flattery_shows_where_another_property_takes_its_weight():
    """Every flattering answer also has an exclamation mark, and a few have the mark alone."""
    table = made("flattery")
    candidates = table["candidates"].combine_chunks()
    texts = pc.replace_substring(flat(candidates, "text"), "happy to help.", "happy to help!!!!!")
    marked = pa.StructArray.from_arrays(
        [texts, *(flat(candidates, name) for name in ("model", "finish_reason", "tokens", "drop"))],
        fields=list(CANDIDATES.value_type),
    )
    column = lists(np.full(len(table), 2), marked)
    found = audit_tables([table.set_column(1, "candidates", column)], "x")
    row = by_name(found)["flattery"]
    assert row["share_leans"]
    assert row["alike"] == ["exclamation"]
    assert by_name(found)["exclamation"]["alike"] == ["flattery"]
    assert not by_name(found)["numbers"].get("share_leans")
    lines = "\n".join(audit_lines(found))
    assert "flattery goes together with exclamation" in lines
    assert "a preference for French over English does not show" in lines


def test_labels_drawn_by_lot_lean_nowhere():
    found = [audit_tables([made("lot", seed=seed)], "x") for seed in range(20)]
    assert sum(bool(leaning(one)) for one in found) <= 2  # each errs with a chance of 5 %
    shares = [[row for row in one["properties"] if row.get("share_leans")] for one in found]
    assert sum(map(bool, shares)) <= 2


def test_the_same_for_any_cut_into_tables_and_without_repeats():
    table = made("length", 60)
    whole = audit_tables([table], "x")
    assert audit_tables([table.slice(0, 7), table.slice(7)], "x") == whole
    twice = audit_tables([table, table.slice(0, 20)], "x")
    assert twice["repeated_or_equal"] == 20
    assert twice["properties"] == whole["properties"]


def test_a_set_on_disk_and_its_lines(tmp_path):
    path = tmp_path / "set.jsonl"
    rows = [
        {"prompt": f"q{i}", "chosen": "long \x1b[J " * (9 + i % 5), "rejected": "short"}
        for i in range(30)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = audit(str(path), tmp_path)
    assert found["pairs"] == 30
    assert "too few" in found["embeddings"]
    lines = audit_lines(found)
    assert "\x1b" not in "".join(lines)
    assert lines[0] == "30 pairs of 30 prompts"
    same = {"prompt": "?", "chosen": "a", "rejected": "a"}
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[3], same]))
    again = audit(str(tmp_path / "s*.jsonl"), tmp_path, encoder=None)  # a pattern, too
    assert audit_lines(again)[0] == f"{lines[0]}; 2 more repeat one of them, or are equal answers"
    with pytest.raises(InputError, match=r"no file matches '.*none\.jsonl'"):
        audit(str(tmp_path / "none.jsonl"), tmp_path)
    assert any(line.startswith("words ") and line.endswith("*") for line in lines)
    with pytest.raises(ConfigError, match="no such folder"):
        audit(str(path), tmp_path, encoder="./foo")  # a wrong name, however few the pairs
    with pytest.raises(ConfigError, match="no run 'nowhere'"):
        audit("nowhere", tmp_path)
    empty = made("lot", 3).slice(0, 0)
    with pytest.raises(InputError, match="no pair of answers"):
        audit_tables([empty], "x")


def test_a_run_without_rows_has_no_pair_left_to_audit(tmp_path):
    (tmp_path / "rows.jsonl").touch()
    written = (
        f"name: none\nsource: {{jsonl: {{path: {tmp_path}/rows.jsonl, "
        "columns: {chosen: chosen, rejected: rejected}}}\nstages: [exact_dedup]\n"
    )
    run(Pipeline.loads(written), tmp_path)
    with pytest.raises(InputError, match="none: no pair of answers is left"):
        audit("none", tmp_path, encoder=None)
