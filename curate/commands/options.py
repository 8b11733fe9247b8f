"""What the commands share: their common options, and how they speak."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from curate.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

PipelineFile = Annotated[Path, typer.Argument(help="The pipeline's YAML file.")]
RunName = Annotated[str, typer.Argument(help="The run's name: its folder below runs/.")]
Changes = Annotated[list[str], typer.Option("--set", help="Change a field: margin.at_least=2")]
Root = Annotated[Path, typer.Option(help="Folder of runs/ and store/.", envvar="CURATE_ROOT")]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, a line an object.")]


_MOST_COUNTERS = 40  # of a stage, as lines of text


def load(path: Path, changes: list[str]) -> Any:
    """Read a pipeline, with `--set` changes."""
    from curate.pipeline import Pipeline

    return Pipeline.load(path, changes)


def book_lines(
    folder: Path, books: dict[str, Any], reasons: bool = True, since: str = ""
) -> list[str]:
    """Return what became of a run's rows, as lines; as one without `reasons`.

    `since` says how the dataset differs from the last one.
    """
    kept = books.get("rows_exported", books.get("rows_alive"))
    lost = sum(books["dropped"].values()), sum(books["failed"].values())
    rows = f"{books['rows_in']} rows = {kept} kept + {lost[0]} dropped + {lost[1]} failed"
    place = f"{folder / 'dataset'}{since}"
    records = f"{books['records']} records in {place}" if "records" in books else ""
    if not reasons:
        return ["; ".join(filter(None, [rows, records]))]
    lines = [rows]
    if not books["rows_in"]:
        lines.append("the source has no rows: look at its path")
    elif not kept:
        lines.append(f"no row is left; `curate show {folder.name} --dropped` says why of each")
    for reason, n in (*books["dropped"].items(), *books["failed"].items()):
        lines.append(f"  {n:>6}  {reason}")
    if inside := books.get("dropped_inside"):
        lines.append("dropped inside rows that stayed:")
        for column, found in inside.items():
            lines += [f"  {n:>6}  {column}, {reason}" for reason, n in found.items()]
    return [*lines, records] if records else lines


def reply_lines(counted: Sequence[dict[str, Any]], run: str) -> list[str]:
    """Return a line for each stage of whose engine's replies too many are of no use.

    And one where calls have failed, since they can be made again. `counted` are {stage, counts} in
    the order of the stages.
    """
    from curate.books import numbered
    from curate.replies import in_words, replies

    names = numbered(step["stage"] for step in counted)
    had = [(name, replies(step["counts"])) for name, step in zip(names, counted, strict=True)]
    lines = [f"{name}: {in_words(r, run)}" for name, r in had if r is not None and r.too_few]
    errors = [step["counts"].get("errors", 0) for step in counted]
    if any(errors):
        where = ", ".join(f"{n:,} of {name}" for name, n in zip(names, errors, strict=True) if n)
        lines.append(
            f"calls failed: {where}; once the engine is mended, `run --retry-failed` does their "
            "shards again"
        )
    return lines


def counter_lines(counted: Sequence[dict[str, Any]]) -> list[str]:
    """Return what the stages of a run counted, as `counters.counted` gives it, as lines."""
    from curate.books import numbered
    from curate.counters import worded

    rows, left = [], 0
    for stage, step in zip(numbered(s["stage"] for s in counted), counted, strict=True):
        numbers, none = worded(step["counts"])
        left += len(numbers[_MOST_COUNTERS:]) + len(none[_MOST_COUNTERS:])
        rows += [[stage, text, name] for name, text in numbers[:_MOST_COUNTERS]]
        rows += [[stage, "0", ", ".join(none[:_MOST_COUNTERS])]] if none else []
    lines = ["", "counted by the stages:", *table_lines(rows)] if rows else []
    return [*lines, f"and {left} more; --json has all"] if left else lines


def table_lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines, columns one below the other; wrapped only in a terminal."""
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return []
    grid = Table.grid(padding=(0, 2))
    for row in rows:
        grid.add_row(*(Text(printable(cell)) for cell in row))
    console = unwrapped()
    with console.capture() as caught:
        console.print(grid)
    return [line.rstrip() for line in caught.get().splitlines()]


def unwrapped() -> Console:
    """Return a console for stdout that wraps lines only in a terminal."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = 10_000
    return console


def heard(write: Callable[..., None], *what: Any, **how: Any) -> None:
    """Write, and go on in silence where whoever reads has gone (`| head`): a run matters more."""
    try:
        write(*what, **how)
    except BrokenPipeError:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BrokenPipeError:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


def say(text: str) -> None:
    """Say a line on stderr."""
    heard(typer.echo, text, err=True)


def print_json(value: object) -> None:
    """Print one line of JSON on stdout."""
    typer.echo(orjson.dumps(value, default=str).decode())


def say_caution(root: Path, name: str) -> None:
    """Say on stderr where what a run shows is not what its last attempt came to."""
    from curate import history

    if text := history.caution(root, name, history.manifest(root, name)):
        say(f"{name}: {text}")
