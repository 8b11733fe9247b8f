"""What became of the replies of a stage's engine, and in words why those of no use are of none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from curate.methods.order import wilson
from curate.stages.calls import REPLIES, TOO_LONG

UNUSABLE = 0.20  # of the replies of a stage's engine; beyond it people are told

_USED = ("ok", "not_applicable")
_NAMED = 0.10  # of those of no use are so for a reason that is named
_SHOWN = "`curate show {run} --id ID` has a row's prompts and replies"
_WHY = {
    "parse_error": (
        "could not be read",
        f"{_SHOWN}; `structured: true` holds an engine to the form, and a stronger model keeps to "
        "it by itself; one that thinks first cannot have its probabilities read (see "
        "`chat_template_kwargs`)",
    ),
    "contradiction": (
        "speak for the rejected answer",
        "If the labels are right the writer is too weak; if not, have the pairs judged",
    ),
    "truncated": (
        "were cut off",
        "Raise `sampling.max_tokens`, or set `longest_text` where the form is JSON",
    ),
    "refused": ("are refusals", "Ask another model, or leave out the prompts that it refuses"),
    "empty": ("are empty", f"{_SHOWN}; the model may need another template or more tokens"),
    TOO_LONG: (
        "came to nothing as the prompt did not fit the model's window",
        "Raise `max_model_len`, or shorten what is shown",
    ),
    "api_error": (
        "are calls that failed",
        "Mend the engine; a smaller `max_error_rate` stops a run before such a shard is kept",
    ),
}
_OTHER = ("were of no use for another reason", _SHOWN)


class Replies(NamedTuple):
    """How many replies a stage had from its engine, and how many of no use for which reason."""

    total: int
    lost: dict[str, int]

    @property
    def unusable(self) -> int:
        """How many are of no use."""
        return sum(self.lost.values())

    @property
    def too_few(self) -> bool:
        """Whether more than `UNUSABLE` are of no use, by the whole 95 % interval of that share."""
        return wilson(self.unusable / self.total, self.total)[0] > UNUSABLE


def replies(counts: Mapping[str, int]) -> Replies | None:
    """Return what a step's counters say of its replies, or None for a step that asked nobody.

    A stage that does not count its replies may still have counted its calls and what failed.
    """
    found = {n.removeprefix(REPLIES): k for n, k in counts.items() if n.startswith(REPLIES)}
    if not found:
        failed = {"api_error": counts.get("errors", 0), TOO_LONG: counts.get(TOO_LONG, 0)}
        found = {"ok": counts.get("calls", 0) - sum(failed.values()), **failed}
    total = sum(found.values())
    lost = {reason: n for reason, n in found.items() if n and reason not in _USED}
    return Replies(total, lost) if total > 0 else None


def fault(reason: str) -> str:
    """Return what is wrong with replies that are of no use for a reason: "could not be read"."""
    return _WHY.get(reason, _OTHER)[0]


def in_words(found: Replies, run: str) -> str:
    """Return how many replies of a run are of no use, why most are, and what to do about these."""
    total, lost = found.total, found.unusable
    how_many = f"all {total:,}" if lost == total else f"{lost:,} of {total:,}"
    named = sorted(found.lost, key=lambda reason: (-found.lost[reason], reason))
    if len(named) == 1:
        why = f"they {fault(named[0])}"
    else:
        often = [reason for reason in named if found.lost[reason] >= _NAMED * lost]
        why = ", ".join(f"{found.lost[reason]:,} {fault(reason)}" for reason in often)
    share = f" ({lost / total:.0%})" if lost < total else ""
    remedy = _WHY.get(named[0], _OTHER)[1].replace("{run}", run)
    return f"{how_many} replies{share} are of no use: {why}. {remedy}"
