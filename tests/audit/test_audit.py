"""An audit finds the preference that was planted, and none where labels are drawn by lot."""

from __future__ import annotations

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from curate.arrays import flat, lists
from curate.audit import Embedding, audit, audit_tables
from curate.audit.autoencoder import batch_top_k, train
from curate.audit.circles import pair_circles, verdict_circles
from curate.audit.concepts import FEWEST, concepts, words
from curate.audit.embedded import kept_vectors
from curate.audit.properties import (
    PROPERTIES,
    holm,
    leanings,
    share_more,
    text_properties,
)
from curate.commands.audit import audit_lines
from curate.encoders import SentenceEncoder
from curate.errors import ConfigError, InputError
from curate.garbage import sweep
from curate.history import manifest, shards
from curate.loop import run
from curate.pipeline import Pipeline
from curate.report.features import audit_with_features
from curate.schema import CANDIDATES, JUDGMENTS, PAIRS, PROMPT
from curate.sources.columns import Columns
from curate.sources.files import Jsonl

WORDS = [
    "river",
    "stone",
    "cloud",
    "maple",
    "ember",
    "north",
    "quiet",
    "field",
    "harbour",
    "lantern",
    "meadow",
    "winter",
]


def text(draws, size: int, flattery: bool) -> str:
    said = " ".join(draws.choice(WORDS, size))
    return ("Great question, happy to help. " if flattery else "Here it is in short, then. ") + said


def made(rule: str, rows: int = 500, seed: int = 0) -> pa.Table:
    """Pairs whose better answer is the longer one, the flattering one, or either by lot."""
    draws = np.random.default_rng(seed)
    prompts, candidates = [], []
    for i in range(rows):
        sizes, kinds = draws.integers(10, 60, 2), draws.random(2) < 0.5
        two = [text(draws, int(s), bool(k)) for s, k in zip(sizes, kinds, strict=True)]
        first = draws.random() < 0.5
        if rule == "length" and draws.random() < 0.85:
            first = sizes[0] > sizes[1]
        if rule == "flattery" and kinds[0] != kinds[1] and draws.random() < 0.85:
            first = bool(kinds[0])
        two = two if first else two[::-1]
        prompts.append([{"role": "user", "content": f"Question {i // 2}?"}])
        candidates.append([{"text": t, "drop": None} for t in two])
    pair = [{"chosen": 0, "rejected": 1, "drop": None}]
    return pa.table(
        {
            "prompt": pa.array(prompts, PROMPT),
            "candidates": pa.array(candidates, CANDIDATES),
            "pairs": pa.array([pair] * rows, PAIRS),
        }
    )


def leaning(found) -> set[str]:
    return {row["property"] for row in found["properties"] if row.get("leans")}


def by_name(found) -> dict:
    return {row["property"]: row for row in found["properties"]}


def test_a_planted_length_preference_is_found_and_nothing_else():
    found = audit_tables([made("length")], "x")
    assert leaning(found) == {"words"}
    row = by_name(found)["words"]
    assert 0 < row["low"] < row["weight"] < row["high"]
    assert row["more_chosen"]["share"] == pytest.approx(0.92, abs=0.04)
    assert (found["pairs"], found["prompts"]) == (500, 250)


def test_a_planted_flattery_preference_is_found_and_nothing_else():
    found = audit_tables([made("flattery")], "x")
    assert leaning(found) == {"flattery"}


def test_flattery_shows_where_another_property_takes_its_weight():
    """Every flattering answer also has an exclamation mark, and a few have the mark alone."""
    table = made("flattery")
    candidates = table["candidates"].combine_chunks()
    texts = pc.replace_substring(flat(candidates, "text"), "happy to help.", "happy to help!!!!!")
    marked = pa.StructArray.from_arrays(
        [texts, *(flat(candidates, name) for name in ("model", "finish_reason", "tokens", "drop"))],
        fields=list(CANDIDATES.value_type),
    )
    column = lists(np.full(len(table), 2), marked)
    found = audit_tables([table.set_column(1, "candidates", column)], "x")
    row = by_name(found)["flattery"]
    assert row["share_leans"]
    assert row["alike"] == ["exclamation"]
    assert by_name(found)["exclamation"]["alike"] == ["flattery"]
    assert not by_name(found)["numbers"].get("share_leans")
    lines = "\n".join(audit_lines(found))
    assert "flattery goes together with exclamation" in lines
    assert "a preference for French over English does not show" in lines


