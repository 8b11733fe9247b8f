"""How near each answer's meaning comes to the question, or to a reference."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.arrays import Floats, Ints, flat, lengths, one_chunk, owners, places_of
from curate.errors import StageError
from curate.methods.judgments import true
from curate.methods.relevance import distinct_share, relevance, tokens
from curate.methods.vectors import unit, vectors_of
from curate.stage import Context, Result, Stage
from curate.stages.live import candidate_texts, judged


class Relevance(Stage, name="relevance"):
    """Append each live candidate's relevance to a question or a reference as a judgment.

    The cosine of the answer's vector and the row's, times the share of distinct n-grams, and
    with `per_words` times its length: rewards that can be read, and that need no training (R3,
    Kim and Seo 2024). For open questions the source takes the question and the length, for
    closed ones a reference and no length; `route` sends each row to its own. Who copies the
    question is relevant too: use it where answers differ in more than that. An answer or a row
    without a vector gets no judgment.
    """

    needs = ("candidates",)
    appends = ("judgments",)

    to: str = "embedding"
    """The column of each row's vector: `embed` writes the prompt's, its last turn's or the
    reference's."""
    vectors: str = "answer_vectors"
    """The column of the candidates' vectors; `embed: {on: candidates}` writes it."""
    per_words: float | None = Field(None, gt=0)
    """Multiply by the answer's words over this many (100 in the source), or not at all."""
    most: float = Field(3.0, gt=0)
    """`per_words`: the largest factor, so that length has an end."""
    ngram: int | None = Field(3, ge=1)
    """Multiply by the share of different n-grams of so many words, or not at all."""
    name: str = "relevance"
    """The judge's name in the judgments."""

    def needed(self) -> tuple[str, ...]:
        """Need both columns of vectors too."""
        return (*self.needs, self.to, self.vectors)

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the new judgments. Raises StageError where the vectors do not fit together."""
        counts = lengths(view["candidates"])
        each = aligned_vectors(view[self.vectors], counts, self.kind, self.vectors)
        row, own = owners(counts), one_chunk(view[self.to])
        usable = true(pc.is_null(flat(view["candidates"], "drop"))) & true(pc.is_valid(each))
        keep = np.flatnonzero(usable & true(pc.is_valid(own))[row])
        cosine = self._cosine(each, own, keep, row[keep])
        texts = candidate_texts(view["candidates"]).take(pa.array(keep)).to_pylist()
        words = [tokens(text) for text in texts]
        size = np.array([len(found) for found in words], dtype=np.float64)
        distinct = np.array([distinct_share(found, self.ngram or 0) for found in words])
        if self.ngram is None:
            distinct = np.ones(len(words))
        score = relevance(cosine, size, distinct, self.per_words, self.most)
        return {
            "judgments": judged(
                len(view),
                row[keep],
                judge=self.name,
                aspect=self.to,
                a=pa.array(places_of(counts)[keep]),
                score=score.astype(np.float32),
                status="ok",
                text="",
            )
        }

    def _cosine(self, each: pa.Array, own: pa.Array, keep: Ints, row: Ints) -> Floats:
        if not len(keep):
            return np.zeros(0)
        answers = unit(vectors_of(each.take(pa.array(keep)))).astype(np.float64)
        questions = unit(vectors_of(own.take(pa.array(row)))).astype(np.float64)
        if answers.shape != questions.shape:
            raise StageError(
                f"{self.kind}: {self.to!r} holds vectors of {questions.shape[1]} numbers, "
                f"{self.vectors!r} of {answers.shape[1]}; embed both with one model"
            )
        return np.asarray((answers * questions).sum(axis=1))


def aligned_vectors(
    column: pa.Array | pa.ChunkedArray, counts: Ints, kind: str, name: str
) -> pa.Array:
    """Return the candidates' vectors flattened. Raises StageError where it is not one each."""
    found = column.type
    if not pa.types.is_list(found) or not pa.types.is_fixed_size_list(found.value_type):
        raise StageError(
            f"{kind}: {name!r} holds no vector a candidate; write it with "
            f"`embed: {{on: candidates, to: {name}}}`"
        )
    if not np.array_equal(lengths(column), counts):
        raise StageError(
            f"{kind}: {name!r} is not aligned with the candidates; run `embed` after "
            "the stage that changed them"
        )
    return flat(column)
