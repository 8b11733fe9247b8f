"""How far a prompt's answers lie apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.arrays import Ints, flat, lengths, owners
from curate.methods.vectors import unit, vectors_of
from curate.schema import DROP
from curate.stage import Context, Result, Stage
from curate.stages.filters import below
from curate.stages.relevance import aligned_vectors


def mean_distance(
    row: Ints, vectors: npt.NDArray[np.float32], rows: int
) -> npt.NDArray[np.float64]:
    """Return (rows,) the mean cosine distance of every two vectors of a row, NaN below two.

    `row` (m,) is the row of each of `vectors` (m, d), which are of length one. The sum over all
    pairs follows from the row's sum of vectors: |sum|^2 = m + 2 * (sum of the cosines).
    """
    size = np.bincount(row, minlength=rows)
    total = np.zeros((rows, vectors.shape[1]))
    np.add.at(total, row, vectors.astype(np.float64))
    own = np.bincount(row, (vectors.astype(np.float64) ** 2).sum(axis=1), rows)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = ((total**2).sum(axis=1) - own) / (size * (size - 1.0))
    return np.where(size >= 2, np.clip(1.0 - mean, 0.0, 2.0), np.nan)


class AnswerDiversity(Stage, name="answer_diversity"):
    """Write how far each prompt's live answers lie apart, and drop the rows below `at_least`.

    `answer_diversity` is the mean cosine distance of every two answers' vectors: 0 for answers
    that say the same, null where fewer than two have a vector. Answers that do not differ leave
    nothing to prefer.
    """

    needs = ("candidates",)
    writes = ("answer_diversity",)

    at_least: float | None = Field(None, ge=0, le=2)
    """The least distance kept; all rows are kept where not given."""
    vectors: str = "answer_vectors"
    """The column of the candidates' vectors; `embed: {on: candidates}` writes it."""

    def needed(self) -> tuple[str, ...]:
        """Need the candidates' vectors too."""
        return (*self.needs, self.vectors)

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the column. Raises StageError where the vectors are not the candidates'."""
        counts = lengths(view["candidates"])
        flat_vectors = aligned_vectors(view[self.vectors], counts, self.kind, self.vectors)
        live = pc.and_(pc.is_null(flat(view["candidates"], "drop")), pc.is_valid(flat_vectors))
        keep = np.flatnonzero(live.to_numpy(zero_copy_only=False))
        vectors = unit(vectors_of(flat_vectors.take(pa.array(keep))))
        found = mean_distance(owners(counts)[keep], vectors, len(view))
        column = pa.array(found.astype(np.float32), mask=np.isnan(found))
        if self.at_least is None:
            return {"answer_diversity": column}
        low = pa.array(below(found, self.at_least))
        reason = pc.if_else(low, f"answer diversity below {self.at_least:g}", None)
        few = pc.if_else(pc.is_null(column), "fewer than two answers with a vector", reason)
        return {"answer_diversity": column, DROP: few.cast(pa.string())}
