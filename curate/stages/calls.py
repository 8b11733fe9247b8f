"""What the stages that call an engine share: sampling, the error budget, readings, lost rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BeforeValidator, Field

from curate.arrays import flat, lengths, map_distinct, owners
from curate.component import RuntimeMark
from curate.engines.contract import Completions, Engine, Requests, Sampling
from curate.errors import StageError
from curate.methods.answers import Reading
from curate.methods.judgments import true
from curate.methods.verdicts import expected_score
from curate.schema import DROP, FAIL
from curate.stage import Context


def _plain(value: Any) -> Any:
    """Let a `Sampling` made in Python stand for a stage's own kind, with all its values."""
    return value.model_dump() if type(value) is Sampling else value


class GreedySampling(Sampling):
    """Sampling whose temperature is 0 where none is given: for judges."""

    temperature: float = Field(default=0.0, ge=0.0)


class VariedSampling(Sampling):
    """Sampling whose temperature is 0.7 where none is given: for answers that should differ."""

    temperature: float = Field(default=0.7, ge=0.0)


Greedy = Annotated[GreedySampling, BeforeValidator(_plain)]
Varied = Annotated[VariedSampling, BeforeValidator(_plain)]

ErrorRate = Annotated[
    float,
    Field(
        ge=0.0,
        le=1.0,
        description="share of failed calls above which the shard is given up, and the run stops to "
        "be resumed; in a shard below it they stay failed until `run --retry-failed` does it again "
        "(0: none may fail)",
    ),
    RuntimeMark(),
]
"""A share of failed calls. It decides whether a part is committed and never what is in it."""


REPLIES = "replies: "
"""What begins the name of a counter of replies; the rest is a status, or why one is of no use."""

TOO_LONG = "too_long"
"""The status of a call whose prompt does not fit the model's window, and its counter."""


def chat(
    engine: Engine, requests: Requests, ctx: Context, max_error_rate: float, what: str
) -> Completions:
    """Ask the engine, count calls and tokens, and hold the error budget.

    Raises StageError where more than `max_error_rate` of the requests came back as errors.
    """
    if not len(requests):
        return Completions.of([], len(requests.choices))
    answers = engine.chat(requests)
    if len(answers) != len(requests):
        raise StageError(f"{what}: {len(answers)} answers to {len(requests)} requests")
    answered = pc.is_in(answers.status, pa.array(["ok", "truncated", "refused"]))
    told = pc.and_(answers.prompt_tokens.is_valid(), answers.tokens.is_valid())
    sums = (pc.sum(column).as_py() or 0 for column in (answers.prompt_tokens, answers.tokens))
    tally(ctx, len(answers), *sums)
    ctx.counts["cached_tokens"] += answers.cached_tokens
    more = {
        "retries": answers.retries,
        "cut_prompts": answers.cut_prompts,
        "unknown_tokens": pc.sum(pc.and_not(answered, told)).as_py(),
    }
    ctx.counts.update({name: count for name, count in more.items() if count})
    check_errors(answers.status, answers.error, ctx, max_error_rate, what)
    return answers


def tally(ctx: Context, calls: int, prompt_tokens: int, tokens: int) -> None:
    """Add to the counters that the part's record keeps."""
    ctx.counts["calls"] += calls
    ctx.counts["prompt_tokens"] += prompt_tokens
    ctx.counts["tokens"] += tokens


def of_calls(answers: Completions, call: npt.NDArray[np.int64]) -> dict[str, pa.Array]:
    """Return the fields of JUDGMENT that the call `call[i]` of judgment i gives: text, tokens."""
    at = pa.array(call)
    names = ("text", "prompt_tokens", "tokens")
    return {name: getattr(answers, name).take(at) for name in names}


def count_replies(ctx: Context, statuses: pa.Array | Iterable[str]) -> None:
    """Count what became of an engine's replies once they are read, by status: `replies: ok`.

    A report says it where too few of a stage's replies are of use, whatever is left of the rows.
    """
    column = statuses if isinstance(statuses, pa.Array) else pa.array(statuses, pa.string())
    for found in pc.value_counts(column).to_pylist():
        ctx.counts[f"{REPLIES}{found['values']}"] += found["counts"]


def check_errors(
    statuses: pa.Array, errors: pa.Array, ctx: Context, max_error_rate: float, what: str
) -> None:
    """Count what failed, and raise StageError where that is too much, naming the errors.

    Where other calls of the shard came back, one may fail whatever its share is: a request that an
    engine will never answer must not hold up a small shard for ever. A budget of 0 allows none.
    Prompts that are too long for the model are counted apart and are no part of the share: no
    rerun makes them shorter, so a run that stopped for them could never end.
    """
    reasons = errors.filter(pc.equal(statuses, "api_error"))
    too_long = pc.sum(pc.equal(statuses, TOO_LONG)).as_py() or 0
    for name, count in (("errors", len(reasons)), (TOO_LONG, too_long)):
        if count:
            ctx.counts[name] += count
    calls = len(statuses) - too_long
    others = len(reasons) < calls
    if len(reasons) > max(max_error_rate * calls, float(others and max_error_rate > 0)):
        common = Counter(map(one_line, reasons.to_pylist())).most_common(3)
        named = "; ".join(f"{n} x {error}" for error, n in common)
        raise StageError(
            f"{what}: {len(reasons)} of {calls} calls failed ({named}), more than "
            f"max_error_rate {max_error_rate:g}; fix the engine and rerun, or raise max_error_rate"
        )


