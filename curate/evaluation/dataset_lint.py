"""`curate lint`: the checks of the stage `lint` over a preference set as it lies on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import Bools, Ints, join_texts
from curate.errors import ConfigError, InputError, did_you_mean
from curate.evaluation.datasets import open_set, raw_tables, splits
from curate.evaluation.shapes import Held, Shape, plain, shape_of, views
from curate.evaluation.transcripts import read_answers, read_prompt, split_transcript
from curate.methods.evidence import VERDICTS
from curate.methods.judgments import true
from curate.methods.lint_checks import ERRORS, Facts, PairTexts, facts, findings
from curate.sources.columns import Columns
from curate.sources.contract import Source

SIDES = ("chosen", "rejected")
MEANINGS = ("prompt", "input", *SIDES, "chosen_model", "rejected_model", "label")
ALONE: Mapping[str, Held] = {"candidates": "listed", "response": "answer"}
"""Meanings of a column of answers that no pair is made of, and how they are held."""


def lint_dataset(path: str, mapping: Sequence[str] = (), split: str = "") -> dict[str, Any]:
    """Return {"rows": n, "columns": [...], "findings": {name: rows affected}} of a set.

    `columns` are those that were read, and of the findings there is only what was found. Without
    a mapping, every form that `curate export` writes is told by its columns (`shapes.SHAPES`):
    lists of answers, answers alone, and prompts alone too.

    `mapping` holds `meaning=column` for MEANINGS, each by default the column of its own name, or
    prompt, input and one of ALONE: answers without pairs. Prompt and input may be all that a set
    without chosen and rejected has.
    With `label`, `chosen` and `rejected` are the first and the second answer, and the label says
    which one is better; ties and unreadable labels are no pairs and left out (`unlabelled`).
    Of a dataset folder with several splits all are read together, or the one that is named.
    Raises InputError for malformed data, naming the place, and ConfigError for a bad mapping.
    """
    rows = unlabelled = 0
    batches: list[Facts] = []
    owner: list[Ints] = []
    shape, columns = _told(path, mapping, split)
    for size, looked_at in _batches(path, mapping, split, shape):
        for texts, row in looked_at:
            batches.append(facts(texts))
            owner.append(rows + row)
            unlabelled += size - len(row) if shape is None else 0
        rows += size
    of = np.concatenate(owner)
    masks = findings(batches)
    counts = {name: len(np.unique(of[mask])) for name, mask in masks.items() if mask.any()}
    found = {"rows": rows, "columns": columns, "findings": counts}
    return found | ({"unlabelled": unlabelled} if unlabelled else {})


def _told(path: str, mapping: Sequence[str], split: str) -> tuple[Shape | None, list[str]]:
    """Return the form that the set's columns tell, None for plain pairs, and what is read of it."""
    first = next(chain.from_iterable(raw_tables(s, SIDES) for s in _sources(path, split)), None)
    names = _names(mapping, (*MEANINGS, *ALONE))
    if first is None:
        raise InputError(f"{path}: has no rows")
    there = first[1].column_names
    shape: Shape | None = None
    asked = {"prompt", "input"} & names.keys()
    if asked == names.keys() and asked and not {*SIDES} & {*there}:  # answers by their own name
        answers = [name for name in ALONE if name in there][:1]
        shape = _alone(names | dict(zip(answers, answers, strict=True)), there, first[0])
    elif ALONE.keys() & names.keys():
        shape = _alone(names, there, first[0])
    elif not mapping:
        shape = shape_of(first[1].schema)
    if shape is not None:
        return shape, list(shape.columns)
    given = {*names, *SIDES, *({"prompt", "chosen_model", "rejected_model"} & {*there})}
    return None, [names.get(name, name) for name in MEANINGS if name in given]


def _alone(names: Mapping[str, str], there: Sequence[str], where: str) -> Shape:
    """Return the form of a set without pairs: of answers, or prompts alone. Raises ConfigError."""
    answers = next((name for name in ALONE if name in names), "")
    others = [name for name in names if name not in ("prompt", "input", answers)]
    if others:
        raise ConfigError(f"--map: {answers} and {', '.join(others)} exclude each other")
    asked = [n for n in ("prompt", "input") if n in names or (n == "prompt" and n in there)]
    for name in filter(None, (*asked, answers)):
        if names.get(name, name) not in there:
            raise _missing(names.get(name, name), there, name, where)
    prompt = tuple(names.get(n, n) for n in asked)
    return Shape(prompt, names[answers], ALONE[answers]) if answers else Shape(prompt)


def _batches(
    path: str, mapping: Sequence[str], split: str, shape: Shape | None
) -> Iterator[tuple[int, Iterable[tuple[PairTexts, Ints]]]]:
    """Yield (rows read, texts to look at with the row of each among them), some at a time."""
    if shape is None:
        for size, texts in pairs_of_set(path, mapping, split):
            yield size, [(texts, np.arange(len(texts.prompt)))]
        return
    for source in _sources(path, split):
        for where, table in raw_tables(source, {*shape.columns, "pairs"}):
            yield len(table), views(table, shape, where)


