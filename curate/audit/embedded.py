"""From pairs to differences of embeddings: those that the run stored, or an encoder's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

from curate.arrays import Floats, Ints
from curate.audit.concepts import FEWEST
from curate.audit.pairs import Drawn, GatheredPairs, Texts
from curate.disk import replace_synced
from curate.encoders import Encoder, load_encoder
from curate.store import VECTORS
from curate.vector_cache import CLAIM, USED, CachedEncoder

ENCODER = "packaged:minilm"
MOST_EMBEDDED = 20_000  # pairs; more hardly change the features
_READ = 1000  # characters of a text that encoders read, roughly: 256 tokens


class Kept(NamedTuple):
    """The folder of vectors by text, and the file of a run's folder that names those used."""

    folder: Path
    claim: Path | None = None


def kept_vectors(root: Path, run: str | None = None, who: str = "audit") -> Kept | None:
    """Return where the store below `root` keeps vectors; None where none can be written.

    Those that `who` used last, looking at a `run`, stay for as long as it.
    """
    store = root / "store"
    if not os.access(store, os.W_OK):
        return None
    return Kept(store / VECTORS, root / "runs" / run / f"{who}{CLAIM}" if run else None)


class Embedding(NamedTuple):
    """Where embeddings come from, and of how many pairs they are taken at most.

    `column` is one of stored vectors, one a candidate, and is preferred to the `encoder`, which
    takes time: `characters` bounds how much text it is given, if it is not None. What it has made
    of a text before it finds in `kept`, if that is not None.
    """

    encoder: str | None = ENCODER
    column: str | None = None
    most: int = MOST_EMBEDDED
    characters: int | None = None
    kept: Kept | None = None


class Embedded(NamedTuple):
    """Differences of embeddings (n, d), chosen less rejected; their pairs' places and texts."""

    difference: Floats
    places: Ints
    texts: list[Texts]
    origin: str


def embed_pairs(found: GatheredPairs, kept: Ints, wanted: Embedding) -> Embedded | str:
    """Return the differences of the distinct pairs `kept`, or why there are none.

    Raises MissingExtra or ConfigError where the encoder cannot be loaded.
    """
    if len(kept) < FEWEST:
        return f"{len(kept)} pairs are too few; {FEWEST} are needed"
    drawn = found.drawn(kept)
    if drawn.difference is not None:
        there = np.flatnonzero(~np.isnan(drawn.difference).any(axis=1))
        if len(there) >= FEWEST:
            return _some(drawn, there, drawn.difference[there], f"the column {wanted.column}")
    if wanted.encoder is None:
        return "no encoder was asked for"
    few = np.arange(len(drawn.texts))[: _affordable(drawn.texts, wanted.characters)]
    used: set[str] = set()
    model: Encoder = load_encoder(wanted.encoder, "fp32")
    if wanted.kept is not None:
        model = CachedEncoder(model, wanted.kept.folder, used)
    chosen, rejected = (
        model.encode([drawn.texts[k][side] or " " for k in few]).astype(np.float64)
        for side in (1, 2)
    )
    if used and wanted.kept is not None and wanted.kept.claim is not None:
        replace_synced(wanted.kept.claim, orjson.dumps({USED: sorted(used)}))
    return _some(drawn, few, chosen - rejected, f"the encoder {wanted.encoder}")


def checked(encoder: str | None) -> None:
    """Load an encoder that the user named, so that a wrong name is an error for any set.

    Not the usual one: few pairs do not need it, and it may not be installed. Raises as
    `load_encoder`.
    """
    if encoder not in (None, ENCODER):
        load_encoder(str(encoder), "fp32")


def _affordable(texts: list[Texts], characters: int | None) -> int:
    """Return how many of the pairs have no more text than that, but as many as are needed."""
    if characters is None:
        return len(texts)
    sizes = np.cumsum([sum(min(len(side), _READ) for side in pair[1:]) for pair in texts])
    return max(int(np.searchsorted(sizes, characters, side="right")), FEWEST)


def _some(drawn: Drawn, at: Ints, difference: Floats, origin: str) -> Embedded:
    return Embedded(difference, drawn.places[at], [drawn.texts[k] for k in at.tolist()], origin)


__all__ = ["ENCODER", "Embedded", "Embedding", "Kept", "checked", "embed_pairs", "kept_vectors"]
