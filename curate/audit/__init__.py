"""What a preference set prefers: countable properties, circles, and features of embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate import history
from curate.arrays import text_of
from curate.audit.circles import pair_circles
from curate.audit.concepts import concepts
from curate.audit.embedded import ENCODER, Embedding, checked, embed_pairs, kept_vectors
from curate.audit.naming import name_features
from curate.audit.pairs import GatheredPairs
from curate.audit.properties import leanings
from curate.engines.contract import Engine
from curate.errors import ConfigError, InputError
from curate.evaluation.dataset_lint import pairs_of_set
from curate.evaluation.datasets import SUFFIXES
from curate.methods.sampling import drawn
from curate.store import Store
from curate.work import Shard, view

COLUMNS = ("prompt", "candidates", "pairs", "judgments")
_NONE = Embedding(None)


def audit(
    name: str,
    root: Path = Path(),
    *,
    mapping: Sequence[str] = (),
    split: str = "",
    encoder: str | None = ENCODER,
    engine: Engine | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return what the run, or the preference set on disk, called `name` prefers.

    A set's pairs are read as `curate lint` reads them: `mapping` holds `meaning=column`, and
    `label` tells which of two answers is better. Without an `encoder` there are no features of
    embeddings; the store below `root`, if there is one, keeps the vectors. An `engine` gives the
    features names. Raises ConfigError where there is neither a run nor a set, InputError where it
    holds no pair, MissingExtra without the encoder's extra, StageError where too many of the
    engine's calls fail.
    """
    checked(encoder)
    wanted = Embedding(encoder)
    found = GatheredPairs(wanted.most if encoder is not None else 0)
    a_set = Path(name).exists() or Path(name).suffix.lower() in SUFFIXES  # or a pattern of files
    if (root / "runs" / name / "manifest.json").is_file() or not a_set:
        store, shards = history.shards(root, history.manifest(root, name))
        if shards and not _has_pairs(shards):
            raise ConfigError(f"run {name!r} has no pairs; add a stage such as `best_worst`")
        for table in _live(store, shards):
            found.add(table)
        wanted = wanted._replace(kept=kept_vectors(root, name))
    else:
        for _, texts in pairs_of_set(name, mapping, split):
            found.put(texts.prompt, texts.chosen, texts.rejected)
        wanted = wanted._replace(kept=kept_vectors(root))
    return _result(found, name, wanted, seed, engine)


def audit_shards(
    store: Store,
    shards: Sequence[Shard],
    most_rows: int | None = None,
    embedding: Embedding = _NONE,
) -> dict[str, Any] | None:
    """Return the audit of a run's live pairs; None where it has no pairs.

    Of more than `most_rows` rows as many are drawn, by a hash of their prompts; `drawn` says
    which share of all.
    """
    if not _has_pairs(shards):
        return None
    rows = sum(shard.rows for shard in shards)
    share = 1.0 if most_rows is None else min(1.0, most_rows / max(rows, 1))
    more = (embedding.column,) if embedding.column else ()
    tables = _live(store, shards, share, more)
    try:
        return audit_tables(tables, "the run", embedding=embedding) | {"drawn": share}
    except InputError:
        return None


def audit_tables(
    tables: Iterable[pa.Table],
    name: str,
    *,
    embedding: Embedding = _NONE,
    engine: Engine | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return {pairs, prompts, properties, circles, verdict_circles, embeddings}.

    `properties` as `properties.leanings` returns them, `circles` as `circles.pair_circles`, and
    `embeddings` as `concepts.concepts`, with their `origin` and the number of `pairs` they come
    from; or a text that says why there is none. With an `engine` their features have what
    `naming.name_features` adds.
    """
    wanted = embedding.encoder or embedding.column
    found = GatheredPairs(embedding.most if wanted else 0, embedding.column)
    for table in tables:
        found.add(table)
    return _result(found, name, embedding, seed, engine)


def _result(
    found: GatheredPairs, name: str, embedding: Embedding, seed: int, engine: Engine | None
) -> dict[str, Any]:
    if not found.size:
        raise InputError(
            f"{name}: no pair of answers is left to audit; `curate show RUN --dropped` says why of "
            "a run, and `--map` which columns of a set hold them"
        )
    prompts, chosen, rejected, difference = found.columns()
    # A pair seen twice is one piece of evidence; equal answers are none.
    codes = np.stack([prompts, chosen, rejected], axis=1)
    _, first = np.unique(codes, axis=0, return_index=True)
    kept = np.sort(first[chosen[first] != rejected[first]])
    result = {
        "name": name,
        "pairs": len(kept),
        "repeated_or_equal": found.size - len(kept),
        "prompts": len(np.unique(prompts[kept])),
        "properties": leanings(difference[kept], prompts[kept]),
        "circles": pair_circles(prompts, chosen, rejected),
        "verdict_circles": found.circles,
    }
    result["embeddings"] = _features(found, embedding, difference, prompts, kept, seed, engine)
    return result


def _features(
    found: GatheredPairs,
    embedding: Embedding,
    difference: Any,
    prompts: Any,
    kept: Any,
    seed: int,
    engine: Engine | None,
) -> dict[str, Any] | str:
    if embedding.encoder is None and embedding.column is None:
        return "no encoder was asked for"
    vectors = embed_pairs(found, kept, embedding)
    if isinstance(vectors, str):
        return vectors
    at, texts = vectors.places, vectors.texts
    groups = np.unique(prompts[at], return_inverse=True)[1].reshape(-1)
    shown, activations = concepts(vectors.difference, difference[at], texts, groups, seed)
    if engine is not None:
        name_features(shown["features"], activations, texts, groups, engine, seed)
    return shown | {"origin": vectors.origin, "pairs": len(at)}


def _has_pairs(shards: Sequence[Shard]) -> bool:
    wanted = ("prompt", "candidates", "pairs")
    return bool(shards) and all(c in shard.columns for shard in shards for c in wanted)


def _live(
    store: Store, shards: Sequence[Shard], share: float = 1.0, more: tuple[str, ...] = ()
) -> Iterator[pa.Table]:
    for shard in shards:
        table = pa.table(view(store, shard, [c for c in (*COLUMNS, *more) if c in shard.columns]))
        if share < 1.0:
            table = table.filter(pa.array(drawn(text_of(table["prompt"]), share)))
        yield table


__all__ = ["ENCODER", "Embedding", "audit", "audit_shards", "audit_tables"]
