"""What the stages that call an engine share: sampling defaults, the error budget, readings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BeforeValidator, Field

from curate.arrays import (
    flat,
    lengths,
    map_distinct,
    owners,
)
from curate.engines.contract import Completions, Engine, Requests, Sampling
from curate.errors import StageError
from curate.methods.answers import Reading
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
    sums = (pc.sum(column).as_py() or 0 for column in (answers.prompt_tokens, answers.tokens))
    tally(ctx, len(answers), *sums)
    ctx.counts["cached_tokens"] += answers.cached_tokens
    if lost := pc.sum(pc.equal(answers.status, "api_error")).as_py():
        ctx.counts["errors"] += lost
    check_errors(answers.status, answers.error, max_error_rate, what)
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


def check_errors(statuses: pa.Array, errors: pa.Array, max_error_rate: float, what: str) -> None:
    """Raise StageError where the share of `api_error` is above the budget, naming the errors."""
    reasons = errors.filter(pc.equal(statuses, "api_error"))
    if len(reasons) > max_error_rate * len(statuses):
        common = Counter(map(one_line, reasons.to_pylist())).most_common(3)
        named = "; ".join(f"{n} x {error}" for error, n in common)
        raise StageError(
            f"{what}: {len(reasons)} of {len(statuses)} calls failed ({named}), more than "
            f"max_error_rate {max_error_rate:g}; fix the engine and rerun, or raise max_error_rate"
        )


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
    lost = np.asarray(pc.invert(pc.and_(called, enough)).to_numpy(zero_copy_only=False), dtype=bool)
    return pc.if_else(called, pc.if_else(enough, "ok", "parse_error"), answers.status), lost


def one_line(error: str | None, limit: int = 200) -> str:
    """Return an engine's error as one short line."""
    return " ".join((error or "no reason given").split())[:limit]
