from __future__ import annotations

import pyarrow as pa
import pytest

from curate.schema import PAIRS
from curate.stage import Context
from curate.stages.fifa import Fifa

pytest.importorskip("faiss")


def view(margins, vectors, **columns) -> pa.Table:
    pair = {"chosen": 0, "rejected": 1, "source": "s"}
    pairs = [[] if m is None else [{**pair, "margin": m}] for m in margins]
    kind = pa.list_(pa.float32(), len(vectors[0]))
    return pa.table(
        {
            "id": [f"r{i}" for i in range(len(margins))],
            "pairs": pa.array(pairs, PAIRS),
            "embedding": pa.array(vectors, kind),
            **columns,
        }
    )


def test_the_stage_writes_what_it_ranked_by():
    table = view(
        [2.0, 1.9, None, 1.0, 5.0, -3.0],
        [[1, 0], [1, 0.01], [0, 1], [-1, 0], [0, 0], [1, 0.02]],
        q=[0.8, 0.2, 0.9, 0.8, 0.5, None],
    )
    result = Fifa(keep=2, quality="q", k=1).apply(table, Context())
    assert result["drop"].to_pylist() == [
        None,
        "not among the 2 of highest FiFA score",
        "no margin to rank it by",
        None,
        "no embedding to compare with the others",
        "no q to rank it by",
    ]
    assert [v is None for v in result["fifa_score"].to_pylist()] == [0, 0, 1, 0, 1, 1]
    assert result["fifa_margin"].to_pylist()[:2] == pytest.approx([2.0, 1.9])


def test_absolute_margins():
    table = view([-9.0, 1.0, 2.0], [[1, 0], [0, 1], [-1, 0]])
    for absolute, expected in ((True, [0]), (False, [2])):
        stage = Fifa(keep=1, absolute=absolute, entropy_weight=0, k=1)
        why = stage.apply(table, Context())["drop"].to_pylist()
        assert [row for row, reason in enumerate(why) if reason is None] == expected
