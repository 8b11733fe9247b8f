"""Stages that see every row, in pieces: the same bytes as in one, however they are cut."""

import json

import numpy as np
import pyarrow as pa
import pytest
from golden_rows import ROWS, make, usual
from hypothesis import given, settings
from hypothesis import strategies as st
from in_pieces import in_spans, whole

from curate.division import Space, pick
from curate.errors import InputError, StoreError
from curate.executors import Local
from curate.executors.divided import cut
from curate.loop import run
from curate.pipeline import Pipeline
from curate.schema import CANDIDATES, PAIRS, PROMPT
from curate.stage import stage_registry
from curate.stages.dedup import ExactDedup, NearDedup
from curate.stages.split import Split
from curate.stages.unique_id import UniqueId
from curate.store import Record
from curate.work import Shard

DIVIDED = (
    "bands", "bound", "calibrate", "cap_pairs", "cluster", "combine", "cover", "curriculum",
    "decontaminate", "diverse", "draw_pairs", "exact_dedup", "few_shot", "jury", "lint",
    "merge_pairs", "merge_tags", "near_dedup", "retrieve", "reused_answers", "reward_heads",
    "route_pairs", "row_score", "semantic_dedup", "soft_label", "split", "style_control",
    "surprisal", "unique_id",
)  # fmt: skip


def test_these_stages_divide():
    kinds = [kind for kind in stage_registry.names() if kind.isidentifier()]
    found = {kind for kind in kinds if has_division(kind)}
    assert found == set(DIVIDED)


def test_every_stage_over_all_rows_divides():
    for kind in filter(str.isidentifier, stage_registry.names()):
        if stage_registry.get(kind).__module__.startswith("curate."):
            assert make(kind).view_scope() == "shard" or has_division(kind), kind


def has_division(kind):
    try:
        return make(kind).division() is not None
    except Exception:  # a stage of another test, which needs fields
        return False


@pytest.mark.parametrize("cuts", [(), (5,), (0, 1, 2, 3, 12), (4, 4, 8)])
@pytest.mark.parametrize("kind", DIVIDED)
def test_the_result_in_pieces_is_that_in_one(kind, cuts, tmp_path):
    table = ROWS.get(kind, usual)()
    assert in_spans(make(kind), table, cuts, tmp_path) == whole(make(kind), table)


WORDS = st.lists(st.sampled_from("abcdef"), max_size=12).map(" ".join)


@st.composite
def tables(draw):
    """Prompts of few words, with two answers each, one pair, and a score to rank by."""
    prompts = draw(st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=14))
    turns = [[{"role": "user", "content": p}] for p, _, _ in prompts]
    answers = [[{"text": a}, {"text": b}] for _, a, b in prompts]
    pair = st.sampled_from([[], [{"chosen": 0, "rejected": 1, "margin": 1.0}]])
    pairs = [draw(pair) for _ in prompts]
    scores = [[draw(st.sampled_from([0.0, 1.0, float("nan")]))] * 2 for _ in prompts]
    return pa.table(
        {
            "id": [f"r{i}" for i in range(len(prompts))],
            "prompt": pa.array(turns, PROMPT),
            "candidates": pa.array(answers, CANDIDATES),
            "pairs": pa.array(pairs, PAIRS),
            "scores": pa.array(scores, pa.list_(pa.float32())),
        }
    )


@settings(max_examples=60)
@given(
    tables(),
    st.sampled_from(["prompt", "last_turn", "conversation", "pair"]),
    st.sampled_from([None, "margin", "scores"]),
    st.booleans(),
    st.lists(st.integers(0, 14), max_size=4),
)
def test_any_cut_of_any_rows_gives_the_same_duplicates(
    tmp_path_factory, table, on, keep_by, near, cuts
):
    if on == "pair" and keep_by == "scores":
        keep_by = "p_correct"
    fields = {"on": on, "keep_by": keep_by}
    stage = NearDedup(threshold=0.5, ngram=2, **fields) if near else ExactDedup(**fields)
    cuts = [min(at, len(table)) for at in cuts]
    folder = tmp_path_factory.mktemp("space")
    assert in_spans(stage, table, cuts, folder) == whole(stage, table)


REPEATING = (
    ("cap_pairs", {"most": 1, "threshold": 0.5, "ngram": 2}),
    ("cap_pairs", {"most": 1, "threshold": 0.5, "ngram": 2, "keep_by": "margin"}),
    ("reused_answers", {"prompts": 2, "threshold": 0.5, "short": 1, "ngram": 2}),
    ("reused_answers", {"prompts": 2, "threshold": 0.4, "short": 1, "ngram": 1, "template": 2}),
    ("merge_pairs", {"contradiction": "keep"}),
    ("split", {"parts": {"a": 0.5, "b": 0.5}, "threshold": 0.4}),
    ("split", {"threshold": 1.0, "together": ["scores"], "response_cap": 2}),
)


@settings(max_examples=40, deadline=None)
@given(tables(), st.sampled_from(REPEATING), st.lists(st.integers(0, 14), max_size=4))
def test_any_cut_of_any_rows_finds_the_same_repeats(tmp_path_factory, table, named, cuts):
    stage = stage_registry.get(named[0]).model_validate(named[1])
    cuts = [min(at, len(table)) for at in cuts]
    folder = tmp_path_factory.mktemp("space")
    assert in_spans(stage, table, cuts, folder) == whole(stage, table)


