"""What the stages that call an engine share: sampling defaults, the error budget, fencing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash
from pydantic import BeforeValidator, Field

from curate.arrays import flat, lengths
from curate.engines.contract import Completion, Engine, Message, Request, Sampling
from curate.errors import StageError
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


class LiveCandidates(NamedTuple):
    """The candidates without a drop reason, flattened in row order."""

    texts: list[str]
    row: npt.NDArray[np.int64]  # the row each belongs to
    place: npt.NDArray[np.int64]  # its index within its row's candidates
    counts: npt.NDArray[np.int64]  # live candidates of each row


def live_candidates(candidates: pa.Array | pa.ChunkedArray) -> LiveCandidates:
    """Return the candidates that may still be used; a null text reads as empty."""
    counts = lengths(candidates)
    row, index = within(counts)
    keep = np.asarray(flat(candidates, "drop").is_null().to_numpy(zero_copy_only=False), dtype=bool)
    texts = flat(candidates, "text").filter(pa.array(keep)).to_pylist()
    row, index = row[keep], index[keep]
    return LiveCandidates(
        [text or "" for text in texts], row, index, np.bincount(row, minlength=len(counts))
    )


def within(
    counts: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return, for each flattened value, its row and its index within that row's list."""
    row = np.repeat(np.arange(len(counts)), counts)
    starts = np.cumsum(counts) - counts
    return row, np.arange(len(row)) - np.repeat(starts, counts)


def chat(
    engine: Engine, requests: Sequence[Request], ctx: Context, max_error_rate: float, what: str
) -> list[Completion]:
    """Ask the engine, count calls and tokens, and hold the error budget.

    Raises StageError where more than `max_error_rate` of the requests came back as errors.
    """
    if not requests:
        return []
    answers = engine.chat(requests)
    if len(answers) != len(requests):
        raise StageError(f"{what}: {len(answers)} answers to {len(requests)} requests")
    tally(ctx, len(answers), sum(a.prompt_tokens for a in answers), sum(a.tokens for a in answers))
    check_errors(((a.status, a.error) for a in answers), max_error_rate, what)
    return answers


def tally(ctx: Context, calls: int, prompt_tokens: int, tokens: int) -> None:
    """Add to the counters that the part's record keeps."""
    ctx.counts["calls"] += calls
    ctx.counts["prompt_tokens"] += prompt_tokens
    ctx.counts["tokens"] += tokens


def check_errors(
    outcomes: Iterable[tuple[str, str | None]], max_error_rate: float, what: str
) -> None:
    """Raise StageError where the share of `api_error` is above the budget, naming the errors."""
    errors: Counter[str] = Counter()
    total = 0
    for status, error in outcomes:
        total += 1
        if status == "api_error":
            errors[one_line(error)] += 1
    failed = errors.total()
    if failed > max_error_rate * total:
        common = "; ".join(f"{n} x {error}" for error, n in errors.most_common(3))
        raise StageError(
            f"{what}: {failed} of {total} calls failed ({common}), more than "
            f"max_error_rate {max_error_rate:g}; fix the engine and rerun, or raise max_error_rate"
        )


def one_line(error: str | None, limit: int = 200) -> str:
    """Return an engine's error as one short line."""
    return " ".join((error or "no reason given").split())[:limit]


def fenced(text: str, tag: str, seed: int) -> str:
    """Put a text between tags that it cannot close itself.

    The tag holds a hash of the row's seed and of the text, so a text that wants to end its
    fence would have to contain its own hash.
    """
    mark = f"{tag}-{xxhash.xxh3_64_hexdigest(text.encode(), seed)}"
    return f"<{mark}>\n{text}\n</{mark}>"


def transcript(conversation: Sequence[Message]) -> str:
    """Return a conversation as one text: a lone user turn as it is, others with their roles."""
    if len(conversation) == 1 and conversation[0]["role"] == "user":
        return conversation[0]["content"]
    return "\n\n".join(f"[{turn['role']}]\n{turn['content']}" for turn in conversation)


def pair_texts(
    candidates: pa.Array | pa.ChunkedArray,
) -> Iterator[list[str]]:
    """Yield each row's candidate texts, dropped ones included, so that indexes hold."""
    texts = flat(candidates, "text").to_pylist()
    start = 0
    for count in lengths(candidates).tolist():
        yield [text or "" for text in texts[start : start + count]]
        start += count
