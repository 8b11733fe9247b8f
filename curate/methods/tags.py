"""Tags of texts: read from a model's answer, made one where they mean the same, covered by few.

Tags lie flat here: entry k says that row `row[k]` has tag `tag[k]`, a number. Rows ascend, and
none has a tag twice.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

import numpy as np

from curate.arrays import Ints, places_of, starts_of
from curate.methods.answers import json_object, unfenced
from curate.schema import JudgmentStatus

LONGEST = 80  # characters; what is longer is a sentence and no tag
_APART = re.compile(r"[^\w+#]+|_+")  # C++ and C# are not C
_PAIRS = 1 << 22  # pairs of tags that are counted at a time


def read_tags(
    text: str, most: int, choices: Mapping[str, str] | None = None
) -> tuple[list[str] | None, JudgmentStatus]:
    """Read a JSON object {"tags": [...]} that is the whole answer; no tag at all is an answer too.

    At most the first `most` are read, each once, without outer and doubled white space. What has
    no letter or digit is no tag, and a list of nothing else (small models copy the form's dots)
    is a `parse_error`. So are tags that are no text or longer than 80 characters, and with
    `choices`, which maps each folded name to the name, any other tag.
    """
    found, status = json_object(unfenced(text))
    if found is None:
        return None, status
    listed = found.get("tags")
    if not isinstance(listed, list) or not all(isinstance(tag, str) for tag in listed):
        return None, "parse_error"
    tags = [" ".join(one.split()) for one in listed if any(map(str.isalnum, one))]
    if listed and not tags:
        return None, "parse_error"
    if choices is not None:
        if any(folded(tag) not in choices for tag in tags):
            return None, "parse_error"
        tags = [choices[folded(tag)] for tag in tags]
    if any(len(tag) > LONGEST for tag in tags):
        return None, "parse_error"
    return list(dict.fromkeys(tags))[:most], "ok"


def folded(tag: str) -> str:
    """Return the tag in lower case, with words apart by one space and no other signs than + and #.

    The rule aggregation of InsTag (Lu et al. 2024) without its stemming; "" where nothing is left.
    """
    plain = unicodedata.normalize("NFKC", tag).casefold()
    plain = _APART.sub(" ", plain).strip()
    return plain if any(map(str.isalnum, plain)) else ""


def once_each(row: Ints, tag: Ints) -> tuple[Ints, Ints]:
    """Return the entries (n) in order, without those of tag -1 and without a row's repetitions."""
    there = tag >= 0
    row, tag = row[there], tag[there]
    both = row * (int(tag.max(initial=0)) + 1) + tag
    first = np.sort(np.unique(both, return_index=True)[1])
    return row[first], tag[first]


def rows_of(tag: Ints, tags: int) -> Ints:
    """Return in how many rows each of `tags` tags is (tags)."""
    return np.bincount(tag, minlength=tags)


def associated(row: Ints, tag: Ints, tags: int, support: int, confidence: float) -> Ints:
    """Return the tag that each tag (tags) always comes with and should become; else itself.

    A tag in `support` rows or more joins the tag that most of these rows have too, if that is a
    share of `confidence` or more of them (the association rules of InsTag, with one tag on each
    side). Of two that always come together the one in more rows stays, then the first.
    """
    held = rows_of(tag, tags)
    pair, both = _together(row, tag, tags)
    a, b = pair // tags, pair % tags
    better = (held[b] > held[a]) | ((held[b] == held[a]) & (b < a))
    use = better & (held[a] >= support) & (both >= confidence * held[a])
    a, b, both = a[use], b[use], both[use]
    order = np.lexsort((b, -held[b], -both, a))
    first = order[np.flatnonzero(np.diff(a[order], prepend=-1))]
    target = np.arange(tags)
    target[a[first]] = b[first]
    while (target[target] != target).any():  # the way up ends: `better` is an order
        target = target[target]
    return target


def _together(row: Ints, tag: Ints, tags: int) -> tuple[Ints, Ints]:
    """Return a * tags + b for all tags a != b that share rows, and how many rows they share."""
    sizes = np.bincount(row) if len(row) else np.zeros(0, dtype=np.int64)
    starts = starts_of(sizes)
    ends = np.cumsum(sizes[row])
    seen: list[tuple[Ints, Ints]] = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))]
    begin = 0
    while begin < len(row):
        before = int(ends[begin] - sizes[row[begin]])
        stop = max(begin + 1, int(np.searchsorted(ends, before + _PAIRS, side="right")))
        count = sizes[row[begin:stop]]
        left = np.repeat(np.arange(begin, stop), count)
        local = places_of(count)
        right = starts[row[left]] + local
        apart = left != right
        code = tag[left[apart]] * tags + tag[right[apart]]
        seen.append(np.unique(code, return_counts=True))
        begin = stop
    pair, where = np.unique(np.concatenate([code for code, _ in seen]), return_inverse=True)
    count = np.bincount(where, np.concatenate([n for _, n in seen]), len(pair))
    return pair, count.astype(np.int64)


def covering_rounds(order: Ints, row: Ints, tag: Ints, rows: int) -> Ints:
    """Return the round (rows) in which each row is taken; -1 where it has no tag.

    Complexity-first diverse sampling of InsTag (Lu et al. 2024): rows are gone through in `order`
    and taken if they have a tag that no row of this round has; when all were gone through, another
    round begins with the rest. All rounds at once: the rounds that hold a tag are always the first
    ones, so a row goes into the first round that lacks one of its tags.
    """
    taken = np.full(rows, -1, dtype=np.int64)
    sizes = np.bincount(row, minlength=rows)
    ends = np.cumsum(sizes).tolist()
    listed, full = tag.tolist(), [0] * (int(tag.max(initial=-1)) + 1)
    for one in order[sizes[order] > 0].tolist():
        own = listed[ends[one] - int(sizes[one]) : ends[one]]
        turn = min(full[k] for k in own)
        taken[one] = turn
        for k in own:
            if full[k] == turn:
                full[k] = turn + 1
    return taken
