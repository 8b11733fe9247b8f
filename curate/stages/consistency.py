"""Whether what answers claim holds: asked again, or checked against a reference."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from curate.arrays import Floats, Ints, hashes, mix
from curate.engines.contract import Requests
from curate.methods.claims import Measure, agreement, answer_groups, certainty, short_form
from curate.prompts import load_template
from curate.stage import Context, EngineRole, Result
from curate.stages.calls import (
    TOO_LONG,
    GreedySampling,
    Varied,
    VariedSampling,
    count_replies,
    first_choice,
)
from curate.stages.claims import LiveClaims, claim_judgments, live_claims
from curate.stages.judging import Asking
from curate.stages.shown import fenced, material


class Consistency(Asking, name="consistency"):
    """Append each live candidate's consistency, how surely its claims come again, as a judgment.

    The question of each of its `claims` is put to the engine `n` times, without the answer; the
    samples are compared by what they say (case, punctuation, articles and the question's own
    words apart), and a claim is worth how often they agree with it. The score is the mean over
    the claims. A model says again what it knows, and what it makes up differs each time: so facts
    are told from inventions without a source to look them up in (FactTune, Tian et al. 2023). A
    firm error is not found.
    """

    engine: Annotated[str, EngineRole(("chat",))]
    """The engine's name: the model that wrote the candidates, for what it is sure of itself."""
    n: int = Field(default=20, ge=2)
    """Samples a question."""
    measure: Measure = "match"
    """A claim's worth: how often its own answer comes; or how sure the model is of the question,
    whatever it answers: "largest", the share of the largest group, "collision", the chance that
    two samples agree, "entropy", its negative in nats."""
    at_least: float | None = Field(None, allow_inf_nan=False)
    """Score the share of the claims that are worth this or more, in place of the mean."""
    min_claims: int = Field(default=1, ge=1)
    """A candidate with fewer claims gets no judgment: a mean favours answers that say little."""
    sampling: Varied = VariedSampling()
    """How to draw; the temperature is 0.7 where not given."""
    name: str | None = None
    """The judge's name in the judgments; by default `engine:consistency`."""

    needs = ("id", "candidates", "claims")
    appends = ("judgments",)

    @model_validator(mode="after")
    def _consistent(self) -> Consistency:
        if self.sampling.temperature == 0.0:
            raise ValueError("samples at temperature 0 are all one; raise sampling.temperature")
        return self

    def identity(self) -> dict[str, Any]:
        """The fields and the text that asks a question."""
        return super().identity() | {"template": load_template("answer_briefly").text}

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the new judgments. Raises StageError above `max_error_rate`."""
        claims, _ = live_claims(view)
        seeds = ctx.row_seeds(view["id"], f"{self.kind}\0{self.engine}")
        worth, status, notes = self._worth(claims, seeds, ctx)
        found = claim_judgments(
            view,
            worth,
            np.where(np.isnan(worth), status, "ok").tolist(),
            notes,
            judge=self.name or f"{self.engine}:{self.kind}",
            aspect=self.measure,
            min_claims=self.min_claims,
            at_least=self.at_least,
        )
        return {"judgments": found}

    def _worth(
        self, claims: LiveClaims, seeds: npt.NDArray[np.uint64], ctx: Context
    ) -> tuple[Floats, npt.NDArray[np.str_], list[str]]:
        """Return what each claim is worth, why it is not known if so, and what the samples said.

        A row's equal questions are asked once.
        """
        places: dict[tuple[int, str], int] = {}
        keys = zip(claims.row.tolist(), claims.question, strict=True)
        question = np.array([places.setdefault(key, len(places)) for key in keys], dtype=np.int64)
        asking = [text for _, text in places]
        texts = pa.array(asking, pa.large_string())
        row = np.array([row for row, _ in places], dtype=np.int64)
        own = mix(seeds[row], hashes(texts))
        shown = fenced(texts, "question", own)
        asked = load_template("answer_briefly").conversations(len(texts), question=shown)
        which = np.repeat(np.arange(len(texts)), self.n)
        drawn = mix(own[which], np.tile(np.arange(self.n), len(texts))) >> np.uint64(1)
        requests = Requests(asked, self.sampling, which=which, seeds=drawn)
        answers = self.ask(requests, ctx)
        status = np.array(answers.status.to_pylist(), dtype=np.str_)
        called = ~np.isin(status, ("api_error", TOO_LONG))
        given = zip(answers.text.to_pylist(), which.tolist(), strict=True)
        said = [short_form(text, asking[k]) for text, k in given]
        short = np.where([one is None for one in said], "empty", "ok")
        count_replies(ctx, np.where(called, short, status).tolist())
        of = (range(k, k + self.n) for k in range(0, len(said), self.n))
        notes = [_said([said[k] for k in samples if called[k]]) for samples in of]
        note = [f" ({notes[k]})" for k in question.tolist()]
        why = status[question * self.n]  # of samples none of which came, each says the same
        if self.measure == "match":
            return self._match(claims, question, said, called), why, note
        worth = certainty(which[called], answer_groups(said)[called], len(texts), self.measure)
        return worth[question], why, note

    def _match(
        self, claims: LiveClaims, question: Ints, said: list[str | None], called: np.ndarray
    ) -> Floats:
        """Return how often each claim's own answer came."""
        own = list(map(short_form, claims.answer, claims.question))
        sample = (question[:, None] * self.n + np.arange(self.n)).ravel()
        claim = np.repeat(np.arange(len(own)), self.n)
        pairs = zip(claim.tolist(), sample.tolist(), strict=True)
        same = np.array([own[k] is not None and own[k] == said[s] for k, s in pairs], dtype=bool)
        keep = called[sample]
        return agreement(claim[keep], same[keep], len(own))


