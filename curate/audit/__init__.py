"""What a preference set prefers: countable properties, circles, and features of embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate import history
from curate.arrays import hashes, text_of
from curate.audit.circles import pair_circles
from curate.audit.concepts import FEWEST, concepts
from curate.audit.naming import name_features
from curate.audit.pairs import Pairs
from curate.audit.properties import leanings
from curate.encoders import load_encoder
from curate.engines.contract import Engine
from curate.errors import ConfigError, InputError
from curate.evaluation.dataset_lint import pairs_of_set
from curate.store import Store
from curate.work import Shard, view

COLUMNS = ("prompt", "candidates", "pairs", "judgments")
ENCODER = "packaged:minilm"


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
    embeddings; an `engine` gives them names. Raises ConfigError where there is neither a run nor
    a set, InputError where it holds no pair, MissingExtra without the encoder's extra, StageError
    where too many of the engine's calls fail.
    """
    found = Pairs(keep_texts=encoder is not None)
    if (root / "runs" / name / "manifest.json").is_file() or not Path(name).exists():
        store, shards = history.shards(root, history.manifest(root, name))
        if not _has_pairs(shards):
            raise ConfigError(f"run {name!r} has no pairs; add a stage such as `best_worst`")
        for table in _live(store, shards):
            found.add(table)
    else:
        for _, texts in pairs_of_set(name, mapping, split):
            found.put(texts.prompt, texts.chosen, texts.rejected)
    return _result(found, name, encoder, seed, engine)


def audit_shards(
    store: Store, shards: Sequence[Shard], most_rows: int | None = None
) -> dict[str, Any] | None:
    """Return the audit of a run's live pairs without an encoder; None where it has no pairs.

    Of more than `most_rows` rows as many are drawn, by a hash of their prompts; `drawn` says
    which share of all.
    """
    if not _has_pairs(shards):
        return None
    rows = sum(shard.rows for shard in shards)
    share = 1.0 if most_rows is None else min(1.0, most_rows / max(rows, 1))
    try:
        return audit_tables(_live(store, shards, share), "the run") | {"drawn": share}
    except InputError:
        return None


def audit_tables(
    tables: Iterable[pa.Table],
    name: str,
    *,
    encoder: str | None = None,
    engine: Engine | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return {pairs, prompts, properties, circles, verdict_circles, embeddings}.

    `properties` as `properties.leanings` returns them, `circles` as `circles.pair_circles`, and
    `embeddings` as `concepts.concepts`, or a text that says why there is none; with an `engine`
    their features have what `naming.name_features` adds.
    """
    found = Pairs(keep_texts=encoder is not None)
    for table in tables:
        found.add(table)
    return _result(found, name, encoder, seed, engine)


def _result(
    found: Pairs, name: str, encoder: str | None, seed: int, engine: Engine | None
) -> dict[str, Any]:
    if not found.size:
        raise InputError(f"{name}: no pair of answers is left to audit")
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
    result["embeddings"] = _embeddings(found, encoder, difference, prompts, kept, seed, engine)
    return result


def _embeddings(
    found: Pairs,
    encoder: str | None,
    difference: Any,
    prompts: Any,
    kept: Any,
    seed: int,
    engine: Engine | None,
) -> dict[str, Any] | str:
    if encoder is None:
        return "no encoder was asked for"
    if len(kept) < FEWEST:
        return f"{len(kept)} pairs are too few; {FEWEST} are needed"
    drawn, texts = found.drawn(kept)
    model = load_encoder(encoder, "fp32")
    chosen, rejected = (
        model.encode([pair[side] or " " for pair in texts]).astype(np.float64) for side in (1, 2)
    )
    groups = np.unique(prompts[drawn], return_inverse=True)[1].reshape(-1)
    shown, activations = concepts(chosen - rejected, difference[drawn], texts, groups, seed)
    if engine is not None:
        name_features(shown["features"], activations, texts, groups, engine, seed)
    return shown


def _has_pairs(shards: Sequence[Shard]) -> bool:
    wanted = ("prompt", "candidates", "pairs")
    return bool(shards) and all(c in shard.columns for shard in shards for c in wanted)


def _live(store: Store, shards: Sequence[Shard], share: float = 1.0) -> Iterator[pa.Table]:
    for shard in shards:
        table = pa.table(view(store, shard, [c for c in COLUMNS if c in shard.columns]))
        if share < 1.0:
            drawn = hashes(text_of(table["prompt"])) >> np.uint64(11) < np.uint64(share * 2**53)
            table = table.filter(pa.array(drawn))
        yield table


__all__ = ["audit", "audit_shards", "audit_tables"]
