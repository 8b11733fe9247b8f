"""What people decided about prompts like this one, for a judge to see."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.arrays import Floats, Ints, flat, large, lengths, mix, take_rows, text_of
from curate.errors import ConfigError, StageError
from curate.methods.crowd import logistic
from curate.methods.evidence import VERDICTS, Comparisons, Truth, comparisons, label_of
from curate.methods.judgments import of_view
from curate.methods.retrieval import most_alike, neighbour_count
from curate.methods.vectors import unit, vectors_of
from curate.methods.votes import by_name, pair_votes
from curate.prompts import load_template
from curate.stage import Context, Result, Stage
from curate.stages.new_column import NewColumn
from curate.stages.shown import fenced, paragraphs, transcripts


class Retrieve(Stage, name="retrieve"):
    """Write, for each row, up to `k` labelled pairs of the rows most like it: `examples`.

    `judge_pairs` shows them to its judge. A row is like another by the cosine of their
    embeddings; the first labelled pair of a row is its example, with the two answers in an order
    drawn by its seed, and no row is shown a pair of its own prompt. With `sure` a row whose label
    that judge is sure of is shown fewer: ceil(k (1 - p)), and all `k` where p is at most one half
    (Skywork-Reward-V2, Liu et al. 2025). A row without a like one, or an embedding, has a null.
    The texts of all rows together must stay below 2 GiB: with long answers give a smaller `k`.
    """

    scope = "dataset"
    needs = ("id", "prompt", "candidates", "pairs")
    uses = ("judgments", "meta")
    seeded = True

    labels: tuple[str, ...] = Field(min_length=1)
    """Who decided: judges of `judgments`, such as people, or columns of the input, as `calibrate`
    names them."""
    truth: Truth = "majority"
    """How several labels make one: the side that most take, or (of scores) the side of the mean."""
    k: int = Field(default=8, ge=1)
    """Most examples a row."""
    sure: str | None = None
    """A judge whose scores are log-odds, such as a reward model, or that compares; p is how likely
    it holds the chosen answer to be the better one (the least of a row's pairs)."""
    embedding: str = "embedding"
    """The column of the rows' vectors."""
    to: NewColumn = "examples"
    """The column to write."""

    def needed(self) -> tuple[str, ...]:
        """The pairs, and the vectors."""
        return (*self.needs, self.embedding)

    def written(self) -> tuple[str, ...]:
        """The column that `to` names."""
        return (self.to,)

    def identity(self) -> dict[str, Any]:
        """The fields, and the text of one example."""
        return super().identity() | {"template": load_template("judge_example").text}

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the column. Raises StageError for a name in `labels` that nobody has."""
        if not len(view):
            return {self.to: pa.array([], pa.large_string())}
        pairs = comparisons(view)
        try:
            label = label_of(view, pairs, self.labels, self.truth, VERDICTS)
        except ConfigError as error:
            raise StageError(f"retrieve: {error}") from None
        known = np.flatnonzero(np.abs(label) > 0)  # a tie shows no preference
        row, first = np.unique(pairs.row[known], return_index=True)
        at = known[first]
        ctx.counts["labelled_rows"] += len(row)
        prompts = np.array(text_of(view["prompt"]).to_pylist(), dtype=object)
        vectors = unit(vectors_of(view[self.embedding]))
        alike = most_alike(vectors, row, self.k, prompts)
        count = neighbour_count(self._sureness(view, pairs), self.k)
        alike[np.arange(self.k) >= count[:, None]] = -1
        examples = _examples(view, pairs, at, label[at] > 0, ctx.row_seeds(view["id"], self.kind))
        place = np.zeros(len(view), dtype=np.int64)
        place[row] = np.arange(len(row))
        shown = alike >= 0
        texts = paragraphs(shown.sum(axis=1), examples.take(pa.array(place[alike[shown]])))
        none = pa.array(~shown.any(axis=1))
        return {self.to: pc.if_else(none, pa.scalar(None, pa.large_string()), texts)}

    def _sureness(self, view: pa.Table, pairs: Comparisons) -> Floats:
        """Return (rows,) the least p of a row's pairs, NaN where nothing is known."""
        least = np.full(len(view), np.nan)
        if self.sure is None or "judgments" not in view.column_names:
            return least
        found = of_view(view, (self.sure,))
        votes = pair_votes(found, pairs.a, pairs.b, int(lengths(view["candidates"]).sum()))
        graded = np.isin(np.arange(len(found.judges)), found.judge[found.compares])
        p = np.where(graded, votes.probability, logistic(votes.margin))
        np.fmin.at(least, pairs.row, by_name(found.judges, p, (self.sure,))[:, 0])
        return least


def _examples(
    view: pa.Table,
    pairs: Comparisons,
    at: Ints,
    a_wins: npt.NDArray[np.bool_],
    seeds: npt.NDArray[np.uint64],
) -> pa.Array:
    """Return the example that each of the comparisons `at` makes, its texts in fences."""
    row = pairs.row[at]
    own = mix(seeds[row], pairs.a[at], pairs.b[at])
    a_first = own % np.uint64(2) == 0
    texts = large(flat(view["candidates"], "text"))
    one = np.where(a_first, pairs.a[at], pairs.b[at])
    two = np.where(a_first, pairs.b[at], pairs.a[at])
    preferred = np.where(a_first == a_wins, "A", "B").tolist()
    return load_template("judge_example").column(
        prompt=fenced(take_rows(transcripts(view["prompt"]), row), "conversation", own),
        first=fenced(take_rows(texts, one), "answer", mix(own, 1)),
        second=fenced(take_rows(texts, two), "answer", mix(own, 2)),
        preferred=pa.array(preferred, pa.large_string()),
    )
