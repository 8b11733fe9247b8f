"""A labelled set, read: what every measure of a judge is computed from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.arrays import Bools, Floats
from curate.evaluation.calibration import random_orientation
from curate.evaluation.resampling import Resampled
from curate.methods.evidence import Comparisons, Votes, groups_of


@dataclass(frozen=True)
class Labelled:
    """n comparisons on which the humans' majority is known, and the judges' votes on them."""

    table: pa.Table
    pairs: Comparisons
    human: Floats  # 1 for a, -1 for b, 0 for a tie
    voters: dict[str, Votes]
    sample: Resampled

    @cached_property
    def prompts(self) -> npt.NDArray[np.object_]:
        """The text of each comparison's prompt."""
        return groups_of(self.table, self.pairs)

    @cached_property
    def turned(self) -> Bools:
        """Whether to look at each comparison the other way round: a hash of its candidates."""
        ends = zip(self.pairs.a.tolist(), self.pairs.b.tolist(), strict=True)
        return random_orientation([f"{a} {b}" for a, b in ends])