def test_labels_drawn_by_lot_lean_nowhere():
    found = [audit_tables([made("lot", seed=seed)], "x") for seed in range(20)]
    assert sum(bool(leaning(one)) for one in found) <= 2  # each errs with a chance of 5 %
    shares = [[row for row in one["properties"] if row.get("share_leans")] for one in found]
    assert sum(map(bool, shares)) <= 2


def test_intervals_hold_the_truth_as_often_as_they_say():
    draws = np.random.default_rng(0)
    weight, held = 0.6, 0
    for _ in range(200):
        x = draws.normal(size=(400, len(PROPERTIES))) * np.eye(len(PROPERTIES))[0]
        won = draws.random(400) < 1 / (1 + np.exp(-weight * x[:, 0]))
        x[~won] *= -1
        row = leanings(x, np.arange(400))[0]
        scale = np.sqrt((x[:, 0] ** 2).mean())
        held += row["low"] <= weight * scale <= row["high"]
    assert 0.91 <= held / 200 <= 0.99


def test_the_same_for_any_cut_into_tables_and_without_repeats():
    table = made("length", 60)
    whole = audit_tables([table], "x")
    assert audit_tables([table.slice(0, 7), table.slice(7)], "x") == whole
    twice = audit_tables([table, table.slice(0, 20)], "x")
    assert twice["repeated_or_equal"] == 20
    assert twice["properties"] == whole["properties"]


def test_properties_are_counted():
    texts = pa.array(
        [
            "# A\n- one\n- **two**\n```\ncode\n```\n",
            "I'm sorry, I can't. It may be!",
            None,
            "Привет",
        ]
    )
    found = dict(zip(PROPERTIES, text_properties(texts).T, strict=True))
    assert np.expm1(found["lists"]).round(6).tolist() == [2, 0, 0, 0]
    assert np.expm1(found["code"]).round(6).tolist() == [2, 0, 0, 0]
    assert np.expm1(found["bold"]).round(6).tolist() == [1, 0, 0, 0]
    for name in ("refusal", "apology", "hedging", "exclamation"):
        assert np.expm1(found[name]).round(6).tolist() == [0, 1, 0, 0], name
    assert found["other scripts"].tolist() == [0, 0, 0, 1]


def test_a_rare_property_has_no_weight():
    x = np.zeros((50, len(PROPERTIES)))
    x[:9, 0] = 1.0
    assert "weight" not in leanings(x, np.arange(50))[0]
    x[9, 0] = 1.0
    assert "weight" in leanings(x, np.arange(50))[0]


def test_holm_and_the_share():
    assert holm(np.array([0.01, 0.04, 0.03])).tolist() == [True, False, False]
    assert holm(np.array([])).tolist() == []
    alone = share_more(np.array([1.0, 1.0, -1.0, 1.0, 0.0]), np.arange(5))
    together = share_more(np.array([1.0, 1.0, -1.0, 1.0, 0.0]), np.array([0, 0, 1, 0, 0]))
    assert alone["share"] == together["share"] == 0.75
    assert together["high"] - together["low"] > alone["high"] - alone["low"]
    assert share_more(np.zeros(3), np.arange(3)) is None


def test_batch_top_k_keeps_the_largest_of_the_batch():
    z = np.array([[0.1, -0.9, 0.2], [0.5, 0.05, -0.4]])
    assert batch_top_k(z, 1).tolist() == [[0, -0.9, 0], [0.5, 0, 0]]


def planted(draws, n=1500, d=48, atoms=8):
    basis = np.linalg.qr(draws.normal(size=(d, atoms)))[0].T
    on = draws.random((n, atoms)) < 0.2
    code = on * draws.normal(size=(n, atoms)) * 2
    return code, code @ basis + 0.02 * draws.normal(size=(n, d)), basis


def test_planted_directions_are_recovered_and_the_model_is_odd():
    _, x, basis = planted(np.random.default_rng(0))
    model = train(x, 16, 3, seed=1)
    assert model.explained > 0.8
    cosines = np.abs(model.decoder @ basis.T).max(axis=0)
    assert (cosines > 0.75).all(), cosines  # of random directions the best is about 0.4
    assert (model.activations(-x) == -model.activations(x)).all()
    signs = np.random.default_rng(1).choice([-1.0, 1.0], (len(x), 1))
    turned = train(x * signs, 16, 3, seed=1)  # whichever answer was preferred
    assert np.allclose(turned.decoder, model.decoder)
    assert (train(x, 16, 3, seed=1).decoder == model.decoder).all()
    with pytest.raises(ValueError, match="too few"):
        train(x[:10], 16)