def lost_rows(
    why: pa.Array, answers: Completions, row: npt.NDArray[np.int64] | None = None
) -> dict[str, pa.Array]:
    """Return DROP and FAIL for rows of one call each: `why` (rows,) holds a reason, or null.

    A row is dropped for its reason, but one whose call failed is a failed row with the error.
    `row` (calls,) is the row that each call is about; None: one call a row, in order.
    """
    call = np.full(len(why), -1)
    call[np.arange(len(why)) if row is None else row] = np.arange(len(answers))
    at = pa.array(call, mask=call < 0)
    failed = pc.equal(answers.status, "api_error").take(at)
    failed = pc.and_(pc.fill_null(failed, False), why.is_valid())
    errors = map_distinct(answers.error, lambda e: f"the call failed: {one_line(e)}", pa.string())
    nothing = pa.scalar(None, pa.string())
    return {
        DROP: pc.if_else(failed, nothing, why.cast(pa.string())),
        FAIL: pc.if_else(failed, errors.take(at), nothing),
    }


def unusable(answers: Completions) -> pa.Array:
    """Return in words why each answer is of no use: its error where it has one, else its status."""
    errors = map_distinct(answers.error, lambda e: e and one_line(e), pa.string())
    return pc.coalesce(errors, answers.status)


_READINGS = pa.list_(pa.struct([("score", pa.float32()), ("status", pa.string())]))


def readings(
    answers: Completions,
    read: Callable[[str, int], list[Reading]],
    sizes: npt.NDArray[np.int64] | None = None,
) -> tuple[pa.Array, pa.Array]:
    """Return scores and statuses: what `read` makes of each whole answer, else the call's status.

    `read(text, size)` gives a list of readings, and the lists are returned one after another.
    `sizes` holds one size a call (None: 1). Each distinct text is read once, as short verdicts
    repeat.
    """
    sizes = np.ones(len(answers), dtype=np.int64) if sizes is None else sizes
    places, parts = [np.zeros(0, dtype=np.int64)], [pa.array([], _READINGS)]
    for size in np.unique(sizes).tolist():

        def read_sized(text: str, size: int = size) -> list[Reading]:
            return read(text, size)

        places.append(np.flatnonzero(sizes == size))
        texts = answers.text.take(pa.array(places[-1]))
        parts.append(map_distinct(texts, read_sized, _READINGS))
    found = pa.concat_arrays(parts).take(pa.array(np.argsort(np.concatenate(places))))
    status = answers.status.take(pa.array(owners(lengths(found))))
    whole, nothing = pc.equal(status, "ok"), pa.scalar(None, pa.float32())
    scores = pc.if_else(whole, flat(found, "score"), nothing)
    return scores, pc.if_else(whole, flat(found, "status"), status)


def token_status(
    answers: Completions, mass: npt.NDArray[np.float64], min_mass: float
) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """Return each call's status where token probabilities count, and where there is no score.

    `mass` is the probability that the choices hold together; below `min_mass` the judge was
    about to say something else, which is a `parse_error`. One token is asked for, so that
    `truncated` is no fault.
    """
    called = pc.is_in(answers.status, pa.array(["ok", "truncated"]))
    enough = pa.array((mass >= min_mass) & (mass > 0.0))
    lost = true(pc.invert(pc.and_(called, enough)))
    return pc.if_else(called, pc.if_else(enough, "ok", "parse_error"), answers.status), lost


def candidate_reasons(answers: Completions, ctx: Context, drop_truncated: bool = False) -> pa.Array:
    """Return why each answer must not be used as a candidate, or null; count them."""
    nothing = pa.scalar(None, pa.string())
    reason = pc.if_else(pc.equal(pc.utf8_trim_whitespace(answers.text), ""), "empty", nothing)
    if drop_truncated:
        reason = pc.if_else(pc.equal(answers.status, "truncated"), "truncated", reason)
    reason = pc.if_else(pc.equal(answers.status, "refused"), "refused", reason)
    other = pc.is_in(answers.status, pa.array(["api_error", TOO_LONG]))
    count_replies(ctx, pc.if_else(other, answers.status, pc.fill_null(reason, "ok")))
    errors = map_distinct(answers.error, one_line, pa.string())
    reason = pc.if_else(pc.equal(answers.status, TOO_LONG), errors, reason)
    failed = pc.binary_join_element_wise("api_error", errors, ": ")
    return pc.if_else(pc.equal(answers.status, "api_error"), failed, reason)


def choice_logs(answers: Completions) -> npt.NDArray[np.float64]:
    """Return (calls, choices) log probabilities, -inf where the engine gave none."""
    logs = answers.choice_logprobs
    return np.where(np.isnan(logs), -np.inf, logs)


def expected_scores(
    answers: Completions, low: int, high: int, min_mass: float
) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Return the mean and the deviation of the scores `low` to `high` by their probabilities.

    The third array is each call's status; where it is not ok the other two are null.
    """
    found = expected_score(choice_logs(answers), range(low, high + 1))
    status, lost = token_status(answers, found.mass, min_mass)
    return pa.array(found.mean, mask=lost), pa.array(found.std, mask=lost), status


def first_choice(answers: Completions, min_mass: float) -> tuple[npt.NDArray[np.float64], pa.Array]:
    """Return (calls,) the probability of the first choice against the others, and each status.

    NaN where the status is not ok: P(yes) of a question with the choices Yes and No.
    """
    held = np.exp(choice_logs(answers))
    mass = held.sum(axis=1)
    status, lost = token_status(answers, mass, min_mass)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(lost, np.nan, held[:, 0] / mass), status


def one_line(error: str | None, limit: int = 200) -> str:
    """Return an engine's error as one short line."""
    return " ".join((error or "no reason given").split())[:limit]
