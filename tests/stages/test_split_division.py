"""What `split` does in pieces beside finding what is alike (tests/executors/test_divided.py)."""

import json

import pyarrow as pa
import pytest
from in_pieces import in_spans, whole

from curate.errors import StageError
from curate.schema import PROMPT
from curate.stages.split import Split


def rows(*authors):
    return pa.table(
        {
            "id": [f"r{k}" for k in range(len(authors))],
            "prompt": pa.array(
                [[{"role": "user", "content": f"word{k} other{k}"}] for k in range(len(authors))],
                PROMPT,
            ),
            "meta": [json.dumps({"author": name} if name else {"autor": k})
                     for k, name in enumerate(authors)],
        }
    )  # fmt: skip


def test_a_key_that_only_one_span_has_links_its_rows(tmp_path):
    table = rows(None, None, "ann", "bob", "ann", None)
    stage = Split(together=("meta.author",), parts={"a": 0.5, "b": 0.5})
    found, counts = in_spans(stage, table, (2, 3), tmp_path)
    assert (found, counts) == whole(stage, table)
    assert counts["groups"] == 5


def test_a_key_that_no_row_has_is_the_same_error(tmp_path):
    table, stage = rows(None, None, None), Split(together=("meta.author",))
    with pytest.raises(StageError) as one_piece:
        whole(stage, table)
    with pytest.raises(StageError) as pieces:
        in_spans(stage, table, (1, 2), tmp_path)
    assert str(pieces.value) == str(one_piece.value)
    assert "no row has 'author' in `meta`; did you mean 'autor'?" in str(pieces.value)
