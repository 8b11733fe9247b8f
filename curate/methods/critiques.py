"""Whether two critiques of the same answers make the same arguments.

A judge often prefers the right answer for a wrong reason, so the label alone says little about
its critique (RM-NLHF, Wang et al. 2026, arXiv:2601.07349).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from curate.methods.answers import json_object, unfenced
from curate.schema import JudgmentStatus

MOST = 40  # arguments of one critique; what lists more is a runaway and no list of core arguments


def matched(pairs: Iterable[tuple[int, int]]) -> int:
    """Return how many arguments can be matched when each counts once: a largest matching.

    `pairs` holds (argument of the first critique, argument of the second) that say the same.
    """
    of: dict[int, list[int]] = {}
    for first, second in pairs:
        of.setdefault(first, []).append(second)
    partner: dict[int, int] = {}
    return sum(_placed(first, of, partner, set()) for first in of)


def _placed(
    first: int, of: Mapping[int, Sequence[int]], partner: dict[int, int], seen: set[int]
) -> bool:
    """Give `first` a partner, moving others on where that helps; whether it has got one."""
    for second in of[first]:
        if second in seen:
            continue
        seen.add(second)
        if second not in partner or _placed(partner[second], of, partner, seen):
            partner[second] = first
            return True
    return False


def argument_f1(first: int, second: int, same: int) -> float:
    """Return F1 = 2 `same` / (`first` + `second`), for so many arguments and matches of them.

    The harmonic mean of the shares of each critique's arguments that the other one makes too; 0
    where one of the two makes none.
    """
    return 2 * same / (first + second) if first and second else 0.0


def read_f1(text: str) -> tuple[float | None, JudgmentStatus]:
    """Read {"first": [...], "second": [...], "same": [[1, 2], ...]} as the two critiques' F1.

    `same` pairs the arguments' numbers from 1. Two critiques without any argument, a number that
    stands for none, and more than 40 arguments are a `parse_error`.
    """
    found, status = json_object(unfenced(text))
    if found is None:
        return None, status
    sides = [_arguments(found.get(name)) for name in ("first", "second")]
    same = found.get("same")
    if None in sides or sides == [0, 0] or not isinstance(same, list):
        return None, "parse_error"
    first, second = sides[0] or 0, sides[1] or 0
    pairs = [_numbers(one, first, second) for one in same]
    whole = [pair for pair in pairs if pair is not None]
    if len(whole) < len(pairs):
        return None, "parse_error"
    return argument_f1(first, second, matched(whole)), "ok"


def _arguments(given: object) -> int | None:
    """Return how many arguments a list holds, None where it is none."""
    if not isinstance(given, list) or len(given) > MOST:
        return None
    filled = all(isinstance(text, str) and any(map(str.isalnum, text)) for text in given)
    return len(given) if filled else None


def _numbers(given: object, first: int, second: int) -> tuple[int, int] | None:
    if not (isinstance(given, list) and len(given) == 2 and all(type(k) is int for k in given)):
        return None
    return (given[0], given[1]) if 1 <= given[0] <= first and 1 <= given[1] <= second else None
