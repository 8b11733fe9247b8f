"""Prompt templates: Markdown files with `{field}` placeholders, parsed once.

A template is trusted text from this package or from the user's disk. What fills it is not: a
value goes in verbatim and is never parsed again, so braces, section markers or instructions
inside a model's answer stay plain text. `<!-- system -->`, `<!-- user -->` and
`<!-- assistant -->`, each alone on a line, split a template into messages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from string import Formatter
from typing import Any, TypeAlias

import pyarrow as pa

from curate.arrays import Pieces, conversations, join_texts
from curate.errors import ConfigError, did_you_mean

_FOLDER = Path(__file__).parent
_MARKER = re.compile(r"^[ \t]*<!--[ \t]*(system|user|assistant)[ \t]*-->[ \t]*(?:\n|\Z)", re.M)

Segment = tuple[str, str | None]  # literal text, then the name of the field that follows it
Shown: TypeAlias = str | pa.Array | Pieces  # one text for all rows, or a column of large_string


class PromptError(ConfigError):
    """A template cannot be read, or does not show what it is given."""


@dataclass(frozen=True)
class Template:
    """A parsed template; `text` is the file as it is, which is what an identity should hold."""

    name: str
    text: str

    def __post_init__(self) -> None:
        """Parse at once, so that a faulty template is an error when it is loaded."""
        _ = self.sections

    @cached_property
    def sections(self) -> tuple[tuple[str, tuple[Segment, ...]], ...]:
        """The messages as (role, segments); a template without markers is one user message."""
        pieces = _MARKER.split(self.text.replace("\r\n", "\n"))
        if len(pieces) == 1:
            return (("user", _segments(pieces[0].strip(), self.name)),)
        if pieces[0].strip():
            raise PromptError(f"prompt {self.name}: text before the first section marker")
        return tuple(
            (role, _segments(body.strip(), self.name))
            for role, body in zip(pieces[1::2], pieces[2::2], strict=True)
        )

    @cached_property
    def fields(self) -> frozenset[str]:
        """Names of the placeholders."""
        return frozenset(name for _, part in self.sections for _, name in part if name is not None)

    def check(self, given: frozenset[str]) -> None:
        """Raise PromptError where `given` is not exactly the template's fields."""
        if given == self.fields:
            return
        missing, unknown = sorted(self.fields - given), sorted(given - self.fields)
        problems = [f"missing field {name!r}" for name in missing]
        problems += [f"unknown field {name!r}{did_you_mean(name, self.fields)}" for name in unknown]
        raise PromptError(f"prompt {self.name}: {'; '.join(problems)}")

    def render(self, /, **values: str) -> str:
        """Return all sections' texts, joined by an empty line, with the values put in verbatim.

        Raises PromptError naming the fields that are missing or unknown.
        """
        self.check(frozenset(values))
        return "\n\n".join(_join(segments, values) for _, segments in self.sections)

    def then(self, ending: str) -> Template:
        """Return the template with a further paragraph, taken as it is, in its last message."""
        plain = ending.replace("{", "{{").replace("}", "}}")
        return Template(self.name, f"{self.text.rstrip()}\n\n{plain}\n")

    def column(self, /, **values: Shown) -> pa.Array:
        """Return the texts of `render` for columns of values, as large_string.

        A str stands for a whole column; at least one value is a column.
        """
        self.check(frozenset(values))
        pieces: list[str | pa.Array] = []
        for number, (_, segments) in enumerate(self.sections):
            pieces += ["\n\n"] * (number > 0) + _pieces(segments, values)
        return join_texts(*pieces)

    def conversations(self, rows: int, opening: str | None = None, /, **values: Shown) -> pa.Array:
        """Return a column of `rows` conversations, one message a section, for `Requests`.

        A value is a column of large_string, whole or in pieces, or a str for all rows. `opening`
        is how the assistant's answer begins, for the engine to continue; it is no template because
        editors strip the space at its end. Raises PromptError naming missing or unknown fields.
        """
        self.check(frozenset(values))
        roles = [role for role, _ in self.sections]
        contents = [_pieces(segments, values) for _, segments in self.sections]
        if opening is not None:
            roles, contents = [*roles, "assistant"], [*contents, [opening]]
        return conversations(roles, contents, rows)


def load_template(name_or_path: str) -> Template:
    """Load a built-in template by name (`rubric_helpfulness`), or a file by its path.

    A name is anything without a slash and without the ending `.md`. Raises PromptError where
    there is no such template or where its placeholders are not plain names.
    """
    if "/" in name_or_path or name_or_path.endswith(".md"):
        path = Path(name_or_path).expanduser()
        try:
            return _parsed(path.name, path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise PromptError(
                f"cannot read the prompt {name_or_path!r}: {error}; give a built-in name "
                f"({', '.join(template_names())}) or a path to a Markdown file"
            ) from None
    known = template_names()
    if name_or_path not in known:
        raise PromptError(
            f"no built-in prompt {name_or_path!r}{did_you_mean(name_or_path, known)}; "
            "a path of your own ends in .md"
        )
    return _built_in(name_or_path)


@cache
def template_names() -> tuple[str, ...]:
    """Return the names of the built-in templates, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.md")))


@lru_cache(maxsize=64)
def _parsed(name: str, text: str) -> Template:
    return Template(name, text)


@lru_cache(maxsize=64)
def _built_in(name: str) -> Template:
    return Template(name, (_FOLDER / f"{name}.md").read_text(encoding="utf-8"))


def _segments(text: str, where: str) -> tuple[Segment, ...]:
    """Split at the placeholders. Raises PromptError for anything but `{name}`, `{{` and `}}`."""
    segments: list[Segment] = []
    try:
        for literal, name, spec, conversion in Formatter().parse(text):
            if name is not None and (not name.isidentifier() or spec or conversion):
                shown = (
                    name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
                )
                raise PromptError(
                    f"prompt {where}: {{{shown}}} is not a plain field name; "
                    "write {name}, and {{ or }} for a brace"
                )
            segments.append((literal, name))
    except ValueError as error:
        raise PromptError(f"prompt {where}: {error}; write {{{{ or }}}} for a brace") from None
    return tuple(segments)


def _join(segments: tuple[Segment, ...], values: dict[str, str]) -> str:
    return "".join(
        literal if name is None else literal + values[name] for literal, name in segments
    )


def _pieces(segments: tuple[Segment, ...], values: dict[str, Shown]) -> list[Any]:
    """Return literals and values in order, neighbouring texts joined."""
    pieces: list[Any] = [""]
    for literal, name in segments:
        value = "" if name is None else values[name]
        for piece in (literal, *(value.parts if isinstance(value, Pieces) else (value,))):
            if isinstance(piece, str) and isinstance(pieces[-1], str):
                pieces[-1] += piece
            else:
                pieces.append(piece)
    return pieces


__all__ = ["PromptError", "Shown", "Template", "load_template", "template_names"]
