"""Stages that decide over all rows by a few numbers of each: the same in pieces as in one."""

import json

import pyarrow as pa
import pytest
from golden_rows import usual
from hypothesis import given, settings
from hypothesis import strategies as st
from in_pieces import in_spans, whole

from curate.errors import StageError
from curate.schema import PAIRS
from curate.stage import stage_registry

OVER_ALL = (
    ("bound", {"column": "scores", "of_list": "mean", "lowest": 5, "at_most": 3.0}),
    ("bound", {"column": "scores", "of_list": "most", "mean_by": "split", "highest": 0.5}),
    ("bound", {"column": "prompt", "mean_by": "reference", "at_least": 5, "to": "size"}),
    ("row_score", {"of": ["scores", "margin"], "standardise": True, "how": "sum"}),
    ("curriculum", {"within": "dataset", "steps": 3}),
    ("soft_label", {"method": "reliability"}),
    ("soft_label", {"method": "smooth", "share": 0.3}),
    ("draw_pairs", {"keep": 4, "by": "margin"}),
    ("draw_pairs", {"keep": 0.5, "by": "p_correct"}),
    ("merge_pairs", {"contradiction": "keep", "keep_by": "margin"}),
    ("merge_pairs", {"contradiction": "majority"}),
    ("route_pairs", {"budget": 5}),
    ("route_pairs", {"budget": 0.4, "group": "reference"}),
    ("bands", {}),
    ("combine", {"scale": "dataset"}),
    ("combine", {"scale": "centre", "halve": True, "weights": {"k": 2.0}}),
    ("combine", {"scale": "deviation", "veto": ["j"], "pool": "mean_std"}),
    ("combine", {"scale": "variance", "judges": ["j", "k"], "required": ["k"]}),
    ("combine", {"scale": "dataset", "committee": "samples", "torn": "tie", "halve": True}),
    ("combine", {"scale": "centre", "committee": "aspects", "pool": "loudest"}),
    ("bands", {"judges": ["duel", "j"], "wrong": 0.5}),
    ("calibrate", {"labels": ["duel"], "min_labels": 1}),
    ("calibrate", {"labels": ["label"], "min_labels": 1, "at_least": 0.4}),
    (
        "calibrate",
        {
            "labels": ["j"],
            "judges": ["k", "label"],
            "truth": "mean",
            "min_labels": 1,
            "relabel": True,
            "ridge": 0.5,
        },
    ),
    ("merge_tags", {"threshold": None, "min_rows": 2, "confidence": 0.6, "support": 2}),
    ("reward_heads", {"heads": 3, "folds": 3}),
    ("reward_heads", {"heads": 2, "length": False, "ridge": 1}),
    ("near_dedup", {"method": "minhash", "threshold": 0.5}),
    ("near_dedup", {"method": "minhash", "threshold": 0.6, "on": "pair", "keep_by": "margin"}),
    ("near_dedup", {"threshold": 0.5, "keep_by": "meta.late"}),
    ("exact_dedup", {"keep_by": "meta.scores"}),
    ("bound", {"column": "meta.label", "lowest": 7}),
    ("bound", {"column": "meta.scores", "of_list": "mean", "mean_by": "meta.mixed", "at_least": 1}),
    ("row_score", {"of": ["meta.late", "meta.scores"], "standardise": True, "how": "sum"}),
    ("diverse", {"keep": 6, "quality": "meta.scores", "group": "meta.mixed", "method": "mmr"}),
    ("jury", {}),
    ("jury", {"label": True, "min_judges": 2}),
    ("lint", {"drop": ["refusal"]}),
    ("near_dedup", {"on": "embedding", "threshold": 0.5, "keep_by": "margin"}),
    ("semantic_dedup", {"threshold": 0.5, "keep_by": "scores"}),
    ("semantic_dedup", {"threshold": 0.5, "sweep": [0.3, 0.9], "exact_up_to": 0, "probes": 3}),
)
"""Stages with fields for which they see all rows."""


@pytest.mark.parametrize("cuts", [(), (5,), (0, 1, 2, 3, 12), (4, 4, 8)])
@pytest.mark.parametrize(("kind", "fields"), OVER_ALL)
def test_what_is_decided_over_all_rows_is_the_same_in_pieces(kind, fields, cuts, tmp_path):
    stage = stage_registry.get(kind).model_validate(fields)
    assert stage.view_scope() == "dataset"
    table = again(usual())
    assert in_spans(stage, table, cuts, tmp_path) == whole(stage, table)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(OVER_ALL),
    st.permutations(range(20)),
    st.lists(st.integers(0, 20), max_size=6),
)
def test_any_cut_of_any_order_gives_the_same(tmp_path_factory, named, order, cuts):
    stage = stage_registry.get(named[0]).model_validate(named[1])
    table = again(usual()).take(pa.array(order))
    folder = tmp_path_factory.mktemp("space")
    assert in_spans(stage, table, cuts, folder) == whole(stage, table)


def again(table):
    """The rows, and after them the first eight with other ids, turned pairs and other numbers."""
    more = table.slice(0, 8)
    pairs = more["pairs"].to_pylist()
    for row in pairs:
        for pair in row:
            pair["chosen"], pair["rejected"] = pair["rejected"], pair["chosen"]
            pair["weight"] = 0.25 * (1 + pair["chosen"])
    for name, values in (
        ("id", [f"s{k}" for k in range(len(more))]), ("pairs", pa.array(pairs, PAIRS)),
    ):  # fmt: skip
        more = more.set_column(more.column_names.index(name), name, pa.array(values))
    table = pa.concat_tables([table, more])
    meta = [own(k, text) for k, text in enumerate(table["meta"].to_pylist())]
    return table.set_column(table.column_names.index("meta"), "meta", pa.array(meta))


def own(row, text):
    """More of the source's own: what some spans lack, or have otherwise than others."""
    more = {"scores": [row % 5, None, 2.5] if row % 4 else []}
    if row > 7:
        more["late"] = row % 3
    if row % 5:
        more["mixed"] = row % 2 if row < 6 else f"kind {row % 2}"
    return json.dumps({**json.loads(text), **more})


def test_judges_that_only_some_spans_have(tmp_path):
    """Each span has its own judges; a name for unlike things is an error wherever it stands."""
    table = usual()
    judged = table["judgments"].to_pylist()
    for row, calls in enumerate(judged):
        gone = {0: "k", 1: "duel"}.get(row // 4)
        judged[row] = [call for call in calls if call["judge"] != gone]
    place = table.column_names.index("judgments")
    kind = table.schema.field("judgments").type
    table = table.set_column(place, "judgments", pa.array(judged, kind))
    for name, fields in (("bands", {}), ("jury", {}), ("combine", {"scale": "dataset"})):
        stage = stage_registry.get(name)(**fields)
        folder = tmp_path / name
        folder.mkdir()
        assert in_spans(stage, table, (4, 8), folder) == whole(stage, table)
    for call in judged[11]:
        call["judge"] = {"duel": "k", "k": "other"}.get(call["judge"], call["judge"])
    table = table.set_column(place, "judgments", pa.array(judged, kind))
    with pytest.raises(StageError) as one_piece:
        whole(stage, table)
    with pytest.raises(StageError, match="judge 'k' gives both scores and comparisons") as pieces:
        in_spans(stage, table, (11,), tmp_path)
    assert str(pieces.value) == str(one_piece.value)
