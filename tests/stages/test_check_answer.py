import pyarrow as pa

from curate.schema import CANDIDATES
from curate.stage import Context
from curate.stages.check_answer import CheckAnswer


def judged(references, texts):
    made = [{"text": t, "drop": "empty" if t is None else None} for t in texts]
    view = pa.table(
        {
            "reference": pa.array(references, pa.string()),
            "candidates": pa.array([made] * len(references), CANDIDATES),
        }
    )
    rows = CheckAnswer().apply(view, Context())["judgments"].to_pylist()
    return [[(j["a"], j["score"], j["status"]) for j in row] for row in rows]


def test_a_solution_is_right_wrong_or_has_no_answer():
    found = judged(["2 * 9\n#### 18", "$18", None, " "], ["A: 18.0", None, "A: 9", "so it is 18"])
    wanted = [(0, 1.0, "ok"), (2, 0.0, "ok"), (3, None, "parse_error")]
    assert found == [wanted, wanted, [], []]


def test_a_number_that_cannot_be_read_is_not_a_wrong_one():
    texts = ["A: 18, as 9 + 9 = 18", "A: x = 18", "A: eighteen", "A: 19"]
    assert judged(["18"], texts) == [
        [
            (0, None, "parse_error"),
            (1, None, "parse_error"),
            (2, None, "parse_error"),
            (3, 0.0, "ok"),
        ]
    ]
    assert judged(["Paris"], ["A: paris.", "A: 18"]) == [[(0, 1.0, "ok"), (1, 0.0, "ok")]]
