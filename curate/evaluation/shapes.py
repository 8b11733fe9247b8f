"""Where prompts and answers lie in sets that are no plain pairs, told by their columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import (
    Ints,
    flat,
    join_texts,
    large,
    lengths,
    lists,
    one_chunk,
    owners,
    take_rows,
)
from curate.errors import InputError
from curate.evaluation.transcripts import is_conversation, read_answers, read_prompt
from curate.methods.evidence import comparisons
from curate.methods.judgments import true
from curate.methods.lint_checks import PairTexts
from curate.sources.mapping import TEXT_FIELDS

Held: TypeAlias = Literal[
    "answer", "whole", "steps", "pair", "ranked", "candidates", "listed", "samples", ""
]


class Shape(NamedTuple):
    """Columns that tell a form of dataset, and what they hold.

    `held` says how the `answers` are stored: one a row; at the end of a whole conversation; as
    steps; one better than that `beside` it; as a list of {rank, text}; as canonical candidates;
    as a list of texts or of {text, ...}; as a list that stands against `rejected`. "" is a set of
    prompts. Texts and messages are told apart by their type.
    """

    prompt: tuple[str, ...]  # joined in this order
    answers: str = ""
    held: Held = ""
    beside: tuple[str, ...] = ()  # further columns that the form has
    other: str = ""  # the prompt that the same answer is worse under

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that the form is told by."""
        given = (*self.prompt, self.answers, *self.beside, self.other)
        return tuple(name for name in given if name)


ASKED = (("system", "history", "instruction", "input"), ("instruction", "input"), ("instruction",))
"""What Alpaca's kind of set asks by, the fullest first."""
SHAPES: Sequence[Shape] = (
    Shape(("prompt_chosen",), "completion", "answer", other="prompt_rejected"),
    Shape(("prompt",), "samples", "samples", ("rejected",)),
    Shape(("prompt",), "chosen_response", "pair", ("rejected_response",)),
    *(Shape(asked, "chosen", "pair", ("rejected",)) for asked in ASKED),
    Shape(("messages",), "chosen", "pair", ("rejected",)),
    Shape(("conversations",), "chosen", "pair", ("rejected",)),
    Shape(("input",), "chosen", "pair", ("rejected",)),
    Shape(("prompt",), "candidates", "candidates"),
    Shape(("prompt",), "answers", "ranked"),
    Shape(("context",), "completions", "ranked"),
    Shape(("prompt",), "completions", "steps", ("labels",)),
    Shape(("instruction",), "completions", "listed", ("models",)),  # UltraFeedback's own
    Shape(("prompt",), "completion", "answer"),
    Shape(("prompt",), "response", "answer"),
    *(Shape(asked, name, "answer") for name in ("output", "response") for asked in ASKED),
    Shape((), "messages", "whole"),
    Shape((), "conversations", "whole"),
    Shape((), "text", "answer"),
    Shape(("prompt",)),
)
"""Forms other than prompt, chosen and rejected; the first whose columns are all there is meant."""


def shape_of(schema: pa.Schema) -> Shape | None:
    """Return the form that a set's columns tell; None for plain pairs and for what no form has."""
    names = set(schema.names)
    # Whole conversations say themselves what was asked.
    asked = "chosen" in names and (
        "prompt" in names or is_conversation(schema.field("chosen").type)
    )
    for shape in SHAPES:
        own = shape.other or shape.held == "samples" or (shape.held == "pair" and not asked)
        meant = own or names.isdisjoint({"chosen", "rejected"})
        if meant and names.issuperset(shape.columns):
            return shape
    return None


def views(table: pa.Table, shape: Shape, where: str) -> Iterator[tuple[PairTexts, Ints]]:
    """Yield texts to be looked at, and the row (of the table) of each. Raises InputError."""
    prompt = _prompts(table, shape, where)
    every = np.arange(len(table))
    if shape.other:
        answers = read_answers(plain(table, shape.answers), where).answer
        other = read_prompt(plain(table, shape.other), where).text
        yield PairTexts(prompt, answers, answers, other=other), every
    elif shape.held in ("answer", "whole"):
        said = read_answers(plain(table, shape.answers), where)
        yield PairTexts(said.before if shape.held == "whole" else prompt, said.answer), every
    elif shape.held == "pair":
        sides = (
            read_answers(plain(table, n), where).answer for n in (shape.answers, *shape.beside)
        )
        yield PairTexts(prompt, *sides), every
    elif shape.held == "steps":
        steps = _texts(plain(table, shape.answers), where)
        yield PairTexts(prompt, pc.binary_join(steps, pa.scalar("\n", pa.large_string()))), every
    elif not shape.held:
        yield PairTexts(prompt), every
    else:
        yield from _several(table, shape, prompt, where)