def _said(samples: list[str | None], most: int = 5) -> str:
    """Return the most frequent of some short answers with their numbers, for a reader."""
    counts = Counter("nothing" if said is None else said[:40] for said in samples)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{n} x {said}" for said, n in ranked[:most])


class Support(Asking, name="support"):
    """Append the share of each live candidate's claims that hold, as a judgment.

    A claim is worth the probability of yes against no when the engine is asked whether it is
    true, going by the row's reference where there is one and by what it knows elsewhere; the
    score is the mean over the claims, or with `at_least` the share of those worth that much
    (claims checked one by one as in FActScore, Min et al. 2023, without its search).
    """

    engine: Annotated[str, EngineRole(("chat", "token_probs"))]
    """The engine's name."""
    at_least: float | None = Field(None, ge=0, le=1)
    """Score the share of the claims whose probability is this or more, in place of the mean."""
    min_claims: int = Field(default=1, ge=1)
    """A candidate with fewer claims gets no judgment: a mean favours answers that say little."""
    use_reference: bool = True
    """Show the row's reference answer where there is one."""
    min_mass: float = Field(default=0.5, ge=0.0, le=1.0)
    """Least probability that yes and no hold together; a claim below it has no value."""
    name: str | None = None
    """The judge's name in the judgments; by default `engine:support`."""

    needs = ("id", "prompt", "candidates", "claims")
    appends = ("judgments",)

    def used(self) -> tuple[str, ...]:
        """The reference, unless `use_reference` is off."""
        return ("reference",) if self.use_reference else ()

    def identity(self) -> dict[str, Any]:
        """The fields and the texts that the engine is shown."""
        texts = [load_template(name).text for name in ("claim_supported", "judge_reference")]
        return super().identity() | {"templates": texts}

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the new judgments. Raises StageError above `max_error_rate`."""
        claims, _ = live_claims(view)
        seeds = ctx.row_seeds(view["id"], self.kind)
        shown = material(view, claims.row, seeds, self.use_reference)
        texts = pa.array(claims.text, pa.large_string())
        own = mix(seeds[claims.row], hashes(texts))
        asked = load_template("claim_supported").conversations(
            len(texts), "Answer:", claim=fenced(texts, "claim", own), **shown
        )
        requests = Requests(asked, GreedySampling(max_tokens=1), choices=("Yes", "No"))
        worth, status = first_choice(self.ask(requests, ctx), self.min_mass)
        count_replies(ctx, status)
        found = claim_judgments(
            view,
            worth,
            status.to_pylist(),
            [""] * len(worth),
            judge=self.name or f"{self.engine}:{self.kind}",
            aspect="claims",
            min_claims=self.min_claims,
            at_least=self.at_least,
        )
        return {"judgments": found}
