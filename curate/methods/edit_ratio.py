"""How much of two texts is the same, character by character, and which pairs hardly differ.

The ratio is 2 * L / (a + b), where a and b count the characters and L those of the longest common
subsequence: 1 for equal texts, 0 for texts without a common character. It is exact, but costs
a * b, so pairs that cannot reach what is asked for are told by their lengths and their runs of
four characters first, what two texts begin and end with alike is taken off, and a few edits are
stepped over.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.arrays import Bools, Ints

LONGEST = 50_000  # characters that are left of a text: some 0.1 s a pair
_GRAM = 4  # characters
_BUCKETS = 4096
_ANCHOR, _NEARBY = 8, 64  # characters
_CHECKED = 256  # characters from which the runs are counted: below, the ratio is as cheap


def edit_ratio(one: str, two: str) -> float:
    """Return the ratio of two texts, from 0 to 1; 1 for two empty ones."""
    size = len(one) + len(two)
    return 2.0 * _common(one, two) / size if size else 1.0


def above_ratio(one: pa.Array, two: pa.Array, ratio: float, length: list[Ints]) -> Bools:
    """Return (n,) where the edit ratio of two texts that differ is above `ratio`.

    `length` holds the characters of `one` and of `two` (n each). Where more than LONGEST
    characters are left of a text without the common beginning and end, nothing is said of it.
    """
    total, least = length[0] + length[1], 2 * np.minimum(length[0], length[1])
    mask = np.zeros(len(total), dtype=bool)
    for at in np.flatnonzero((total > 0) & (least > ratio * total)).tolist():
        a, b = one[at].as_py(), two[at].as_py()
        if a != b:
            mask[at] = _is_above(a, b, ratio)
    return mask


def _is_above(one: str, two: str, ratio: float) -> bool:
    size = len(one) + len(two)
    same = _shared_start(one, two)
    one, two = one[same:], two[same:]
    end = _shared_start(one[::-1], two[::-1])
    one, two = one[: len(one) - end], two[: len(two) - end]
    same += end
    needed = ratio * size / 2 - same  # of the common subsequence of what is left
    if min(len(one), len(two)) <= needed or max(len(one), len(two)) > LONGEST:
        return False
    if needed < 0:
        return True
    if max(len(one), len(two)) > _CHECKED and not _may_share(one, two, needed):
        return False
    return _in_step(one, two) > needed or _common(one, two) > needed


def _in_step(one: str, two: str) -> int:
    """Return the characters of a common subsequence: a quick lower bound where edits are few.

    Where the texts part, both go on from the next few characters of `one` that `two` has nearby.
    """
    common = i = j = 0
    while i < len(one) and j < len(two):
        same = _shared_start(one[i:], two[j:])
        common, i, j = common + same, i + same, j + same
        for skipped in range(_NEARBY):
            found = two.find(one[i + skipped : i + skipped + _ANCHOR], j, j + 2 * _NEARBY)
            if found >= 0 and i + skipped + _ANCHOR <= len(one):
                i, j = i + skipped, found
                break
        else:
            break
    return common


def _may_share(one: str, two: str, needed: float) -> bool:
    """Whether the runs of four characters allow a common subsequence of more than `needed`.

    Each character that is not in it spoils at most four runs of its own text, and three of the
    other, which it stands between; the rest of the runs are in both. Buckets that several runs
    share only make the texts seem more alike.
    """
    shared = int(np.minimum(_grams(one), _grams(two)).sum())
    longer, shorter = max(len(one), len(two)), min(len(one), len(two))
    spoilt = _GRAM * (longer - needed) + (_GRAM - 1) * (shorter - needed)
    return longer - _GRAM + 1 - spoilt <= shared


def _grams(text: str) -> npt.NDArray[np.int64]:
    """Return how many runs of four characters lie in each of some buckets."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    runs = codes[: len(codes) - _GRAM + 1].astype(np.uint64)
    for step in range(1, _GRAM):
        runs = runs * np.uint64(1_000_003) + codes[step : len(codes) - _GRAM + 1 + step]
    runs *= np.uint64(0x9E3779B97F4A7C15)
    return np.bincount((runs >> np.uint64(52)).astype(np.int64), minlength=_BUCKETS)


def _shared_start(one: str, two: str) -> int:
    """Return how many characters two texts begin with alike, by halving."""
    low, high = 0, min(len(one), len(two))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == two[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _common(one: str, two: str) -> int:
    """Return the length of the longest common subsequence (bits as in Hyyro 2004).

    Bit i of `left` is 0 where the length for the first i + 1 characters of `one` goes up by one;
    a step of `two` moves all of them at once, in the integers of any size that Python has.
    """
    where: dict[str, int] = {}
    for place, letter in enumerate(one):
        where[letter] = where.get(letter, 0) | (1 << place)
    every = (1 << len(one)) - 1
    left = every
    for letter in two:
        hit = left & where.get(letter, 0)
        left = ((left + hit) | (left - hit)) & every
    return len(one) - left.bit_count()
