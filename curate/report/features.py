"""What a page says of features of embeddings: from vectors that the run stored, or an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from curate.audit import Embedding, audit_shards
from curate.audit.embedded import Kept
from curate.errors import ConfigError
from curate.schema import COLUMNS
from curate.store import Store
from curate.work import Shard

MOST_ROWS = 50_000  # whose pairs are looked at closely; `curate audit` takes all
MOST_PAIRS = 5_000  # that features come from; `curate audit` takes 20,000
CHARACTERS = 600_000  # of answers that are encoded: up to some minutes on two cores


def audit_with_features(
    store: Store,
    shards: Sequence[Shard],
    encoder: str | None,
    features: bool = True,
    kept: Kept | None = None,
) -> dict[str, Any] | None:
    """Return the run's audit with features of embeddings, or why there are none.

    Stored vectors are preferred to the encoder, which is given as much text as a page may take
    time for, and finds in `kept` what it has made before. An encoder that is not installed is a
    sentence, for a page can do without.
    """
    if not features:
        return audit_shards(store, shards, MOST_ROWS)
    column = vectors_column(store, shards)
    try:
        wanted = Embedding(encoder, column, MOST_PAIRS, CHARACTERS, kept)
        return audit_shards(store, shards, MOST_ROWS, wanted)
    except ConfigError as error:
        found = audit_shards(store, shards, MOST_ROWS)
        return found and found | {"embeddings": str(error)}


def vectors_column(store: Store, shards: Sequence[Shard]) -> str | None:
    """Return the column that holds one vector a candidate, the last if there are several."""
    found = None
    for record in shards[0].parts if shards else ():
        own = [name for name in record.columns if name not in COLUMNS]
        for name, values in store.read(record, own).items():
            if _is_vectors(values.type) and all(name in shard.columns for shard in shards):
                found = name
    return found


def _is_vectors(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_list(kind) else pa.null()
    return bool(pa.types.is_fixed_size_list(inner) and pa.types.is_floating(inner.value_type))
