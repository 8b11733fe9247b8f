"""How training reward heads divides: spans give what pairs differ in, each head is one piece.

The differences lie in one file that the fits go through block by block, so no process holds more
than a span of vectors. In one place come together a hash of each prompt, and the folds of the rows
and pairs: some 40 bytes a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from curate.arrays import hashes, owners, text_of
from curate.division import Division, Piece, Space
from curate.methods.heads import agreement, blind_head, differences, unseen_rewards, usable
from curate.methods.outcomes import folds_by_hash
from curate.stage import Result
from curate.stages.pair_edits import read_pairs

if TYPE_CHECKING:
    from curate.stages.reward_heads import RewardHeads


@dataclass(frozen=True)
class HeadsOfSpans(Division):
    """`RewardHeads.apply` in pieces."""

    stage: RewardHeads

    def steps(self, space: Space) -> Iterator[Sequence[Piece]]:
        """Gather what pairs differ in, fit the heads, then score the candidates."""
        yield space.reading("differences")
        space.join("difference")
        keys, scored = (space.all_of(name, space.spans) for name in ("key", "scored"))
        fold, row = folds_by_hash(keys, self.stage.folds), space.all_of("row", space.spans)
        for name, values in (
            ("fold", fold),
            ("fold of pair", fold[row]),
            ("key of pair", keys[row]),
        ):
            space.save(name, 0, values)
        some = [k for k in np.unique(fold[scored]).tolist() if (fold[row] != k).any()]
        space.save("held", 0, np.array(some, dtype=np.int64))
        heads = range(self.stage.heads)
        yield [Piece("fit", k * self.stage.heads + head) for k in some for head in heads]
        yield space.reading("score")
        agreed, rated = np.sum([space.load("agreed", k) for k in range(space.spans)], axis=0)
        space.keep_counts(self.stage.counted(int(agreed), int(rated)))

    def work(self, piece: Piece, view: pa.Table | None, space: Space) -> None:
        """Do a piece of the step that it names."""
        if view is None:
            self._fit(space, piece.number)
        elif piece.step == "differences":
            self._differences(view, space, piece.number)
        else:
            self._score(view, space, piece.number)

    def _differences(self, view: pa.Table, space: Space, span: int) -> None:
        """Keep what the span's live pairs differ in, and the hashes of its prompts."""
        pairs, features = read_pairs(view), self.stage.features(view)
        live = np.flatnonzero(pairs.live)
        at, difference = differences(features, pairs.chosen[live], pairs.rejected[live])
        space.save("difference", span, difference)
        space.save("row", span, space.first[span] + pairs.row[live[at]])
        space.save("key", span, hashes(text_of(view["prompt"])))
        scored = np.bincount(owners(pairs.counts)[usable(features)], minlength=len(view)) > 0
        space.save("scored", span, scored)

    def _fit(self, space: Space, number: int) -> None:
        """Keep the weights of one head that sees no pair of one fold."""
        held, head = divmod(number, self.stage.heads)
        named = ("difference of all", "fold of pair", "key of pair")
        difference, fold, keys = (space.load(name) for name in named)
        weights = blind_head(difference, fold, keys, held, head, self.stage.ridge)
        space.save("weights", number, weights)

    def _score(self, view: pa.Table, space: Space, span: int) -> None:
        """Keep the rewards of the span's candidates, and how many pairs they agree with."""
        heads, pairs = self.stage.heads, read_pairs(view)
        weights = {
            held: np.stack([space.load("weights", held * heads + head) for head in range(heads)])
            for held in space.load("held").tolist()
        }
        fold = space.load("fold")[slice(*space.first[span : span + 2])][owners(pairs.counts)]
        rewards = unseen_rewards(self.stage.features(view), fold, weights, heads)
        space.save("rewards", span, rewards)
        live = pairs.live
        agreed = agreement(rewards, pairs.chosen[live], pairs.rejected[live])
        space.save("agreed", span, np.array(agreed))

    def finished(self, span: int, view: pa.Table, space: Space) -> Result:
        """Return the judgments of the span."""
        rewards = np.asarray(space.load("rewards", span))
        return {"judgments": self.stage.judgments(read_pairs(view), rewards)}
