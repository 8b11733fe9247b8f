"""Bars in a terminal: how a stage's name, rows, time and facts are laid out in its width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.constrain import Constrain
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

NO_BAR = TaskID(0)
_MARGIN = 3  # columns that a bar leaves free: a terminal writes ^C there, and must not wrap


class _Fitting:
    """Facts, whole ones only: those that find room."""

    def __init__(self, facts: Sequence[str]) -> None:
        self.facts = facts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(fitting(self.facts, options.max_width), no_wrap=True, overflow="ellipsis")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, max(1, len(", ".join(self.facts))))


class _Facts(ProgressColumn):
    """What there is to say at this moment, by the task's field `facts`."""

    def __init__(self, lock: AbstractContextManager[bool], table_column: Column) -> None:
        super().__init__(table_column=table_column)
        self._still = lock

    def render(self, task: Task) -> _Fitting:
        with self._still:
            return _Fitting(task.fields["facts"]())


class _Bars(Progress):
    """Bars that fill the terminal but for a margin, however wide it comes to be."""

    def __init__(self, *columns: ProgressColumn, console: Console) -> None:
        self._drawn_on = console  # asked for before Progress has made its own way to it
        super().__init__(*columns, console=console, expand=True)

    def get_renderables(self) -> Iterator[RenderableType]:
        width = max(20, self._drawn_on.width - _MARGIN)
        yield Constrain(self.make_tasks_table(self.tasks), width)


def drawn(lock: AbstractContextManager[bool]) -> Progress:
    """Return bars on stderr; a thread draws them, and holds `lock` while it asks for facts.

    A bar's fields are `rows` (those done) and `facts` (a call that returns them).
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", table_column=Column(max_width=20, no_wrap=True)),
        BarColumn(8 if console.width < 80 else 16, table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[rows]:,}/{task.total:,.0f}", justify="right",
                   table_column=Column(justify="right", no_wrap=True)),
        TimeElapsedColumn(table_column=Column(min_width=7, no_wrap=True)),
        _Facts(lock, Column(ratio=1, no_wrap=True)),
    )  # fmt: skip
    return _Bars(*columns, console=console)


def fitting(facts: Sequence[str], width: int) -> str:
    """Return those of the facts that find room in so many columns, the first ones first."""
    said = ""
    for fact in facts:
        longer = f"{said}, {fact}" if said else fact
        if len(longer) <= width or not said:
            said = longer
    return said