def test_many_near_copies_in_many_parts(tmp_path):
    """Groups of more sets than one round compares, over several parts and rounds."""
    draw = np.random.default_rng(0)
    base = [f"w{k}" for k in range(30)]
    texts = []
    for number in range(600):
        words = [w if draw.random() > 0.04 else f"x{draw.integers(50)}" for w in base]
        texts.append(" ".join(words) if number % 3 else f"quite another text {number} " * 3)
    turns = [[{"role": "user", "content": text}] for text in texts]
    ids = [f"r{i}" for i in range(600)]
    table = pa.table({"id": ids, "prompt": pa.array(turns, PROMPT)})
    stage = NearDedup(threshold=0.6)
    found = in_spans(stage, table, list(range(50, 600, 50)), tmp_path)
    assert found == whole(stage, table)
    assert found[0]["drop"].null_count < 500
    assert len(list(tmp_path.glob("texts state-*.npy"))) >= 3


@pytest.mark.parametrize("stage", [NearDedup(threshold=0.3), Split(threshold=0.3)])
def test_pairs_that_one_part_alone_can_find(tmp_path, stage):
    """Each two rows share one word and no more, so that they meet in that word's part."""
    texts = [f"a{number} {other}{number}" for number in range(150) for other in "bc"]
    turns = [[{"role": "user", "content": text}] for text in texts]
    ids = [f"r{i}" for i in range(300)]
    table = pa.table({"id": ids, "prompt": pa.array(turns, PROMPT)})
    found, counts = in_spans(stage, table, list(range(20, 300, 20)), tmp_path)
    assert (found, counts) == whole(stage, table)
    left = counts["groups"] if "split" in found else found["drop"].null_count
    assert left == 150


def test_rows_of_one_id_that_differ_are_named(tmp_path):
    table = usual()
    ids = table["id"].to_pylist()
    ids[9] = ids[2]
    table = table.set_column(0, "id", pa.array(ids))
    with pytest.raises(InputError) as one_piece:
        whole(UniqueId(), table)
    with pytest.raises(InputError) as pieces:
        in_spans(UniqueId(), table, (4, 8), tmp_path)
    assert str(pieces.value) == str(one_piece.value)
    assert "two rows that differ share the id 'r2'" in str(pieces.value)


PIPELINE = """
name: t
source: {jsonl: {path: PATH, shard_rows: 10}}
engines: {fast: {scripted: {}}}
stages:
  - exact_dedup
  - generate: {engine: fast, n: 3}
  - judge: {engine: fast, score: expected}
  - combine
  - best_worst
  - exact_dedup: {on: pair}
  - near_dedup: {threshold: 0.5, keep_by: scores}
"""


@pytest.fixture
def pipeline(tmp_path):
    path = tmp_path / "prompts.jsonl"
    tail = ("and why?", "and why is it so?")
    prompts = [
        f"What about number {i % 55} and its {i % 3} friends {tail[i % 2]}" for i in range(90)
    ]
    lines = [{"id": f"r{i}", "prompt": prompt} for i, prompt in enumerate(prompts)]
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, lines[3]]))
    return Pipeline.loads(PIPELINE.replace("PATH", str(path)))


def parts(outcome, root):
    books = outcome.accounting
    assert outcome.finished
    assert books["rows_in"] == 91
    lost = sum(books["dropped"].values()) + sum(books["failed"].values())
    assert books["rows_in"] == books["rows_exported"] + lost
    found = (root / "store").rglob("*.arrow")
    return books, {f"{f.parent.name}/{f.name.split('.')[0]}": f.read_bytes() for f in found}


@pytest.mark.parametrize("workers", [1, 3])
def test_a_run_in_pieces_leaves_the_same_parts(pipeline, tmp_path, workers):
    expected = parts(run(pipeline, tmp_path / "whole", executor=Local()), tmp_path / "whole")
    executor = Local(workers=workers, divide_from=1)
    root = tmp_path / "pieces"
    assert parts(run(pipeline, root, executor=executor), root) == expected
    assert expected[0]["dropped"]["unique_id: exact repetition"] == 1
    assert not list((root / "store/.pieces").iterdir())


def test_cuts_are_of_about_equally_many_rows():
    def shards(*rows):
        parts = [Record("s", "k", "", "", (), (), n, n) for n in rows]
        return [Shard(i, (part,)) for i, part in enumerate(parts)]

    assert cut(shards(5, 5, 5, 5), 2) == (0, 2, 4)
    assert cut(shards(5, 5, 5, 5), 100) == (0, 1, 2, 3, 4)
    assert cut(shards(0, 100, 0, 1), 1) == (0, 4)
    assert cut(shards(1 << 17, 1), 1) == (0, 1, 2)  # what one worker holds has an end


def test_a_missing_piece_is_an_error_and_not_less_data(tmp_path):
    space = Space(tmp_path, (0, 1, 2))
    space.save("x", 0, np.arange(3))
    with pytest.raises(StoreError, match="x-1"):
        space.all_of("x", 2)
    (tmp_path / "x-0.npy").write_bytes(b"")
    with pytest.raises(StoreError, match="x-0"):
        space.load("x")


@given(st.lists(st.lists(st.text(max_size=2), max_size=3), min_size=1, max_size=4), st.data())
def test_picking_from_chunks_is_taking(chunks, data):
    column = pa.chunked_array([pa.array(c, pa.large_string()) for c in chunks])
    wanted = data.draw(st.lists(st.integers(0, max(len(column) - 1, 0)), max_size=9))
    index = np.array(wanted if len(column) else [], dtype=np.int64)
    assert pick(column, index).to_pylist() == [column[int(i)].as_py() for i in index]


def test_texts_and_empty_arrays_come_back(tmp_path):
    space = Space(tmp_path, (0, 2, 2))
    space.save("t", 0, pa.array(["a", None]))
    space.save("t", 1, pa.array([], pa.string()))
    assert space.texts("t").to_pylist() == ["a", None]
    for number in range(2):
        space.save("n", number, np.zeros(0, np.uint64))
    assert space.join("n").tolist() == []
