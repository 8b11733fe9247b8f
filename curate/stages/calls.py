"""What the stages that call an engine share: sampling defaults, the error budget, fencing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pydantic import BeforeValidator, Field

from curate.arrays import (
    Column,
    flat,
    hexadecimal,
    join_texts,
    large,
    lengths,
    lists,
    map_distinct,
    mix,
    owners,
    take_rows,
)
from curate.engines.contract import Completions, Engine, Requests, Sampling
from curate.errors import StageError
from curate.methods.answers import Reading
from curate.prompts import load_template
from curate.stage import Context
from curate.stages.steering import steering_signs


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

    texts: pa.Array  # large_string
    row: npt.NDArray[np.int64]  # the row each belongs to
    place: npt.NDArray[np.int64]  # its index within its row's candidates
    counts: npt.NDArray[np.int64]  # live candidates of each row


def live_candidates(candidates: Column) -> LiveCandidates:
    """Return the candidates that may still be used; a null text reads as empty."""
    counts = lengths(candidates)
    row, place = within(counts)
    live = flat(candidates, "drop").is_null()
    texts, kept = candidate_texts(candidates), live.to_numpy(zero_copy_only=False)
    if not kept.all():
        texts, row, place = texts.filter(live), row[kept], place[kept]
    return LiveCandidates(texts, row, place, np.bincount(row, minlength=len(counts)))


def candidate_texts(candidates: Column) -> pa.Array:
    """Return all candidates' texts as large_string, dropped ones included; null reads as ""."""
    return pc.fill_null(large(flat(candidates, "text")), "")


class LivePairs(NamedTuple):
    """The pairs without a drop reason, flattened in row order."""

    row: npt.NDArray[np.int64]  # the row each belongs to
    place: npt.NDArray[np.int64]  # its index among all rows' pairs
    chosen: npt.NDArray[np.int64]
    rejected: npt.NDArray[np.int64]


def live_pairs(pairs: Column) -> LivePairs:
    """Return the pairs that may still be used."""
    keep = np.flatnonzero(flat(pairs, "drop").is_null().to_numpy(zero_copy_only=False))
    chosen, rejected = (
        flat(pairs, name).take(pa.array(keep)).to_numpy().astype(np.int64)
        for name in ("chosen", "rejected")
    )
    return LivePairs(owners(lengths(pairs))[keep], keep, chosen, rejected)


def within(
    counts: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return, for each flattened value, its row and its index within that row's list."""
    row = np.repeat(np.arange(len(counts)), counts)
    starts = np.cumsum(counts) - counts
    return row, np.arange(len(row)) - np.repeat(starts, counts)


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


def count_steering(ctx: Context, texts: pa.Array) -> None:
    """Count the answers that show signs of steering their judge, for the part's record."""
    signs = steering_signs(texts)
    ctx.counts["suspicious"] += int(np.logical_or.reduce(list(signs.values())).sum())
    for reason, shown in signs.items():
        if shown.any():
            ctx.counts[f"suspicious: {reason}"] += int(shown.sum())


def one_line(error: str | None, limit: int = 200) -> str:
    """Return an engine's error as one short line."""
    return " ".join((error or "no reason given").split())[:limit]


def fenced(texts: pa.Array, tag: str, seeds: npt.NDArray[np.uint64]) -> pa.Array:
    """Put each text between tags that it cannot close itself; null stays null.

    A tag ends in 16 hex digits that do not occur in the text. They are drawn by the row's seed,
    and drawn again where the text holds them, as one that knows the seed can make it.
    """
    texts = large(texts)
    start = mix(seeds, xxhash.xxh3_64_intdigest(tag.encode()))
    codes, attempt = start.copy(), 0
    held = np.arange(len(texts))
    while len(held := held[_holding(take_rows(texts, held), codes[held])]):
        attempt += 1
        codes[held] = mix(start[held], attempt)
    code = hexadecimal(codes)
    return join_texts(f"<{tag}-", code, ">\n", texts, f"\n</{tag}-", code, ">")


def _holding(texts: pa.Array, codes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Return which texts hold the digits of the code beside them."""
    import polars as pl  # Arrow's search takes one pattern for all rows

    both = pl.DataFrame({"text": texts, "code": hexadecimal(codes)})
    found = both.select(pl.col("text").str.contains(pl.col("code"), literal=True)).to_series()
    return np.asarray(pc.fill_null(found.to_arrow(), False), dtype=bool)


def shown_answers(
    candidates: Column,
    row: npt.NDArray[np.int64],
    place: npt.NDArray[np.int64],
    seeds: npt.NDArray[np.uint64],
) -> pa.Array:
    """Return the fenced text of candidate `place[i]` of row `row[i]`."""
    where = _flat_place(candidates, row, place)
    return fenced(candidate_texts(candidates).take(where), "answer", mix(seeds[row], place))


def text_lengths(
    candidates: Column, row: npt.NDArray[np.int64], place: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return how many characters candidate `place[i]` of row `row[i]` has."""
    sizes = pc.utf8_length(candidate_texts(candidates)).take(_flat_place(candidates, row, place))
    return np.asarray(sizes, dtype=np.int64)


def _flat_place(
    candidates: Column, row: npt.NDArray[np.int64], place: npt.NDArray[np.int64]
) -> pa.Array:
    counts = lengths(candidates)
    return pa.array((np.cumsum(counts) - counts)[row] + place)


def transcripts(prompts: Column) -> pa.Array:
    """Return each conversation as one text: a lone user turn as it is, others with their roles."""
    counts, roles = lengths(prompts), large(flat(prompts, "role"))
    contents = pc.fill_null(large(flat(prompts, "content")), "")
    alone = np.zeros(len(counts), dtype=bool)
    alone[counts == 1] = pc.equal(roles, "user").to_numpy(zero_copy_only=False)[
        (np.cumsum(counts) - counts)[counts == 1]
    ]
    if alone.all():
        return contents
    named = join_texts("[", roles, "]\n", contents)
    own = pa.array(np.repeat(alone, counts))
    return paragraphs(counts, pc.if_else(own, contents, named))


def paragraphs(counts: npt.NDArray[np.int64], texts: pa.Array) -> pa.Array:
    """Join `counts[i]` texts (large_string) each into one, with an empty line between them."""
    return pc.binary_join(lists(counts, texts), pa.scalar("\n\n", pa.large_string()))


def material(
    view: pa.Table,
    rows: npt.NDArray[np.int64],
    seeds: npt.NDArray[np.uint64],
    use_reference: bool,
) -> dict[str, str | pa.Array]:
    """Return what every judge is shown of row `rows[i]`: the fenced `prompt` and `reference`.

    `seeds` holds one seed a row of the view. The reference is "" where there is none.
    """
    prompt = fenced(transcripts(view["prompt"]), "conversation", seeds)
    shown: dict[str, str | pa.Array] = {"prompt": take_rows(prompt, rows)}
    if not use_reference or "reference" not in view.column_names:
        return shown | {"reference": ""}
    text = fenced(large(view["reference"]), "reference", seeds)
    filled = load_template("judge_reference").column(reference=text)
    return shown | {"reference": take_rows(pc.fill_null(join_texts("\n", filled, "\n"), ""), rows)}
