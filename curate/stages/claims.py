"""The statements that answers make, as a column of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.arrays import Floats, Ints, flat, lengths, lists, mix, owners, starts_of, structs
from curate.engines.contract import Requests
from curate.errors import StageError
from curate.methods.claims import Claim, claim_score, read_claims
from curate.methods.judgments import floats, true
from curate.prompts import load_template
from curate.stage import Context, Result
from curate.stages.calls import Greedy, GreedySampling, count_replies
from curate.stages.forms import object_schema
from curate.stages.judging import AskingInForm
from curate.stages.live import judged, live_candidates
from curate.stages.shown import fenced, transcripts

CLAIM = pa.struct(
    [
        ("a", pa.int32()),  # index into candidates
        ("text", pa.string()),  # null where the answer's claims could not be had
        ("question", pa.string()),
        ("answer", pa.string()),
        ("status", pa.string()),  # ok, or why there are no claims of this answer
    ]
)


class Claims(AskingInForm, name="claims"):
    """Write to `claims` the statements that each live candidate makes, each with a question.

    One call a candidate. An entry holds the candidate's index `a`, the claim's `text`, a
    `question` that asks for it and the `answer` that the candidate gives: what `consistency`
    asks again, and `support` checks. A candidate whose claims could not be read has one entry
    with a status that says why; one that claims nothing has none.
    """

    most: int = Field(default=10, ge=1, le=100)
    """Claims per candidate; the first ones of a longer list count."""
    sampling: Greedy = GreedySampling()
    """How to draw; greedy where no temperature is given."""

    needs = ("id", "prompt", "candidates")
    writes = ("claims",)

    def identity(self) -> dict[str, Any]:
        """The fields and the text that asks for claims."""
        return super().identity() | {"template": load_template("claims").text}

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the claims. Raises StageError above `max_error_rate`."""
        live, seeds = live_candidates(view["candidates"]), ctx.row_seeds(view["id"], self.kind)
        shown = fenced(transcripts(view["prompt"]), "conversation", seeds)
        asked = load_template("claims").conversations(
            len(live.row),
            prompt=shown.take(live.row),
            candidate=fenced(live.texts, "answer", mix(seeds[live.row], live.place)),
            most=str(self.most),
        )
        own = None
        if self.sampling.temperature:
            own = mix(seeds[live.row], live.place) >> np.uint64(1)
        schema = self.held(_schema(self.most))
        requests = Requests(asked, self.sampling, seeds=own, json_schema=schema)
        answers = self.ask(requests, ctx)
        entries: list[tuple[int, int, Claim | None, str]] = []
        given = zip(answers.text.to_pylist(), answers.status.to_pylist(), strict=True)
        for row, place, (text, called) in zip(
            live.row.tolist(), live.place.tolist(), given, strict=True
        ):
            found, status = read_claims(text, self.most) if called == "ok" else ([], called)
            count_replies(ctx, [status])
            if status != "ok":
                entries.append((row, place, None, status))
            entries += [(row, place, claim, "ok") for claim in found]
        ctx.counts["claims"] += sum(claim is not None for *_, claim, _ in entries)
        return {"claims": _column(entries, len(view))}


def _column(entries: list[tuple[int, int, Claim | None, str]], rows: int) -> pa.Array:
    parts = {
        name: [None if claim is None else getattr(claim, name) for *_, claim, _ in entries]
        for name in Claim._fields
    }
    values = structs(
        CLAIM, len(entries), a=[e[1] for e in entries], status=[e[3] for e in entries], **parts
    )
    row = np.array([e[0] for e in entries], dtype=np.int64)
    return lists(np.bincount(row, minlength=rows), values)


def _schema(most: int) -> dict[str, Any]:
    one = object_schema({name: {"type": "string"} for name in ("claim", "question", "answer")})
    return object_schema({"claims": {"type": "array", "items": one, "maxItems": most}})


class LiveClaims(NamedTuple):
    """The claims of the live candidates, flattened in row order; all have the same length."""

    row: Ints  # the row of each
    owner: Ints  # its candidate, as an index into all rows' candidates
    text: list[str]
    question: list[str]
    answer: list[str]


def live_claims(view: pa.Table) -> tuple[LiveClaims, list[str | None]]:
    """Return the claims that can be checked, and why there are none of each candidate, or None.

    Raises StageError where the claims are not those of the candidates.
    """
    counts = lengths(view["candidates"])
    row = owners(lengths(view["claims"]))
    column = flat(view["claims"])
    a = floats(pc.struct_field(column, "a"))
    if not ((a >= 0) & (a < counts[row])).all():
        raise StageError("a claim's a is no index of its row's candidates; run `claims` again")
    owner = starts_of(counts)[row] + a.astype(np.int64)
    live = true(pc.is_null(flat(view["candidates"], "drop")))
    status = pc.fill_null(pc.struct_field(column, "status"), "ok").to_pylist()
    failed: list[str | None] = [None] * int(counts.sum())
    for place, why in zip(owner.tolist(), status, strict=True):
        if why != "ok" and live[place]:
            failed[place] = why
    ok = np.array([why == "ok" for why in status], dtype=bool)
    keep = np.flatnonzero(live[owner] & ok & true(pc.is_valid(pc.struct_field(column, "text"))))
    texts = (
        pc.fill_null(pc.struct_field(column, name), "").take(pa.array(keep)).to_pylist()
        for name in ("text", "question", "answer")
    )
    return LiveClaims(row[keep], owner[keep], *texts), failed


def claim_judgments(
    view: pa.Table,
    value: Floats,
    status: Sequence[str],
    notes: Sequence[str],
    *,
    judge: str,
    aspect: str,
    min_claims: int,
    at_least: float | None,
) -> pa.Array:
    """Return a judgment a live candidate from what each of its claims is worth.

    `value` (claims,) is NaN where `status` says why there is none. The judgment's text holds
    every claim with its value and its note. A candidate with fewer than `min_claims` claims has
    no judgment, one whose claims could not be read or valued has a status and no score.
    """
    claims, failed = live_claims(view)
    counts = lengths(view["candidates"])
    size = int(counts.sum())
    score = claim_score(claims.owner, value, size, at_least)
    made, known = (
        np.bincount(claims.owner[keep], minlength=size)
        for keep in (np.ones(len(value), dtype=bool), ~np.isnan(value))
    )
    for owner, why in zip(claims.owner.tolist(), status, strict=True):
        if why != "ok" and known[owner] < min_claims <= made[owner]:
            failed[owner] = failed[owner] or why
    lost = np.array([why is not None for why in failed], dtype=bool)
    at = np.flatnonzero(lost | (made >= min_claims))
    score[lost] = np.nan
    said: list[list[str]] = [[] for _ in range(size)]
    each = zip(claims.owner.tolist(), claims.text, value.tolist(), notes, strict=True)
    for owner, text, worth, note in each:
        said[owner].append(f"{'?' if worth != worth else format(worth, '.2f')} {text}{note}")
    row, place = owners(counts)[at], at - starts_of(counts)[owners(counts)[at]]
    return judged(
        len(view),
        row,
        judge=judge,
        aspect=aspect,
        a=pa.array(place),
        score=pa.array(score[at].astype(np.float32), mask=np.isnan(score[at])),
        status=[failed[k] or "ok" for k in at.tolist()],
        text=["\n".join(said[k]) for k in at.tolist()],
    )
