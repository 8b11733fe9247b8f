import pyarrow as pa
import pytest
from fake_engine import table

from curate.errors import StageError
from curate.methods.bleu import sentence_bleu
from curate.stage import Context
from curate.stages.bleu import Bleu


def test_worked_numbers():
    down = ["the cat sat down"]
    # Every n-gram is right, so only brevity counts: exp(1 - 4 / 3).
    assert sentence_bleu("the cat sat", down) == pytest.approx(0.716531, abs=1e-6)
    assert sentence_bleu("the cat sat down", down) == 1
    assert sentence_bleu("", ["the cat"]) == sentence_bleu(" ", ["the cat"]) == 0
    # Words in another order: all four are right, but of 3, 2, 1 longer ones none.
    turned = (1 * (1 / 4) * (1 / 3) * (1 / 2)) ** 0.25
    assert sentence_bleu("down sat cat the", down) == pytest.approx(turned)
    # A word counts as often as the reference has it.
    repeated = (2 / 4 * 1 / 3 * 1 / 2 * 1) ** 0.25
    assert sentence_bleu("the the the", ["the cat sat"]) == pytest.approx(repeated)


def test_several_references():
    two = ["the cat sat down", "a dog sat down there"]
    assert all(sentence_bleu(text, two) == 1 for text in two)
    # Both words are known, each from another reference, their pair is not; the shortest is 2 long.
    assert sentence_bleu("b c", ["a b", "c d e"]) == pytest.approx((1 * 1 / 2) ** 0.25)
    # Not the sum but the most of one reference counts: of three "a" two.
    assert sentence_bleu("a a a", ["a a b", "a c d"]) == pytest.approx(
        (3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    )
    assert sentence_bleu("the cat", ["", " ", "the cat"]) == 1
    assert sentence_bleu("the cat", [""]) == 0


def test_references_from_columns_and_the_sources_own_keys():
    view = table([["a b"], ["c d"], ["e f"], ["g"]])
    view = view.append_column("reference", pa.array(["a b", None, "x y", None], pa.string()))
    meta = ['{"more": ["c d", null]}' if k == 1 else '{"more": "e f"}' for k in range(3)]
    view = view.append_column("meta", pa.array([*meta, "{}"], pa.string()))
    stage = Bleu(references=("reference", "meta.more"))
    assert stage.needed() == ("reference", "meta", "candidates")
    rows = stage.apply(view, Context())["judgments"].to_pylist()
    assert [[j["score"] for j in row] for row in rows] == [[1], [1], [1], []]
    number = view.set_column(view.column_names.index("meta"), "meta", pa.array(['{"more": 4}'] * 4))
    with pytest.raises(StageError, match=r"'meta.more' must hold texts or lists of texts, not int"):
        stage.apply(number, Context())


def test_rows_without_a_reference_get_no_judgment():
    view = table([["a b", "c", ""], ["d"], ["e"]], [[None, "empty", None], [None], [None]])
    view = view.append_column("reference", pa.array(["a b", None, " "], pa.string()))
    rows = Bleu().apply(view, Context())["judgments"].to_pylist()
    assert [[(j["a"], j["score"], j["status"]) for j in row] for row in rows] == [
        [(0, 1.0, "ok"), (2, 0.0, "ok")], [], [],
    ]  # fmt: skip