def pairs_of_set(
    path: str, mapping: Sequence[str] = (), split: str = ""
) -> Iterator[tuple[int, PairTexts]]:
    """Yield (rows read, their pairs), some rows at a time; as `lint_dataset` reads a set."""
    names = _names(mapping)
    wanted = {*MEANINGS, *names.values()}
    tables = chain.from_iterable(raw_tables(source, wanted) for source in _sources(path, split))
    for where, table in tables:
        yield len(table), _pair_texts(table, names, where)


def _sources(path: str, split: str) -> list[Source]:
    return [open_set(path, Columns(), name) for name in ([split] if split else splits(path))]


def has_errors(report: Mapping[str, Any]) -> bool:
    """Whether some finding is an error rather than a warning."""
    return bool(ERRORS & set(report["findings"]))


def _names(mapping: Sequence[str], known: Sequence[str] = MEANINGS) -> dict[str, str]:
    names: dict[str, str] = {}
    for item in mapping:
        meaning, _, column = item.partition("=")
        if not column:
            raise ConfigError(f"--map {item!r}: write meaning=column, as in prompt=question")
        if meaning not in known:
            raise ConfigError(f"--map: unknown meaning {meaning!r}{did_you_mean(meaning, known)}")
        names[meaning] = column
    return names


def _pair_texts(table: pa.Table, names: Mapping[str, str], where: str) -> PairTexts:
    """Return a batch's pairs. Raises InputError where a column is missing or no text."""
    sides = [read_answers(_column(table, names, name, where), where) for name in SIDES]
    if "prompt" in names or "prompt" in table.column_names:
        prompt = read_prompt(_column(table, names, "prompt", where), where)
        if "input" in names:
            more = read_prompt(_column(table, names, "input", where), where)
            prompt = prompt._replace(text=join_texts(prompt.text, "\n\n", more.text))
        texts = PairTexts(prompt.text, *(side.answer for side in sides))
        mismatch = _differ(sides[0].before, sides[1].before)
        for side in sides:
            mismatch = mismatch | (
                _differ(side.before, prompt.text) & _differ(side.last, prompt.last)
            )
    else:
        sides = [side if side.whole else split_transcript(side.answer, where) for side in sides]
        asked = pc.if_else(pc.equal(sides[0].before, ""), sides[1].before, sides[0].before)
        texts = PairTexts(asked, *(side.answer for side in sides))
        mismatch = true(pc.not_equal(sides[0].before, sides[1].before))
    texts = texts._replace(mismatch=mismatch, models=_models(table, names, where))
    return _labelled(table, names, where, texts) if "label" in names else texts


def _differ(one: pa.Array, two: pa.Array) -> Bools:
    """Return where both say something, and not the same."""
    one, two = (pc.utf8_trim_whitespace(column) for column in (one, two))
    said = pc.and_(pc.not_equal(one, ""), pc.not_equal(two, ""))
    return true(pc.and_(said, pc.not_equal(one, two)))


def _models(
    table: pa.Table, names: Mapping[str, str], where: str
) -> tuple[pa.Array, pa.Array] | None:
    wanted = ("chosen_model", "rejected_model")
    if not all(name in names or name in table.column_names for name in wanted):
        return None
    one, two = (_column(table, names, name, where).cast(pa.string()) for name in wanted)
    return one, two


def _labelled(table: pa.Table, names: Mapping[str, str], where: str, shown: PairTexts) -> PairTexts:
    """Put the better of the two answers first, by the label; rows without a winner go."""
    raw = _column(table, names, "label", where).to_pylist()
    value = np.array([VERDICTS.get(str(v).strip().lower(), np.nan) for v in raw])
    sided = pa.array(np.nan_to_num(value) != 0)
    first = pa.array(value > 0)

    def pick(one: pa.Array, two: pa.Array) -> tuple[pa.Array, pa.Array]:
        return (
            pc.if_else(first, one, two).filter(sided),
            pc.if_else(first, two, one).filter(sided),
        )

    keep = np.asarray(sided)
    return PairTexts(
        shown.prompt.filter(sided),
        *pick(shown.chosen, shown.rejected),
        mismatch=None if shown.mismatch is None else shown.mismatch[keep],
        models=None if shown.models is None else pick(*shown.models),
        first=value[keep],
    )


def _column(table: pa.Table, names: Mapping[str, str], meaning: str, where: str) -> pa.Array:
    name = names.get(meaning, meaning)
    if table.column_names.count(name) != 1:
        raise _missing(name, table.column_names, meaning, where)
    return plain(table, name)


def _missing(name: str, there: Sequence[str], meaning: str, where: str) -> InputError:
    hint = did_you_mean(name, there)
    return InputError(f"{where}: no column {name!r}{hint}; name it with --map {meaning}=COLUMN")
