"""An audit with embeddings: of an encoder, of a run's column, and as the store keeps them."""

from __future__ import annotations

import json
import os

import numpy as np
import pyarrow as pa
from planted_pairs import made

from curate.arrays import lists
from curate.audit import Embedding, audit, audit_tables
from curate.audit.concepts import FEWEST
from curate.audit.embedded import kept_vectors
from curate.encoders import SentenceEncoder
from curate.garbage import sweep
from curate.history import manifest, shards
from curate.loop import run
from curate.pipeline import Pipeline
from curate.report.features import audit_with_features
from curate.schema import CANDIDATES, PAIRS, PROMPT
from curate.sources.columns import Columns
from curate.sources.files import Jsonl


class Bag:
    """An encoder of words: each has a random direction of its own."""

    def encode(self, texts, batch_size=64, told=None):
        vectors = [
            sum(np.random.default_rng(list(w.encode())).normal(size=32) for w in text.split())
            for text in texts
        ]
        return np.array([v / np.linalg.norm(v) for v in vectors], dtype=np.float32)


def test_embeddings_find_what_no_pattern_counts(monkeypatch):
    monkeypatch.setattr("curate.audit.embedded.load_encoder", lambda model, precision: Bag())
    draws = np.random.default_rng(0)
    topics = ["a warm bath with candles", "an engine with four cylinders", "a cat that sleeps",
              "the price of bread", "a sailor on deck"]  # fmt: skip
    rows = []
    for i in range(220):
        one, two = draws.choice(len(topics), 2, replace=False)
        if two == 2 or (one != 2 and draws.random() < 0.5):
            one, two = two, one
        pair = [f"It is about {topics[k]} number {draws.integers(99)}" for k in (one, two)]
        rows.append((f"q{i}", pair))
    table = pa.table(
        {
            "prompt": pa.array([[{"role": "user", "content": q}] for q, _ in rows], PROMPT),
            "candidates": pa.array([[{"text": t} for t in two] for _, two in rows], CANDIDATES),
            "pairs": pa.array([[{"chosen": 0, "rejected": 1}]] * 220, PAIRS),
        }
    )
    found = audit_tables([table], "x", embedding=Embedding())
    first = found["embeddings"]["features"][0]
    assert first["leans"]
    assert {"cat", "sleeps"} & set(first["words"])
    assert found["embeddings"]["origin"] == "the encoder packaged:minilm"
    assert found == audit_tables([table], "x", embedding=Embedding())

    texts = [text for _, two in rows for text in two]
    made_vectors = list(Bag().encode(texts).astype(np.float16))
    vectors = pa.array(made_vectors, pa.list_(pa.float16(), 32))
    stored = table.append_column("vectors", lists(np.full(220, 2), vectors))
    nothing = audit_tables([stored], "x", embedding=Embedding(None, "gone"))
    assert nothing["embeddings"] == "no encoder was asked for"
    from_run = audit_tables([stored], "x", embedding=Embedding(None, "vectors"))["embeddings"]
    assert from_run["origin"] == "the column vectors"
    assert from_run["features"][0]["words"][:3] == first["words"][:3]
    short = stored.slice(0, 210)  # some answers without a vector: their pairs are left out
    holes = pa.array([None, *vectors.to_pylist()[1:420]], vectors.type)
    short = short.set_column(3, "vectors", lists(np.full(210, 2), holes))
    shown = audit_tables([short], "x", embedding=Embedding(None, "vectors"))["embeddings"]
    assert shown["pairs"] == 209
    moved = short.set_column(3, "vectors", lists([3, 1] * 105, holes))  # not beside the answers
    by_encoder = audit_tables([moved], "x", embedding=Embedding(column="vectors"))["embeddings"]
    assert by_encoder["origin"] == "the encoder packaged:minilm"


class KnownBag(SentenceEncoder):
    """The same, with a fingerprint, so that its vectors can be kept; counts what it encodes."""

    fingerprint = "bag"

    def __init__(self):
        self.texts = 0

    def encode(self, texts, batch_size=64, told=None):
        self.texts += len(texts)
        return Bag().encode(texts)


def test_vectors_are_kept_by_the_store_for_as_long_as_the_run(monkeypatch, tmp_path):
    bag = KnownBag()
    monkeypatch.setattr("curate.audit.embedded.load_encoder", lambda model, precision: bag)
    rows = [
        {"id": f"r{i}", "prompt": f"q{i}", "chosen": f"yes {i}", "rejected": f"no {i}"}
        for i in range(FEWEST)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain = audit(str(path), tmp_path / "elsewhere")
    assert bag.texts == 2 * FEWEST
    assert not (tmp_path / "elsewhere").exists()
    columns = Columns(id="id", prompt="prompt", chosen="chosen", rejected="rejected")
    source = Jsonl(path=str(path), columns=columns)
    run(Pipeline("small", source, [], {}, 0, export=None), tmp_path)
    first = audit("small", tmp_path)
    assert first["embeddings"] == plain["embeddings"]
    assert bag.texts == 4 * FEWEST
    for vectors in (tmp_path / "store").glob(".vectors/*/*"):
        os.utime(vectors, (1e9, 1e9))
    assert sweep(tmp_path).leftovers == 0
    assert audit("small", tmp_path) == first
    assert audit(str(path), tmp_path)["embeddings"] == plain["embeddings"]  # the set itself
    shown = audit_with_features(*shards(tmp_path, manifest(tmp_path, "small")), "packaged:minilm",
                                kept=kept_vectors(tmp_path, "small", "report"))  # fmt: skip
    assert shown["embeddings"]["pairs"] == FEWEST
    assert bag.texts == 4 * FEWEST
    sweep(tmp_path, forget=["small"])
    assert not list((tmp_path / "store").glob(".vectors/*/*"))


def test_as_many_pairs_are_encoded_as_the_text_allows(monkeypatch):
    monkeypatch.setattr("curate.audit.embedded.load_encoder", lambda model, precision: Bag())
    table = made("lot", 450)
    some = audit_tables([table], "x", embedding=Embedding(characters=120_000))["embeddings"]
    assert FEWEST < some["pairs"] < 450
    few = audit_tables([table], "x", embedding=Embedding(characters=1))["embeddings"]
    assert few["pairs"] == FEWEST
    assert audit_tables([table], "x", embedding=Embedding(most=300))["embeddings"]["pairs"] == 300
