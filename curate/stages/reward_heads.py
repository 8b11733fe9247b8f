"""An ensemble of small reward models, trained on the set whose labels it is to judge."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.arrays import Floats, flat, hashes, lengths, owners, starts_of, text_of
from curate.division import Division
from curate.methods.heads import RIDGE, agreement, cross_fitted_rewards
from curate.methods.judgments import true
from curate.methods.outcomes import folds_by_hash
from curate.stage import Context, Result, Stage
from curate.stages.live import judged
from curate.stages.pair_edits import Pairs, read_pairs
from curate.stages.relevance import aligned_vectors
from curate.stages.reward_division import HeadsOfSpans


class RewardHeads(Stage, name="reward_heads"):
    """Append the rewards of `heads` small models, trained on the set's own pairs, as judgments.

    A head is a linear Bradley-Terry model over the candidates' vectors (`embed` with
    `on: candidates`) and their lengths, trained on a bootstrap sample of the prompts. Each
    candidate is scored only by heads that saw no pair of its prompt, so a wrong label cannot
    vouch for itself. Judges are called `name#0`, `name#1` and so on; scores are log-odds, for
    `bands`, `verify`, `consensus` or `combine` to read. What they predict is the labels as they
    are, wrong ones too, so p_correct must not be made from their margins alone. How far they
    agree with the labels is counted: near 50 percent they have learnt nothing, and nothing
    should rest on them. After the ensemble of Secrets of RLHF II (Wang et al. 2024), whose
    members are whole reward models; see `heads.cross_fitted_rewards`.
    """

    scope = "dataset"
    needs = ("prompt", "candidates", "pairs")
    appends = ("judgments",)

    heads: int = Field(10, ge=1)
    """How many models."""
    folds: int = Field(5, ge=2)
    """Parts of the prompts; each is scored by models trained on the others."""
    ridge: float = Field(RIDGE, gt=0, allow_inf_nan=False)
    """How strongly weights are held near zero, in units of pairs."""
    length: bool = True
    """Let the models see how long an answer is, not only its vector."""
    vectors: str = "answer_vectors"
    """The column of the candidates' vectors."""
    name: str = Field("heads", min_length=1)
    """The first part of the judges' names."""

    def needed(self) -> tuple[str, ...]:
        """Need the candidates' vectors too."""
        return (*self.needs, self.vectors)

    def division(self) -> Division:
        """Each head's fit is a piece of its own; vectors never come together in memory."""
        return HeadsOfSpans(self)

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the judgments. Raises StageError where the vectors are not the candidates'."""
        pairs = read_pairs(view)
        features = self.features(view)
        rows = owners(pairs.counts)
        keys = hashes(text_of(view["prompt"]))
        fold = folds_by_hash(keys, self.folds)
        live = pairs.live
        rewards = cross_fitted_rewards(
            features, pairs.chosen[live], pairs.rejected[live], fold[rows], keys[rows],
            heads=self.heads, ridge=self.ridge,
        )  # fmt: skip
        agreed, rated = agreement(rewards, pairs.chosen[live], pairs.rejected[live])
        ctx.counts.update(self.counted(agreed, rated))
        return {"judgments": self.judgments(pairs, rewards)}

    def counted(self, agreed: int, rated: int) -> dict[str, int]:
        """Return the counter that says how far the heads agree with the labels they did not see."""
        name = "label agreement of unseen heads, percent"
        return {name: round(100 * (agreed / rated))} if rated else {}

    def features(self, view: pa.Table) -> Floats:
        """Return the candidates' features (candidates, d), NaN for those that do not count."""
        counts = lengths(view["candidates"])
        vectors = aligned_vectors(view[self.vectors], counts, self.kind, self.vectors)
        width = vectors.type.list_size
        values = vectors.values.slice(vectors.offset * width, len(vectors) * width)
        features = np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)
        features = features.reshape(len(vectors), width)
        texts = flat(view["candidates"], "text")
        if self.length:
            features = np.column_stack([features, _log_length(texts)])
        unusable = ~true(vectors.is_valid()) | true(flat(view["candidates"], "drop").is_valid())
        features[unusable] = np.nan
        return features

    def judgments(self, pairs: Pairs, rewards: Floats) -> pa.Array:
        """Return the rewards (candidates, heads) as judgments."""
        scored = np.isfinite(rewards)
        at, head = np.nonzero(scored)
        rows = owners(pairs.counts)
        local = at - starts_of(pairs.counts)[rows[at]]
        names = pa.array([f"{self.name}#{k}" for k in range(self.heads)], pa.string())
        return judged(
            len(pairs.counts),
            rows[at],
            judge=names.take(pa.array(head)),
            aspect="reward",
            a=pa.array(local),
            score=pa.array(rewards[scored]),
            status="ok",
        )


def _log_length(texts: pa.Array) -> Floats:
    """Return the logarithm of 1 + each text's bytes."""
    size = pc.fill_null(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False)
    return np.asarray(np.log1p(np.asarray(size, dtype=np.float64)))