def _several(
    table: pa.Table, shape: Shape, prompt: pa.Array, where: str
) -> Iterator[tuple[PairTexts, Ints]]:
    """Yield every answer by itself, and the pairs that the form says or implies."""
    column = plain(table, shape.answers)
    if shape.held == "samples":
        texts = _texts(column, where)
        row = owners(lengths(texts))
        worse = read_answers(plain(table, "rejected"), where).answer
        yield PairTexts(take_rows(prompt, row), flat(texts), take_rows(worse, row)), row
        return
    if shape.held == "listed":
        answers, row = _listed(column, shape.answers, where)
        yield PairTexts(take_rows(prompt, row), answers), row
        return
    field = "text" if shape.held == "candidates" else shape.answers.removesuffix("s")
    needed = {field} if shape.held == "candidates" else {field, "rank"}
    if not _has_fields(column.type, needed):
        names = " and ".join(sorted(needed))
        raise InputError(
            f"{where}: column {shape.answers!r} must hold lists of {names}; for lists of answers "
            f"alone: --map candidates={shape.answers}"
        )
    row = owners(lengths(column))
    answers = read_answers(flat(column, field), where).answer
    if shape.held == "candidates":
        used = true(flat(column, "drop").is_null()) if _has_fields(column.type, {"drop"}) else None
        alone = np.arange(len(row)) if used is None else np.flatnonzero(used)
        better, worse_at = _paired(table)
    else:
        alone = np.arange(len(row))
        better, worse_at = _extremes(row, np.asarray(flat(column, "rank"), dtype=np.float64))
    yield PairTexts(take_rows(prompt, row[alone]), take_rows(answers, alone)), row[alone]
    sides = (take_rows(answers, at) for at in (better, worse_at))
    yield PairTexts(take_rows(prompt, row[better]), *sides), row[better]


def _listed(column: pa.Array, name: str, where: str) -> tuple[pa.Array, Ints]:
    """Return the answers of lists of texts or of structs with one of TEXT_FIELDS, and their rows.

    Raises InputError for anything else.
    """
    field = next((f for f in TEXT_FIELDS if _has_fields(column.type, {f})), None)
    kind = column.type.value_type if _is_list(column.type) else None
    if kind is None or (field is None and pa.types.is_struct(kind)):
        fields = " or ".join(TEXT_FIELDS)
        raise InputError(f"{where}: column {name!r} must hold lists of texts, or of {{{fields}}}")
    texts = flat(column, field) if field else flat(column)
    return read_answers(texts, where).answer, owners(lengths(column))


def _paired(table: pa.Table) -> tuple[Ints, Ints]:
    """Return the live pairs of canonical rows, as flat indexes of their candidates."""
    if "pairs" not in table.column_names or pa.types.is_null(table["pairs"].type):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    live = true(pc.is_null(flat(table["pairs"], "drop")))
    found = comparisons(table)
    return found.a[live], found.b[live]


def _extremes(row: Ints, rank: npt.NDArray[np.float64]) -> tuple[Ints, Ints]:
    """Return each list's first best and last worst entry, of lists that tell any two apart."""
    order = np.lexsort((np.arange(len(row)), rank, row))
    ends = np.flatnonzero(np.diff(row[order], append=-1))
    starts = np.flatnonzero(np.diff(row[order], prepend=-1))
    best, worst = order[starts], order[ends]
    differ = rank[best] < rank[worst]
    return best[differ], worst[differ]


def _prompts(table: pa.Table, shape: Shape, where: str) -> pa.Array:
    """Return the form's prompt as one text a row; a form that has none says nothing of it."""
    if not shape.prompt:
        return pa.repeat(pa.scalar("?", pa.large_string()), len(table))
    pieces: list[str | pa.Array] = []
    for name in shape.prompt:
        column = plain(table, name)
        text = _history(column) if name == "history" else read_prompt(column, where).text
        pieces += ["\n", text] if pieces else [text]
    return join_texts(*pieces) if len(pieces) > 1 else pieces[0]


def _history(column: pa.Array) -> pa.Array:
    """Return lists of [question, answer] as one text a row."""
    turns = flat(column)
    if not len(turns):  # a set without earlier turns may not even tell the type
        return pa.repeat(pa.scalar("", pa.large_string()), len(column))
    return _joined(lists(lengths(column), _joined(lists(lengths(turns), large(flat(turns))))))


def _joined(texts: pa.Array) -> pa.Array:
    return pc.fill_null(pc.binary_join(texts, pa.scalar("\n", pa.large_string())), "")


def _texts(column: pa.Array, where: str) -> pa.Array:
    """Return lists of texts as lists of large_string. Raises InputError for anything else."""
    if not _is_list(column.type):
        raise InputError(f"{where}: expected lists of texts, not {column.type}")
    return lists(lengths(column), pc.fill_null(read_answers(flat(column), where).answer, ""))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _has_fields(kind: pa.DataType, names: set[str]) -> bool:
    if not _is_list(kind):
        return False
    inner = kind.value_type
    return pa.types.is_struct(inner) and names <= {inner.field(i).name for i in range(len(inner))}


def plain(table: pa.Table, name: str) -> pa.Array:
    """Return a column as one array of its values, also where it is stored as a dictionary."""
    column = one_chunk(table[name])
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
