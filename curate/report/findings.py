"""What to look at first: the few things on a page that would spoil a training set, in words.

Each rule has a threshold, which the page states; a share counts only where its whole 95 % interval
lies beyond it, so that chance in a small run raises nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from curate.engines.served import mixed_models
from curate.replies import UNUSABLE, fault, in_words
from curate.report.words import two_digits

LONGER = 0.60  # of the pairs have the longer answer chosen
FIRST = 0.60  # of a judge's verdicts go to one place
CONSISTENT = 0.70  # of a judge's comparisons, asked in both orders, come out the same
UNREADABLE = 0.05  # of a judge's judgments have no score
AGREEMENT = 0.20  # kappa of two judges
COMPARED = 30  # comparisons of two judges from which on their kappa counts
UNLIKE = 2.0  # times as far as another's do one judge's scores spread
WINS = 0.80  # of a model's pairs against others are won
PROPERTY = 0.65  # of the pairs that differ have more of a property in the chosen answer
LOST = 0.50  # of a stage's rows are dropped there
FAILED = 0.01  # of a stage's rows fail there
COPIES = 0.10  # of the rows are copies of others
CIRCLES = 0.05  # of prompts have preferences that go in a circle
NOISE = 0.20  # of the labels are wrong by their own p_correct
CUT = 0.05  # of the answers are cut off at a length limit
CALIBRATION = 0.05  # p_correct is off, on average, beyond what chance would show

RULES = (
    f"a stage drops more than {LOST:.0%} of its rows, or fails on more than {FAILED:.0%}",
    f"more than {UNUSABLE:.0%} of the replies that a stage had from its engine are of no use: not "
    "read, cut off, refused, or calls that failed",
    "a server answered as one model and then as another",
    f"more than {COPIES:.0%} of the rows were copies; any row held a benchmark's items",
    f"more than {CUT:.0%} of the answers are cut off",
    f"the chosen answer is the longer (or the shorter) one in more than {LONGER:.0%} of the pairs",
    f"another property is higher in the chosen answer in more than {PROPERTY:.0%} of the pairs "
    "that differ in it, or lower",
    f"a judge takes one place in more than {FIRST:.0%} of its verdicts, says the same in both "
    f"orders less than {CONSISTENT:.0%} of the time, or leaves more than {UNREADABLE:.0%} of its "
    "judgments without a score",
    "a judge prefers its own model's answers beyond what the others do",
    f"two judges agree with a kappa below {AGREEMENT:.2f} (from {COMPARED} comparisons on)",
    f"`combine` has no `scale`, and the scores of one of its judges spread more than {UNLIKE:g} "
    "times as far as another's",
    f"a model wins more than {WINS:.0%} of its pairs",
    f"more than {CIRCLES:.0%} of the prompts have preferences in a circle",
    f"more than {NOISE:.0%} of the labels are wrong by their own p_correct, or p_correct is off by "
    f"{CALIBRATION:.2f} more than chance explains",
)
"""The thresholds in words. Shares count where their whole 95 % interval lies beyond."""


class Finding(NamedTuple):
    """One sentence, and the section of the page that has the numbers."""

    section: str
    text: str


def findings(facts: Mapping[str, Any]) -> list[Finding]:
    """Return what is beyond a threshold, in the order of the page."""
    rules = (
        _replies, _engines, _rows, _answers, _judges, _scales, _agreement, _models, _preferences,
        _labels,
    )  # fmt: skip
    return [finding for rule in rules for finding in rule(facts)]


def _bad_replies(facts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the steps of whose replies too many are of no use."""
    return [s for s in facts["funnel"] if s["replies"] and s["replies"].too_few]


def _replies(facts: Mapping[str, Any]) -> Iterator[Finding]:
    for step in _bad_replies(facts):
        about = f" ({step['about']})" if step["about"] else ""
        words = in_words(step["replies"], facts["name"])
        yield Finding("counted", f"of the stage {step['name']}{about} {words}")


def _engines(facts: Mapping[str, Any]) -> Iterator[Finding]:
    for text in mixed_models(facts["engines"]):
        yield Finding("cost", text)


def _rows(facts: Mapping[str, Any]) -> Iterator[Finding]:
    steps: Sequence[Mapping[str, Any]] = facts["funnel"]
    for step in steps:
        size = step["rows_in"]
        gone, failed = (sum(step[name].values()) for name in ("dropped", "failed"))
        if size and gone / size > LOST:
            yield Finding(
                "funnel", f"the stage {step['stage']} drops {gone / size:.0%} of its rows"
            )
        if size and failed / size > FAILED:
            yield Finding("funnel", f"{failed:,} rows failed in {step['stage']}")
    first = steps[0]["rows_in"] if steps else 0
    copies = sum(row["rows"] for row in facts["removed"]["duplicates"])
    if first and copies / first > COPIES:
        yield Finding(
            "removed", f"{copies / first:.0%} of the rows were copies of others, and were dropped"
        )
    held = [(b["name"], b["rows"]) for row in facts["removed"]["contamination"]
            for b in row["benchmarks"] if b["rows"]]  # fmt: skip
    if held:
        names = ", ".join(f"{name} ({rows:,} rows)" for name, rows in held)
        yield Finding("removed", f"rows held items of benchmarks, and were dropped: {names}")


