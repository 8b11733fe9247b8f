"""What a judge is shown of a row: texts in fences that they cannot close, and their material."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from curate.arrays import (
    Column,
    Pieces,
    flat,
    hexadecimal,
    join_texts,
    large,
    lengths,
    lists,
    load_polars,
    mix,
    starts_of,
    take_rows,
)
from curate.methods.judgments import true
from curate.prompts import Shown, load_template
from curate.stage import Context
from curate.stages.live import candidate_texts, flat_place
from curate.stages.steering import steering_signs

_DIGITS = 16  # of a fence's code


def count_steering(ctx: Context, texts: pa.Array) -> None:
    """Count the answers that show signs of steering their judge, for the part's record."""
    signs = steering_signs(texts)
    ctx.counts["suspicious"] += int(np.logical_or.reduce(list(signs.values())).sum())
    for reason, shown in signs.items():
        if shown.any():
            ctx.counts[f"suspicious: {reason}"] += int(shown.sum())


def fenced(texts: pa.Array, tag: str, seeds: npt.NDArray[np.uint64]) -> Pieces:
    """Put each text between tags that it cannot close itself; null stays null.

    A tag ends in 16 hex digits that do not occur in the text. They are drawn by the row's seed,
    and drawn again where the text holds them, as one that knows the seed can make it.
    """
    texts = large(texts)
    start = mix(seeds, xxhash.xxh3_64_intdigest(tag.encode()))
    codes, attempt = start.copy(), 0
    code = hexadecimal(codes)
    held = np.flatnonzero(true(pc.greater_equal(pc.binary_length(texts), _DIGITS)))
    while len(held := held[_holding(take_rows(texts, held), take_rows(code, held))]):
        attempt += 1
        codes[held] = mix(start[held], attempt)
        code = hexadecimal(codes)
    return Pieces((f"<{tag}-", code, ">\n", texts, f"\n</{tag}-", code, ">"))


def _holding(texts: pa.Array, codes: pa.Array) -> npt.NDArray[np.bool_]:
    """Return which texts hold the code beside them."""
    if not len(texts):
        return np.zeros(0, dtype=bool)
    pl = load_polars()  # Arrow's search takes one pattern for all rows
    both = pl.DataFrame({"text": texts, "code": codes})
    found = both.select(pl.col("text").str.contains(pl.col("code"), literal=True)).to_series()
    return true(found.to_arrow())


def shown_answers(
    candidates: Column,
    row: npt.NDArray[np.int64],
    place: npt.NDArray[np.int64],
    seeds: npt.NDArray[np.uint64],
) -> Pieces:
    """Return the fenced text of candidate `place[i]` of row `row[i]`."""
    where = flat_place(candidates, row, place)
    return fenced(candidate_texts(candidates).take(where), "answer", mix(seeds[row], place))


def transcripts(prompts: Column) -> pa.Array:
    """Return each conversation as one text: a lone user turn as it is, others with their roles."""
    counts, roles = lengths(prompts), large(flat(prompts, "role"))
    contents = pc.fill_null(large(flat(prompts, "content")), "")
    alone = np.zeros(len(counts), dtype=bool)
    alone[counts == 1] = pc.equal(roles, "user").to_numpy(zero_copy_only=False)[
        starts_of(counts)[counts == 1]
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
) -> dict[str, Shown]:
    """Return what every judge is shown of row `rows[i]`: the fenced `prompt` and `reference`.

    `seeds` holds one seed a row of the view. The reference is "" where there is none.
    """
    prompt = fenced(transcripts(view["prompt"]), "conversation", seeds)
    shown: dict[str, Shown] = {"prompt": prompt.take(rows)}
    if not use_reference or "reference" not in view.column_names:
        return shown | {"reference": ""}
    text = fenced(large(view["reference"]), "reference", seeds)
    filled = load_template("judge_reference").column(reference=text)
    return shown | {"reference": take_rows(pc.fill_null(join_texts("\n", filled, "\n"), ""), rows)}