def test_a_preferred_direction_leans_and_a_lot_does_not():
    draws = np.random.default_rng(3)
    code, x, _ = planted(draws)
    texts = [(f"p{i}", "chosen text", "rejected text") for i in range(len(x))]
    properties = draws.normal(size=(len(x), len(PROPERTIES)))
    won = draws.random(len(x)) < 1 / (1 + np.exp(-1.5 * code[:, 0]))
    signs = np.where(won, 1.0, -1.0)[:, None]
    found, activations = concepts(x * signs, properties, texts, np.arange(len(x)))
    assert activations.shape == (len(x), len(found["features"]))
    assert (np.sign(activations[:, 0]) != 0).sum() == found["features"][0]["pairs"]
    assert found["features"][0]["leans"]
    assert found["features"][0]["low"] > 0
    assert len(found["features"][0]["examples"]) == 3
    lot = np.where(draws.random(len(x)) < 0.5, 1.0, -1.0)[:, None]
    nothing, _ = concepts(x * lot, properties, texts, np.arange(len(x)))
    assert not [row for row in nothing["features"] if row["leans"]]


def test_words_of_the_favoured_side():
    texts = [("p", "the answer praises kindly", "the answer")] * 5
    assert set(words(np.ones(5), texts)) == {"praises", "kindly"}
    assert words(-np.ones(5), texts) == []


def test_circles_among_pairs_and_verdicts():
    prompt = np.array([0, 0, 0, 1, 1, 1, 2])
    chosen, rejected = np.array([1, 2, 3, 1, 2, 1, 1]), np.array([2, 3, 1, 2, 3, 3, 2])
    found = pair_circles(prompt, chosen, rejected)
    assert found == {"prompts": 2, "with_circle": 1, "triples": 1}
    made = [{"text": t, "drop": None} for t in "abc"]
    verdicts = [
        {"judge": "j", "a": a, "b": b, "order": "ab", "score": 1.0, "status": "ok"}
        for a, b in ((0, 1), (1, 2), (2, 0))
    ]
    table = pa.table(
        {"candidates": pa.array([made], CANDIDATES), "judgments": pa.array([verdicts], JUDGMENTS)}
    )
    assert verdict_circles(table)["with_circle"] == 1
    assert pair_circles(prompt[6:] * 0, chosen[6:], rejected[6:]) is None


def test_a_set_on_disk_and_its_lines(tmp_path):
    path = tmp_path / "set.jsonl"
    rows = [
        {"prompt": f"q{i}", "chosen": "long \x1b[J " * (9 + i % 5), "rejected": "short"}
        for i in range(30)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = audit(str(path), tmp_path)
    assert found["pairs"] == 30
    assert "too few" in found["embeddings"]
    lines = audit_lines(found)
    assert "\x1b" not in "".join(lines)
    assert lines[0] == "30 pairs of 30 prompts"
    same = {"prompt": "?", "chosen": "a", "rejected": "a"}
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[3], same]))
    again = audit(str(tmp_path / "s*.jsonl"), tmp_path, encoder=None)  # a pattern, too
    assert audit_lines(again)[0] == f"{lines[0]}; 2 more repeat one of them, or are equal answers"
    with pytest.raises(InputError, match=r"no file matches '.*none\.jsonl'"):
        audit(str(tmp_path / "none.jsonl"), tmp_path)
    assert any(line.startswith("words ") and line.endswith("*") for line in lines)
    with pytest.raises(ConfigError, match="no such folder"):
        audit(str(path), tmp_path, encoder="./foo")  # a wrong name, however few the pairs
    with pytest.raises(ConfigError, match="no run 'nowhere'"):
        audit("nowhere", tmp_path)
    empty = made("lot", 3).slice(0, 0)
    with pytest.raises(InputError, match="no pair of answers"):
        audit_tables([empty], "x")


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


def test_a_run_without_rows_has_no_pair_left_to_audit(tmp_path):
    (tmp_path / "rows.jsonl").touch()
    written = (
        f"name: none\nsource: {{jsonl: {{path: {tmp_path}/rows.jsonl, "
        "columns: {chosen: chosen, rejected: rejected}}}\nstages: [exact_dedup]\n"
    )
    run(Pipeline.loads(written), tmp_path)
    with pytest.raises(InputError, match="none: no pair of answers is left"):
        audit("none", tmp_path, encoder=None)