def _answers(facts: Mapping[str, Any]) -> Iterator[Finding]:
    cut = facts["summary"]["cut"]
    if cut and cut["low"] > CUT:
        yield Finding("spreads", f"{cut['share']:.0%} of the answers are cut off at a length limit")


def _judges(facts: Mapping[str, Any]) -> Iterator[Finding]:
    said = {name for step in _bad_replies(facts) for name in step["judges"]}  # by `_replies`
    for row in facts["summary"]["judges"]:
        for section, text in _of_judge(row, replies=row["judge"] not in said):
            yield Finding(section, f"the judge {row['judge']} {text}")


def _of_judge(row: Mapping[str, Any], replies: bool) -> Iterator[tuple[str, str]]:
    first, same, own = row["first"], row["consistent"], row.get("own")
    lost = [(status, n) for status, n in row["statuses"].items() if status != "ok"]
    unread = sum(n for _, n in lost) / row["judgments"]
    if replies and unread > UNREADABLE:
        most = fault(max(lost, key=lambda found: found[1])[0])
        yield "judges", f"leaves {unread:.0%} of its judgments without a score: most {most}"
    if first and first["low"] > FIRST:
        yield "judges", f"takes the answer shown first in {first['share']:.0%} of its verdicts"
    elif first and first["high"] < 1 - FIRST:
        yield "judges", f"takes the answer shown second in {1 - first['share']:.0%} of its verdicts"
    if same and same["high"] < CONSISTENT:
        yield "judges", f"says the same in both orders in only {same['share']:.0%} of comparisons"
    if isinstance(own, Mapping) and own["excess"] and own["excess"]["low"] > 0:
        points = 100 * own["excess"]["value"]
        yield "leanings", f"prefers its own model's answers by {points:.0f} points more than others"


def _scales(facts: Mapping[str, Any]) -> Iterator[Finding]:
    """Say of each `combine` that pools scores as they are where one judge would outweigh others."""
    marks = {row["judge"]: row["marks"] for row in facts["summary"]["judges"]}
    spread = {n: m["deviation"] for n, m in marks.items() if m and m["n"] >= COMPARED}
    for stage in facts["stages"]:
        if stage["kind"] != "combine" or {"scale", "transform", "weights"} & stage.keys():
            continue
        of = [name for name in stage.get("judges", spread) if spread.get(name)]
        far, near = (pick(of, key=spread.__getitem__, default="") for pick in (max, min))
        if of and spread[far] > UNLIKE * spread[near]:
            spreads = " and ".join(f"{name} by {two_digits(spread[name])}" for name in (far, near))
            words = "the first counts more in every score, unless `combine` has a `scale`"
            yield Finding("judges", f"judges' scores spread unlike, {spreads}: {words}")


def _agreement(facts: Mapping[str, Any]) -> Iterator[Finding]:
    for row in facts["leanings"]["agreement"]:
        if row["n"] >= COMPARED and row["kappa"] is not None and row["kappa"] < AGREEMENT:
            one, two = row["judges"]
            kappa = two_digits(row["kappa"])
            words = f"the judges {one} and {two} hardly agree beyond chance (kappa {kappa})"
            yield Finding("agreement", words)


def _models(facts: Mapping[str, Any]) -> Iterator[Finding]:
    for row in facts["summary"]["models"]:
        if row["low"] > WINS:
            wins = f"the model {row['model']} wins {row['share']:.0%} of its pairs"
            yield Finding("models", f"{wins}: the set may teach its style rather than quality")


def _preferences(facts: Mapping[str, Any]) -> Iterator[Finding]:
    longer, audit = facts["summary"]["longer"], facts["audit"]
    if longer and longer["low"] > LONGER:
        words = f"the chosen answer is the longer one in {longer['share']:.0%} of the pairs"
        yield Finding("spreads", words)
    elif longer and longer["high"] < 1 - LONGER:
        words = f"the chosen answer is the shorter one in {1 - longer['share']:.0%} of the pairs"
        yield Finding("spreads", words)
    if not audit:
        return
    for row in audit["properties"]:
        if row["property"] == "words" or not row.get("share_leans"):
            continue
        share = row["more_chosen"]
        for word, value, low in (
            ("more", share["share"], share["low"]),
            ("less", 1 - share["share"], 1 - share["high"]),
        ):
            if low > PROPERTY:
                yield Finding(
                    "audit", f"the chosen answer has {word} of “{row['property']}” in {value:.0%} "
                    "of the pairs that differ in it",
                )  # fmt: skip
    for name, what in (("circles", "pairs"), ("verdict_circles", "verdicts")):
        found = audit[name]
        if found and found["with_circle"] / found["prompts"] > CIRCLES:
            share = found["with_circle"] / found["prompts"]
            yield Finding("audit", f"{share:.0%} of the prompts have {what} that go in a circle")


def _labels(facts: Mapping[str, Any]) -> Iterator[Finding]:
    chance, held = facts["summary"]["spreads"].get("p_correct"), facts["calibration"]
    if chance and 1 - chance["mean"] > NOISE:
        yield Finding(
            "spreads", f"by their own p_correct, {1 - chance['mean']:.0%} of the labels are wrong"
        )
    if held and "ece" in held and held["ece"] - held["ece_by_chance"] > CALIBRATION:
        yield Finding("calibration", f"p_correct is off by {held['ece']:.2f} on average")


__all__ = ["RULES", "Finding", "findings"]
