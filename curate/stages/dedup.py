"""Drop exact and near duplicates among the prompts."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import xxhash
from pydantic import Field

from curate.arrays import messages_of, text_of
from curate.schema import DROP
from curate.stage import Context, Result, Stage
from curate.stages.similarity import (
    CosineSearch,
    Floats,
    Ints,
    JaccardSearch,
    keep_greedily,
    shingle_sets,
)
from curate.stages.vectors import best_of, vectors_of


class ExactDedup(Stage, name="exact_dedup"):
    """Drop all but one of the rows whose prompts are the same text.

    The first row stays, or with `keep_by` the one of highest quality: "scores" (its best
    score), "pairs" (its widest margin), or a numeric column. A row without text is never dropped.
    """

    scope = "dataset"
    needs = ("id", "prompt")
    on: Literal["prompt", "last_turn"] = "prompt"
    normalize: bool = Field(True, description="compare in NFC with whitespace collapsed")
    keep_by: str | None = None

    def needed(self) -> tuple[str, ...]:
        """Return the needed columns and the one that ranks rows."""
        return with_ranking(self.needs, self.keep_by)

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the reason for each later copy; it names the row that stays."""
        conversations = messages_of(view["prompt"])
        if self.on == "last_turn":
            conversations = [turns[-1:] for turns in conversations]
        keys = [conversation_key(turns, self.normalize) for turns in conversations]
        twin = first_copies(keys, ranking(view, self.keep_by))
        ids = view["id"].to_pylist()
        why = [None if at < 0 else f"exact duplicate of {ids[at]}" for at in twin.tolist()]
        return {DROP: pa.array(why, pa.string())}


class NearDedup(Stage, name="near_dedup"):
    """Drop rows whose prompt is nearly that of a row that stays.

    On "text", similarity is the exact Jaccard index of case-folded three-word shingles (numbers
    are kept as they are, so "2 + 3" and "2 + 4" differ); on "embedding", the cosine. Rows are
    taken in their order, or best first with `keep_by` (as in `exact_dedup`), and a row is dropped
    only if it is similar to a row that stays: there are no transitive chains.
    """

    scope = "dataset"
    needs = ("id",)
    on: Literal["text", "embedding"] = "text"
    threshold: float = Field(0.8, gt=0.0, le=1.0, description="similarity from which to drop")
    keep_by: str | None = None
    embedding: str = Field("embedding", description="the column used with `on: embedding`")

    def needed(self) -> tuple[str, ...]:
        """Return the columns that this kind of similarity and ranking need."""
        source = "prompt" if self.on == "text" else self.embedding
        return with_ranking((*self.needs, source), self.keep_by)

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the reason for each near-copy: the row that stays, and the similarity to it."""
        order = ranking(view, self.keep_by)
        if self.on == "text":
            texts = text_of(view["prompt"]).to_pylist()
            twin, similarity = near_text(texts, order, self.threshold)
        else:
            vectors = vectors_of(view[self.embedding])
            local, close = keep_greedily(CosineSearch(vectors[order], self.threshold))
            twin, similarity = reorder(local, close, order)
        ids = view["id"].to_pylist()
        why = [
            None if at < 0 else f"near duplicate of {ids[at]} ({value:.2f})"
            for at, value in zip(twin.tolist(), similarity.tolist(), strict=True)
        ]
        return {DROP: pa.array(why, pa.string())}


def with_ranking(columns: tuple[str, ...], keep_by: str | None) -> tuple[str, ...]:
    """Return the columns with the ranking one added, where there is one and it is new."""
    name = {"margin": "pairs"}.get(keep_by or "", keep_by)
    return columns if name is None or name in columns else (*columns, name)


def ranking(view: pa.Table, keep_by: str | None) -> Ints:
    """Return the rows' indexes (n), best first; equal ones, or all without `keep_by`, in order."""
    if keep_by is None:
        return np.arange(len(view))
    return np.argsort(-best_of(view, keep_by), kind="stable")


def conversation_key(turns: Sequence[dict[str, str]], normalize: bool) -> bytes | None:
    """Return a 128-bit key of roles and contents, or None where there is no text at all."""
    parts = []
    for turn in turns:
        content = turn["content"] or ""
        if normalize:
            content = " ".join(unicodedata.normalize("NFC", content).split())
        parts += [turn["role"] or "", content]
    if not any(parts[1::2]):
        return None
    # A length before each part: no text can imitate the border between two turns. Text may
    # hold lone surrogates, which strict UTF-8 rejects.
    coded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return xxhash.xxh3_128_digest(b"".join(b"%d:%b" % (len(part), part) for part in coded))


def first_copies(keys: Sequence[bytes | None], order: Ints) -> Ints:
    """Return, for each row, the earlier row in `order` with its key (n; -1 for none)."""
    first: dict[bytes, int] = {}
    twin = np.full(len(keys), -1, dtype=np.int64)
    for row in order.tolist():
        key = keys[row]
        if key is not None and (found := first.setdefault(key, row)) != row:
            twin[row] = found
    return twin


def near_text(texts: Sequence[str | None], order: Ints, threshold: float) -> tuple[Ints, Floats]:
    """Return each text's twin among the texts kept (n; -1 where it stays) and their Jaccard index.

    `order` (n) lists the texts from best to worst. A text without words stays.
    """
    set_of, sets = shingle_sets([texts[row] for row in order.tolist()])
    set_twin, set_similarity = keep_greedily(JaccardSearch(sets, threshold))
    n = len(texts)
    first = np.full(len(set_twin), -1, dtype=np.int64)  # the best text of each set
    there = set_of >= 0
    first[set_of[there][::-1]] = np.flatnonzero(there)[::-1]
    twin, similarity = np.full(n, -1, dtype=np.int64), np.zeros(n)
    number = set_of[there]
    stays = set_twin[number] < 0
    twin[there] = np.where(stays, first[number], first[set_twin[number]])
    similarity[there] = np.where(stays, 1.0, set_similarity[number])
    twin[twin == np.arange(n)] = -1
    return reorder(twin, similarity, order)


def reorder(twin: Ints, similarity: Floats, order: Ints) -> tuple[Ints, Floats]:
    """Turn twins and similarities given by rank into ones given by row."""
    by_row, value = np.full(len(order), -1, dtype=np.int64), np.zeros(len(order))
    by_row[order] = np.where(twin < 0, -1, order[twin])
    value[order] = similarity
    return by_row, value
