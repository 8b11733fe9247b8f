"""Take out of the pairs' margins what length and markup explain of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from curate.arrays import Floats, flat
from curate.division import Division, Piece, Space
from curate.methods.style import Form, style_difference, style_effect, text_style
from curate.stage import Context, Result, Stage
from curate.stages.pair_edits import edited, read_pairs, set_floats


class StyleControl(Stage, name="style_control"):
    """Take out of the pairs' margins what the answers' style explains of them.

    What is left is near 0 where an answer won by length or markup alone, and negative where it
    won by less than its style would have: put a margin filter after it. Fitted over all live
    pairs of the dataset; the margin keeps its unit. People ask for length too, so look at what
    goes before using it on prompts that want long answers. See `style_effect`; after the length
    control of AlpacaEval 2 (Dubois et al. 2024) and Chatbot Arena's style control.
    """

    scope = "dataset"
    needs = ("candidates", "pairs")
    writes = ("pairs",)

    form: Form = Field("length", description="which differences, and how they are measured")

    def division(self) -> Division:
        """A few numbers of each pair are fitted in one place; texts stay where they are."""
        return StyleOfPairs(self.form)

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the pairs with what is left of their margins."""
        known, difference, margin = styles_of(view, self.form)
        return less(view, known, style_effect(difference, margin, self.form))


class StyleOfPairs(Division):
    """`StyleControl.apply` in pieces."""

    def __init__(self, form: Form) -> None:
        self.form: Form = form

    def steps(self, space: Space) -> Iterator[Sequence[Piece]]:
        """Measure the pairs of every span, then fit them all."""
        yield space.reading("style")
        difference = np.ascontiguousarray(space.all_of("difference", space.spans).T)
        margin = space.all_of("margin", space.spans)
        space.save("effect", 0, style_effect(difference, margin, self.form))

    def work(self, piece: Piece, view: pa.Table | None, space: Space) -> None:
        """Keep how the two texts of each of the span's pairs differ, and the margins."""
        assert view is not None  # noqa: S101 - `style` is the one step, and it reads
        _, difference, margin = styles_of(view, self.form)
        space.save("difference", piece.number, difference.T)
        space.save("margin", piece.number, margin)

    def finished(self, span: int, view: pa.Table, space: Space) -> Result:
        """Return the span's pairs with what is left of their margins."""
        start = sum(len(space.load("margin", before)) for before in range(span))
        known = known_pairs(view)
        return less(view, known, space.load("effect")[start : start + int(known.sum())])


def styles_of(view: pa.Table, form: Form) -> tuple[npt.NDArray[np.bool_], Floats, Floats]:
    """Return which pairs are live and have a margin, those pairs' differences and margins."""
    pairs, known = read_pairs(view), known_pairs(view)
    # Shard by shard: the texts of a dataset do not fit into one array.
    shards = view["candidates"].chunks
    style = np.vstack([text_style(flat(s, "text")) for s in shards] or [np.empty((0, 5))])
    first, second = style[pairs.chosen[known]], style[pairs.rejected[known]]
    return (
        known,
        np.ascontiguousarray(style_difference(first, second, form)),
        pairs.floats("margin")[known],
    )


def known_pairs(view: pa.Table) -> npt.NDArray[np.bool_]:
    """Return which pairs are live and have a margin."""
    pairs = read_pairs(view)
    return np.asarray(pairs.live & ~np.isnan(pairs.floats("margin")))


def less(view: pa.Table, known: npt.NDArray[np.bool_], effect: Floats) -> Result:
    """Return the pairs with the effects (one for each of the known pairs) off their margins."""
    pairs = read_pairs(view)
    margin = pairs.floats("margin").copy()
    margin[known] -= effect
    return edited(pairs, set_floats(pairs.values, "margin", margin, known))
