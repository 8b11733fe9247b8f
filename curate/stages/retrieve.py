"""What people decided about prompts like this one, for a judge to see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.arrays import Floats, Ints, flat, large, lengths, mix, starts_of, take_rows, text_of
from curate.division import pick
from curate.errors import StageError
from curate.methods.crowd import logistic
from curate.methods.evidence import (
    VERDICTS,
    Comparisons,
    Truth,
    chunks,
    comparisons,
    field_votes,
    fields_of,
    judge_names,
    judge_votes,
    no_voter,
    truth_of,
    voters_among,
)
from curate.methods.judgments import named, of_view
from curate.methods.retrieval import most_alike, neighbour_count
from curate.methods.vectors import unit_rows
from curate.methods.votes import by_name, pair_votes
from curate.prompts import load_template
from curate.stage import Context, Result
from curate.stages.judge_tables import judges_in, kept_tables
from curate.stages.look_up import LookUp, Names
from curate.stages.new_column import NewColumn
from curate.stages.reduced import Values
from curate.stages.shown import fenced, paragraphs, transcripts


class Retrieve(LookUp, name="retrieve"):
    """Write, for each row, up to `k` labelled pairs of the rows most like it: `examples`.

    `judge_pairs` shows them to its judge. A row is like another by the cosine of their
    embeddings; the first labelled pair of a row is its example, with the two answers in an order
    drawn by its seed, and no row is shown a pair of its own prompt. With `sure` a row whose label
    that judge is sure of is shown fewer: ceil(k (1 - p)), and all `k` where p is at most one half
    (Skywork-Reward-V2, Liu et al. 2025). A row without a like one, or an embedding, has a null.
    The texts of all rows together (in pieces, of each piece's) must stay below 2 GiB: with long
    answers give a smaller `k`.
    """

    needs = ("id", "prompt", "candidates", "pairs")
    uses = ("judgments", "meta")
    seeded = True
    asks = ("judges", "fields", "columns")

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

    def identity(self) -> dict[str, Any]:
        """The fields, and the text of one example."""
        return super().identity() | {"template": load_template("judge_example").text}

    def ready(self) -> None:
        """Put an example together. Raises PromptError where the template lacks a placeholder."""
        _filled(*[pa.array(["made up"], pa.large_string())] * 4)

    def names(self, view: pa.Table) -> Names:
        """Return the judges, those of `labels` that are columns, and what columns there are."""
        judges = judge_names(view)
        unknown = [name for name in self.labels if not named(judges, [name])]
        fields = list(field_votes(view, comparisons(view), unknown, VERDICTS))
        others = fields_of(view) if len(fields) < len(unknown) else []
        return {"judges": judges, "fields": fields, "columns": others}

    def given(self, view: pa.Table, names: Names, ctx: Context) -> Mapping[str, Values]:
        """Return the vector and what an example is made of, for each row that has a label."""
        pairs = comparisons(view)
        label = self._label(view, pairs, names["judges"])
        known = np.flatnonzero(np.abs(label) > 0)  # a tie shows no preference
        row, first = np.unique(pairs.row[known], return_index=True)
        at, texts = known[first], large(flat(view["candidates"], "text"))
        asked = named(names["judges"], (*self.labels, *((self.sure,) if self.sure else ())))
        return {
            "rows": np.array([len(view)]),
            "candidates": np.array([len(texts)]),
            "labelled": np.array([len(row)]),
            "vectors": unit_rows(view[self.embedding], np.arange(len(view)))[row],
            "prompt": pick(_prompts(view), row),
            "conversation": take_rows(transcripts(view["prompt"]), row),
            "text a": take_rows(texts, pairs.a[at]),
            "text b": take_rows(texts, pairs.b[at]),
            "ends": np.stack([pairs.a[at], pairs.b[at]], axis=1),
            "a wins": label[at] > 0,
            "seed": ctx.row_seeds(view["id"], self.kind)[row],
            **kept_tables(of_view(view, asked) if asked else None),
        }

    def checked(self, names: Names, given: Mapping[str, Values], ctx: Context) -> None:
        """Count the labelled rows. Raises StageError for a name in `labels` that nobody has."""
        if not np.sum(given["rows"]):
            return
        judges_in(given)
        judges = names["judges"]
        for name in voters_among(judges, self.labels):
            if name not in judges and name not in names["fields"]:
                options = sorted({*judges, *names["columns"]})
                raise StageError(f"retrieve: {no_voter(name, options)}")
        ctx.counts["labelled_rows"] += len(given["vectors"])

    def looked_up(
        self, view: pa.Table, names: Names, given: Mapping[str, Values], ctx: Context
    ) -> Result:
        """Return the column."""
        if not len(view):
            return {self.to: pa.array([], pa.large_string())}
        prompts = _prompts(view)
        known = prompts.unique()
        own, theirs = (
            np.asarray(pc.index_in(texts, value_set=known).fill_null(-1))
            for texts in (prompts, given["prompt"])
        )
        vectors = unit_rows(view[self.embedding], np.arange(len(view)))
        alike = most_alike(vectors, np.asarray(given["vectors"]), self.k, own, theirs)
        count = neighbour_count(self._sureness(view, comparisons(view)), self.k)
        alike[np.arange(self.k) >= count[:, None]] = -1
        shown = alike >= 0
        used, place = np.unique(alike[shown], return_inverse=True)
        examples = _examples(given, used).take(pa.array(place.reshape(-1)))
        texts = paragraphs(shown.sum(axis=1), examples)
        none = pa.array(~shown.any(axis=1))
        return {self.to: pc.if_else(none, pa.scalar(None, pa.large_string()), texts)}

    def _label(self, view: pa.Table, pairs: Comparisons, judges: Sequence[str]) -> Floats:
        """Return (pairs,) what those of `labels` hold true of each pair; NaN where that is open."""
        voters = voters_among(judges, self.labels)
        found = judge_votes(view, pairs, [name for name in voters if name in judges])
        fields = [name for name in voters if name not in judges]
        found |= field_votes(view, pairs, fields, VERDICTS)
        none = np.full(len(pairs.row), np.nan)
        ballots = [found[name].value if name in found else none for name in voters]
        return truth_of(ballots, self.truth)

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


def _prompts(view: pa.Table) -> pa.ChunkedArray:
    """Return each row's prompt as one text, chunk by chunk: together they may pass 2 GiB."""
    texts = [large(text_of(chunk)) for chunk in chunks(view["prompt"])]
    return pa.chunked_array(texts, pa.large_string())


def _examples(given: Mapping[str, Values], at: Ints) -> pa.Array:
    """Return the examples that the labelled rows `at` make, their texts in fences."""
    before = np.repeat(starts_of(np.asarray(given["candidates"])), given["labelled"])
    ends = np.asarray(given["ends"])[at] + before[at, None]  # among the candidates of all rows
    own = mix(np.asarray(given["seed"])[at], ends[:, 0], ends[:, 1])
    a_first = own % np.uint64(2) == 0
    a, b = (pick(given[name], at) for name in ("text a", "text b"))
    order = pa.array(a_first)
    preferred = np.where(a_first == np.asarray(given["a wins"])[at], "A", "B").tolist()
    return _filled(
        fenced(pick(given["conversation"], at), "conversation", own),
        fenced(pc.if_else(order, a, b), "answer", mix(own, 1)),
        fenced(pc.if_else(order, b, a), "answer", mix(own, 2)),
        pa.array(preferred, pa.large_string()),
    )


def _filled(prompt: pa.Array, first: pa.Array, second: pa.Array, preferred: pa.Array) -> pa.Array:
    template = load_template("judge_example")
    return template.column(prompt=prompt, first=first, second=second, preferred=preferred)
