"""Which of two answers people's labels call the better one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from curate.errors import InputError
from curate.sources.values import Raw, get, judgment, number_in

TIE = "label is a tie"
OPEN = "label is open: as many labels say something else"
UNREAD = "label cannot be read"


class Verdict(NamedTuple):
    """What each label says: 1 the first answer, -1 the second, 0 a tie, None nothing; and all."""

    votes: dict[str, float | None]
    second: bool = False  # whether the second answer is the better one
    reason: str | None = None  # why neither is

    def judgments(self, at: Sequence[int]) -> list[dict[str, Any]]:
        """Return each label as a judge's comparison of the candidates `at`."""
        return [judgment(n, at[0], vote) | {"b": at[1]} for n, vote in self.votes.items()]


def _vote(row: Raw, name: str, meant: Mapping[str, str]) -> float | None:
    from curate.methods.evidence import VERDICTS  # brings what sources without labels do not need

    value = get(row, name)
    said = str(value).strip().lower()
    if meant:
        whole = isinstance(value, float) and value.is_integer()
        return VERDICTS.get(meant.get(str(int(value)) if whole else said, ""))
    if said in ("true", "false") or number_in(said) is not None:
        raise InputError(
            f"{row.where}: column {name!r}: a label is a, b or tie, not {said[:20]}, since sets "
            "number their answers from 0, from 1 or by strength; say in `verdicts` what each "
            "means, as in {1: a, 2: b, 0: tie}"
        )
    return VERDICTS.get(said)


def verdict(row: Raw, names: Sequence[str], meant: Mapping[str, str]) -> Verdict:
    """Return what the columns `names` say together: what most of those that can be read say.

    `meant` says what their values mean, "a", "b" or "tie"; where it is empty they say it. Raises
    InputError for a number then: 1 is the first answer of one set and the second of another.
    """
    if not names:
        return Verdict({})
    meant = {value.strip().lower(): side for value, side in meant.items()}
    votes = {name: _vote(row, name, meant) for name in names}
    counts = Counter(vote for vote in votes.values() if vote is not None).most_common()
    if not counts:
        return Verdict(votes, reason=UNREAD)
    if len(counts) > 1 and counts[0][1] == counts[1][1]:
        return Verdict(votes, reason=OPEN)
    return Verdict(votes, second=counts[0][0] < 0, reason=None if counts[0][0] else TIE)
