"""The reference of stages, sources and engines, from the classes: docs/, and the commands."""

from __future__ import annotations

import ast
import collections.abc
import inspect
import itertools
import textwrap
import types
import typing
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel

from curate.component import Component, RuntimeMark
from curate.engines.contract import Sampling, engine_registry
from curate.sources.columns import Columns
from curate.sources.contract import source_registry
from curate.stage import EngineRole, Stage, stage_registry, summary

_MOST_NAMED = 8  # fields of a mapping within a table; more have a table of their own
_HEAD = "<!-- Written by `make docs` from the classes; edit those. -->\n"


_SOURCES = """\
    Where rows come from: `source: {KIND: {path: ..., columns: {...}}}`. What is stored depends on
    the content of the files and never on their names, so a file that is moved is not read again.
    Files are read in the order of their paths.

    New rows belong in files of their own, or at the end of one. Each file is cut into shards of
    `shard_rows` rows, and all that was made of a shard hangs on its rows: a row that is put before
    others, taken out or sorted elsewhere shifts every shard behind it in its file, and these are
    made, and paid for, again. `curate plan` says beforehand how many rows that are. A changed row
    costs its shard alone.
"""


_ENGINES = """\
    Models that stages name: `engines: {NAME: {KIND: {model: ...}}}`. A stage says on its page what
    an engine must be able to do. `curate engines KIND` shows one of these here.
"""


def stage_page(kind: str) -> str:
    """Return one stage's page as Markdown. Raises ConfigError for an unknown stage."""
    stage = stage_registry.get(kind)
    text = [f"# {kind}", inspect.cleandoc(stage.__doc__ or ""), _columns(stage)]
    text.append(_fields(stage))
    return "\n\n".join(filter(None, text)) + "\n"


def sources_page() -> str:
    """Return the page of sources and of what their columns mean, as Markdown."""
    text = [_HEAD + "# Sources", inspect.cleandoc(_SOURCES)]
    kinds = [k for k in source_registry.names() if _is_ours(source_registry.get(k), "sources")]
    for kind in kinds:
        source = source_registry.get(kind)
        text += [f"## {kind}", inspect.cleandoc(source.__doc__ or ""), _fields(source)]
    text += ["## columns", inspect.cleandoc(Columns.__doc__ or ""), _fields(Columns)]
    return "\n\n".join(text) + "\n"


def engines_page() -> str:
    """Return the page of engines and of how text is drawn, as Markdown."""
    kinds = [k for k in engine_registry.names() if _is_ours(engine_registry.get(k), "engines")]
    text = [_HEAD + "# Engines", inspect.cleandoc(_ENGINES)]
    text += [engine_section(kind) for kind in kinds]
    text += ["## sampling", inspect.cleandoc(Sampling.__doc__ or ""), _fields(Sampling)]
    return "\n\n".join(text) + "\n"


def engine_section(kind: str) -> str:
    """Return what there is to say of one engine. Raises ConfigError for an unknown one."""
    engine = engine_registry.get(kind)
    can = f"It can: {', '.join(sorted(engine.capabilities))}."
    free = [
        f"`{name}`"
        for name, info in engine.model_fields.items()
        if any(isinstance(mark, RuntimeMark) for mark in info.metadata)
    ]
    kept = f"Another value of these makes nothing anew: {', '.join(free)}." if free else ""
    said = inspect.cleandoc(engine.__doc__ or "")
    return "\n\n".join(filter(None, [f"## {kind}", said, can, _fields(engine), kept]))


def _fields(stage: type[BaseModel]) -> str:
    """Return a table of a component's fields; empty where it has none."""
    said = field_meanings(stage)
    rows = []
    own = inspect.get_annotations(stage)
    fields = stage.model_fields.items()  # what every judge has stands behind what is a judge's own
    for name, info in sorted(fields, key=lambda f: (not f[1].is_required(), f[0] not in own)):
        default = (
            "required"
            if info.is_required()
            else f"`{_shown(info.get_default(call_default_factory=True))}`"
        )
        rows.append(f"| `{name}` | {_type(info.annotation)} | {default} | {said.get(name, '')} |")
    head = ["| field | type | default | meaning |", "|---|---|---|---|"]
    return "\n".join([*head, *rows]) if rows else ""


