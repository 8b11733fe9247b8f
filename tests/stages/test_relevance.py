import numpy as np
import pyarrow as pa
import pytest
from fake_engine import table

from curate.arrays import lists
from curate.errors import StageError
from curate.schema import JUDGMENTS
from curate.stage import Context
from curate.stages.relevance import Relevance


def vectors(values, there=None):
    flat = pa.array(np.ravel(values).astype(np.float32))
    mask = None if there is None else pa.array(~np.array(there))
    return pa.FixedSizeListArray.from_arrays(flat, len(values[0]), mask=mask)


def rows():
    texts = [["w " * 4, "one two three four"], ["gone", "a b c"], ["no own vector"]]
    drops = [[None, None], ["empty", None], [None]]
    view = table(texts, drops)
    view = view.append_column(
        "embedding", vectors([[3.0, 0.0], [0.0, 2.0], [1.0, 1.0]], [True, True, False])
    )
    each = vectors([[4.0, 3.0], [1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [1.0, 0.0]])
    return view.append_column("answer_vectors", lists([2, 2, 1], each))


def scores(stage, view):
    made = stage.apply(view, Context())["judgments"]
    assert made.type == JUDGMENTS
    return [[(j["a"], j["score"]) for j in row] for row in made.to_pylist()]


def test_the_cosine_times_distinct_trigrams_times_length():
    assert scores(Relevance(), rows()) == [
        [(0, pytest.approx(0.4)), (1, 1.0)], [(1, 0.0)], [],
    ]  # fmt: skip
    assert scores(Relevance(ngram=None), rows())[0][0] == (0, pytest.approx(0.8))
    assert scores(Relevance(per_words=2), rows())[0] == [(0, pytest.approx(0.8)), (1, 2.0)]
    assert scores(Relevance(per_words=2, most=1.5), rows())[0][1] == (1, 1.5)
    assert scores(Relevance(), rows().slice(1, 1)) == [[(1, 0.0)]]
    assert scores(Relevance(), rows().slice(0, 0)) == []


def test_vectors_that_do_not_fit_are_refused():
    view = rows()
    other = view.set_column(view.column_names.index("embedding"), "embedding", vectors([[1.0]] * 3))
    with pytest.raises(StageError, match="embed both with one model"):
        Relevance().apply(other, Context())
    place = view.column_names.index("answer_vectors")
    short = view.set_column(place, "answer_vectors", lists([1, 2, 1], vectors([[1.0, 0]] * 4)))
    with pytest.raises(StageError, match="not aligned"):
        Relevance().apply(short, Context())
