"""What a pointwise judge is asked about a candidate: one criterion, several, or a checklist."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import Column, lengths, one_chunk
from curate.errors import ConfigError, StageError, did_you_mean
from curate.prompts import PromptError, Template, load_template, template_names
from curate.stages.forms import Form, aspects_form, checklist_form, expected_form, score_form

_RUBRIC = "rubric_"  # begins the names of built-in rubrics among the templates


class Question(NamedTuple):
    """What one call asks: the criterion's text, the aspects that it scores, and how."""

    criterion: str
    aspects: tuple[str, ...]
    form: Form
    size: int = 1  # a checklist's items


def graded(
    rubrics: Sequence[str],
    low: int,
    high: int,
    *,
    structured: bool,
    together: bool,
    may_skip: Collection[str] = (),
) -> list[Question]:
    """Ask for a score on each rubric: in a call of its own, or all in one.

    On rubrics in `may_skip` the judge may write N/A. All questions are read in one way, so what
    must not be N/A is for `only_applicable` to say.
    """
    names = aspect_names(rubrics)
    texts = [load_rubric(rubric).render() for rubric in rubrics]
    if together and len(names) > 1:
        skipped = [n for n, rubric in zip(names, rubrics, strict=True) if rubric in may_skip]
        form = aspects_form(names, low, high, structured, skipped)
        named = (f"[{name}]\n{text}" for name, text in zip(names, texts, strict=True))
        return [Question("\n\n".join(named), names, form)]
    form = score_form(low, high, structured, bool(may_skip))
    plain = score_form(low, high, structured)._replace(read=form.read, schema=form.schema)
    forms = [form if rubric in may_skip else plain for rubric in rubrics]
    return [Question(t, (n,), f) for t, n, f in zip(texts, names, forms, strict=True)]


def only_applicable(
    status: pa.Array,
    aspect: npt.NDArray[np.int64],
    rubrics: Sequence[str],
    may_skip: Collection[str],
) -> pa.Array:
    """Return the statuses; an N/A on a rubric that must not be N/A is a `parse_error`.

    `aspect` (judgments,) is the number of each one's rubric.
    """
    must = np.array([rubric not in may_skip for rubric in rubrics], dtype=bool)[aspect]
    skipped = pc.and_(pc.equal(status, "not_applicable"), pa.array(must))
    return pc.if_else(skipped, "parse_error", status)


def expected(rubrics: Sequence[str], low: int, high: int) -> list[Question]:
    """Ask for the probabilities of the scores on each rubric."""
    asked = graded(rubrics, low, high, structured=False, together=False)
    return [question._replace(form=expected_form(low, high)) for question in asked]


def checked(rubrics: Sequence[str], structured: bool) -> list[Question]:
    """Ask for a yes or no to each line of each checklist."""
    names, form = aspect_names(rubrics), checklist_form(structured)
    items = [checklist_items(rubric) for rubric in rubrics]
    return [Question(numbered(i), (n,), form, len(i)) for n, i in zip(names, items, strict=True)]


def load_rubric(rubric: str) -> Template:
    """Load a built-in rubric by its short name, or a Markdown file without placeholders."""
    built_in = "/" not in rubric and not rubric.endswith(".md")
    known = [n.removeprefix(_RUBRIC) for n in template_names() if n.startswith(_RUBRIC)]
    if built_in and rubric not in known:
        raise PromptError(
            f"no built-in rubric {rubric!r}{did_you_mean(rubric, known)}; a path of your own ends "
            "in .md"
        )
    template = load_template(_RUBRIC + rubric if built_in else rubric)
    if template.fields:
        raise PromptError(
            f"rubric {rubric!r} has the placeholder {{{min(template.fields)}}}, and nothing is put "
            "into a rubric; write {{ and }} for braces"
        )
    return template


def several(rubric: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return one or several rubrics as a tuple."""
    return (rubric,) if isinstance(rubric, str) else rubric


def aspect_names(rubrics: Sequence[str]) -> tuple[str, ...]:
    """Return what judgments on these rubrics are called: the files' names without an ending.

    Raises ConfigError where there is none, or where two have one name.
    """
    names = tuple(Path(rubric).stem for rubric in rubrics)
    if not names or len({name.lower() for name in names}) < len(names):
        raise ConfigError(f"rubric: give at least one, and none twice; got {list(names)}")
    return names


def checklist_items(rubric: str) -> list[str]:
    """Return a checklist's questions: every line is `- question?`. Raises ConfigError if not."""
    lines = [line.strip() for line in load_rubric(rubric).render().splitlines() if line.strip()]
    wrong = [line for line in lines if not (line.startswith("- ") and line.endswith("?"))]
    if wrong or not lines:
        example = f", but one is {wrong[0][:80]!r}" if wrong else ", and it has none"
        raise ConfigError(
            f"rubric {rubric!r} is no checklist: every line must be `- question?`{example}; "
            "`checklist` is built in"
        )
    return [line.removeprefix("- ") for line in lines]


def row_items(column: Column, name: str) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """Return each row's own questions as numbered text (large_string), and how many they are.

    Raises StageError where the column called `name` does not hold lists of texts.
    """
    kind = column.type
    if not (pa.types.is_list(kind) and kind.value_type in (pa.string(), pa.large_string())):
        raise StageError(f"judge: the column {name!r} must hold lists of texts; it holds {kind}")
    rows = [[item or "" for item in row or ()] for row in one_chunk(column).to_pylist()]
    return pa.array([numbered(items) for items in rows], pa.large_string()), lengths(column)


def numbered(items: Sequence[str]) -> str:
    """Return the items one a line, with their numbers; line breaks inside become spaces."""
    return "\n".join(f"{k}. {' '.join(item.split())}" for k, item in enumerate(items, start=1))