def pages() -> dict[str, str]:
    """Return every page of the reference by file name."""
    kinds = built_in()
    listed = [f"- [`{kind}`]({kind}.md): {summary(stage_registry.get(kind))}" for kind in kinds]
    index = _HEAD + "# Stages\n\n" + "\n".join(listed) + "\n"
    return {"index.md": index} | {f"{kind}.md": _HEAD + stage_page(kind) for kind in kinds}


def built_in() -> list[str]:
    """Return the names of the package's own stages; a user's may be registered beside them."""
    names = stage_registry.names()
    return [k for k in names if _is_ours(stage_registry.get(k), "stages")]


def _is_ours(component: type, package: str) -> bool:
    return component.__module__.startswith(f"curate.{package}.")


def field_meanings(stage: type[BaseModel]) -> dict[str, str]:
    """Return what each field means, on one line: its description, or what stands under it."""
    described = {n: i.description for n, i in stage.model_fields.items() if i.description}
    found = {name: _cell(text[0].upper() + text[1:]) for name, text in described.items()}
    for cls in reversed(stage.__mro__):
        if cls in (Stage, Component, BaseModel) or not issubclass(cls, BaseModel):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
        statements = getattr(body, "body", [])
        for field, after in itertools.pairwise(statements):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            value = after.value if isinstance(after, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[field.target.id] = _cell(" ".join(inspect.cleandoc(value.value).split()))
    return found


def write(folder: Path) -> None:
    """Write the pages to a folder, and remove those of stages that are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    made = pages()
    for old in folder.glob("*.md"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")


def _columns(stage: type[Stage]) -> str:
    lines = [f"Scope: {stage.scope}."]
    if stage.division is not Stage.division:
        where = "It divides" if stage.scope == "dataset" else "Where it sees all rows it divides"
        lines.append(f"{where}: over many rows it is done in pieces, on any number of workers.")
    for title, names in (
        ("Needs", stage.needs), ("Uses where there", stage.uses),
        ("Writes", stage.writes), ("Appends to", stage.appends),
    ):  # fmt: skip
        if names:
            lines.append(f"{title}: {', '.join(f'`{name}`' for name in names)}.")
    roles = [
        (name, mark.capabilities)
        for name, info in stage.model_fields.items()
        for mark in info.metadata
        if isinstance(mark, EngineRole)
    ]
    for name, capabilities in roles:
        lines.append(f"`{name}` names an engine that can: {', '.join(capabilities)}.")
    return " ".join(lines)


def _shown(value: Any) -> str:
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json", exclude_defaults=True)
    return _cell(orjson.dumps(value, default=str).decode())


def _type(annotation: Any) -> str:
    """Return a type in words, as a reader of YAML would say it."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(inner[0])
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(kind) for kind in inner))
    if origin in (tuple, list, collections.abc.Sequence):
        return f"list of {_type(inner[0])}"
    if origin in (dict, collections.abc.Mapping):
        return f"mapping of {_type(inner[0])} to {_type(inner[1])}"
    words = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    if annotation is type(None):
        return "nothing"
    if hasattr(annotation, "model_fields"):
        names = ", ".join(f"`{name}`" for name in annotation.model_fields)
        return f"mapping: {names}" if 0 < len(annotation.model_fields) <= _MOST_NAMED else "mapping"
    return words.get(annotation, "value")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    import sys

    if Path(sys.argv[1]).suffix == ".md":
        page = {"sources": sources_page, "engines": engines_page}[Path(sys.argv[1]).stem]
        Path(sys.argv[1]).write_text(page(), encoding="utf-8")
    else:
        write(Path(sys.argv[1]))
