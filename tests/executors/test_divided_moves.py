"""Stages that decide over all rows by a few numbers of each: the same in pieces as in one."""

import pyarrow as pa
import pytest
from test_divided import in_spans, usual, whole

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
    ("bands", {"judges": ["duel", "j"], "wrong": 0.5}),
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
    return pa.concat_tables([table, more])


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
