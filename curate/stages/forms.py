"""How a judge is asked for its verdict, and how its answer is read: the two must fit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from curate.engines.contract import Schema
from curate.errors import ConfigError
from curate.methods import answers
from curate.methods.answers import Reading
from curate.methods.verdicts import pair_grade, pair_outcome, rubric_score
from curate.prompts import Template, load_template

Comparison = Literal["three", "five", "log_odds"]

_FIRST_WINS: Mapping[str, float] = {"A": 1.0, "B": -1.0, "tie": 0.0}
_FIVE = {"A>>B": 1.0, "A>B": 0.5, "A=B": 0.0, "B>A": -0.5, "B>>A": -1.0}
_UNLESS = (
    f"\nWhere the criterion does not apply to an answer, write {answers.NO_SCORE} in place of N or "
    "of the grade."
)
_FEEDBACK = '"feedback": "your reasons in a few sentences"'


class Form(NamedTuple):
    """One way of asking for a verdict.

    `frame` is the prompt's template and `ending` its last paragraph. `read(text, size)` returns
    the readings of an answer about `size` things (items of a checklist, ranked answers; else 1).
    `schema` holds the engine to a JSON answer. With `choices` the verdict is not read at all:
    the engine continues `prefix`, and the probabilities of the choices as its next token count.
    `listed` names the list in the JSON answer that has an entry for each of the `size` things.
    """

    frame: Template
    ending: str
    read: Callable[[str, int], list[Reading]]
    schema: Schema | None = None
    prefix: str = ""
    choices: tuple[str, ...] = ()
    listed: str = ""

    def of(self, size: int) -> Schema:
        """Return the schema of an answer about `size` things, which are numbered from 1."""
        schema = self.schema or {}
        entries = dict(schema["properties"][self.listed], minItems=size, maxItems=size)
        if entries["items"] == {"type": "integer"}:
            entries["items"] = _whole(1, size)
        return {**schema, "properties": {**schema["properties"], self.listed: entries}}


def score_form(low: int, high: int, structured: bool, may_skip: bool = False) -> Form:
    """Ask for reasons and one score (absolute grading of Prometheus 2, Kim et al. 2024).

    `may_skip` lets the judge write N/A where the criterion does not apply.
    """
    frame, unless = load_template("judge_score"), _UNLESS if may_skip else ""
    if structured:
        ending, schema = _json({"score": _grade(low, high, may_skip)}, '"score": N')
        return Form(
            frame,
            ending + unless,
            lambda t, _: answers.json_scores(t, ["score"], low, high),
            schema,
        )
    ending = load_template("end_score").render() + unless
    if may_skip:
        return Form(frame, ending, lambda t, _: [answers.score_or_not(t, low, high)])
    return Form(frame, ending, lambda t, _: [rubric_score(t, low, high)])


def expected_form(low: int, high: int) -> Form:
    """Ask for the probabilities of the scores (G-Eval, Liu et al. 2023)."""
    # The prefix stands here and not in a template because its last character, a space, is one
    # that editors strip.
    return Form(
        load_template("judge_score"),
        load_template("end_expected").render(),
        _unread,
        prefix="Score: ",
        choices=tuple(str(v) for v in range(low, high + 1)),
    )


def aspects_form(
    names: Sequence[str], low: int, high: int, structured: bool, may_skip: Collection[str] = ()
) -> Form:
    """Ask for one score for each of several criteria in one call, or N/A on those in `may_skip`.

    Raises ConfigError for a name that could not be read back from a line `name: 4`.
    """
    unreadable = [name for name in names if set(name) & set(":=\n") or len(name) > 80]
    if unreadable:
        raise ConfigError(f"rubric: rename {unreadable[0]!r}; the judge writes lines `name: 4`")
    frame, listed = load_template("judge_aspects"), ", ".join(n for n in names if n in may_skip)
    unless = _UNLESS.replace("the criterion", f"a criterion ({listed})") if listed else ""
    if structured:
        shown = ", ".join(f'"{name}": N' for name in names)
        grades = {name: _grade(low, high, name in may_skip) for name in names}
        ending, schema = _json(grades, shown)
        ending += unless
        return Form(frame, ending, lambda t, _: answers.json_scores(t, names, low, high), schema)
    ending = load_template("end_aspects").render(lines="\n".join(f"{name}: N" for name in names))
    return Form(frame, ending + unless, lambda t, _: answers.aspect_scores(t, names, low, high))


def checklist_form(structured: bool) -> Form:
    """Ask for a yes or no to each item (the checklists of WildBench, Lin et al. 2024)."""
    frame = load_template("judge_checklist")
    if structured:
        listed = {"type": "array", "items": {"type": "string", "enum": ["yes", "no"]}}
        shown = '"items": [yes or no for each question, in order]'
        ending, schema = _json({"items": listed}, shown)
        form = Form(frame, ending, lambda t, size: [answers.json_share(t, size)], schema)
        return form._replace(listed="items")
    ending = load_template("end_checklist").render()
    return Form(frame, ending, lambda t, size: [answers.checklist_share(t, size)])


def pair_form(verdict: Comparison, structured: bool) -> Form:
    """Ask which of two answers is better: in three or five grades, or as log odds."""
    frame = load_template("judge_pair")
    if verdict == "log_odds":
        ending = load_template("end_odds").render()
        return Form(frame, ending, _unread, prefix="Better:", choices=("A", "B"))
    if structured:
        scores = _FIRST_WINS if verdict == "three" else _FIVE
        one_of = {"type": "string", "enum": list(scores)}
        ending, schema = _json({"verdict": one_of}, f'"verdict": "{" | ".join(scores)}"')
        return Form(frame, ending, lambda t, _: [answers.json_choice(t, scores)], schema)
    if verdict == "five":
        return Form(frame, load_template("end_grades").render(), lambda t, _: [pair_grade(t)])
    return Form(frame, load_template("end_pair").render(), lambda t, _: [first_preferred(t)])


def list_form(structured: bool) -> Form:
    """Ask for a ranking of all answers."""
    frame = load_template("judge_list")
    if structured:
        listed = {"type": "array", "items": {"type": "integer"}}
        ending, schema = _json({"ranking": listed}, '"ranking": [numbers, best first]')
        return Form(frame, ending, answers.json_ranked, schema, listed="ranking")
    return Form(frame, load_template("end_list").render(), answers.ranked_shares)


def grades_form(low: int, high: int, structured: bool, may_skip: bool) -> Form:
    """Ask for a score of each of several answers; `may_skip` as in `score_form`."""
    frame, unless = load_template("judge_list_grades"), _UNLESS if may_skip else ""
    if structured:
        listed = {"type": "array", "items": _grade(low, high, may_skip)}
        form = '"scores": [a grade for each answer, in order]'
        ending, schema = _json({"scores": listed}, form)
        return Form(
            frame,
            ending + unless,
            lambda t, size: answers.json_listed(t, size, low, high),
            schema,
            listed="scores",
        )
    ending = load_template("end_list_grades").render(low=str(low), high=str(high)) + unless
    return Form(frame, ending, lambda t, size: answers.listed_scores(t, size, low, high))


def object_schema(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of an object that has all of these fields, and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def shortened(schema: Schema, longest: int) -> dict[str, Any]:
    """Return a schema whose free texts have at most `longest` characters each."""
    short: dict[str, Any] = {}
    for name, value in schema.items():
        if isinstance(value, Mapping):
            value = shortened(value, longest)
        elif isinstance(value, list):
            value = [shortened(v, longest) if isinstance(v, Mapping) else v for v in value]
        short[name] = value
    free = schema.get("type") == "string" and "enum" not in schema
    return {**short, "maxLength": longest} if free else short


def first_preferred(text: str) -> Reading:
    """Read a comparison: 1 where the answer shown first won, -1 the second, 0 for a tie."""
    verdict, status = pair_outcome(text)
    return (None if verdict is None else _FIRST_WINS[verdict]), status


def _json(verdicts: Mapping[str, Any], shown: str) -> tuple[str, dict[str, Any]]:
    """Return the ending and the schema of an object with feedback first, then the verdicts."""
    properties = {"feedback": {"type": "string"}, **verdicts}
    ending = load_template("end_json").render(form=f"{{{_FEEDBACK}, {shown}}}")
    return ending, object_schema(properties)


def _whole(low: int, high: int) -> dict[str, Any]:
    return {"type": "integer", "enum": list(range(low, high + 1))}


def _grade(low: int, high: int, may_skip: bool) -> dict[str, Any]:
    """Return the schema of a score, or of N/A."""
    if not may_skip:
        return _whole(low, high)
    return {"anyOf": [_whole(low, high), {"type": "string", "enum": [answers.NO_SCORE]}]}


def _unread(text: str, size: int) -> list[Reading]:
    return [(None, "parse_error")]
