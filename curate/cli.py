"""The command line. Bodies are a few lines; exit codes are documented in the README.

Data goes to stdout and everything else to stderr; `--json` prints JSON lines only.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Annotated

import typer

from curate.commands.audit import audit
from curate.commands.evaluate import judge, lint
from curate.commands.exports import ask, export, import_answers, push
from curate.commands.gc import gc
from curate.commands.library import doctor, engines, init, recipes, stages
from curate.commands.results import report, show
from curate.commands.runs import plan, run, status, validate
from curate.errors import INTERNAL, CurateError, enough_memory
from curate.lookout import watched

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: drawing boxes would take longer than all else together
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"curate {version('curate-preferences')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say it; exit.")
    ] = False,
) -> None:
    """Turn prompts and raw model answers into preference data that can be trusted."""


COMMANDS: dict[Callable[..., None], str] = {
    run: "Run a pipeline; the same command resumes it.",
    plan: "Say what a run would do, and with --sample what it would cost.",
    validate: "Check a pipeline without data and models.",
    status: "Say how far a run has come, and what became of its rows.",
    show: "Show one row's history, or what was dropped and why.",
    report: "Write one HTML page about a run.",
    audit: "Say what the data prefer: length, lists, hedging, features.",
    export: "Write a run's rows in a trainer's format.",
    push: "Upload a run's dataset and its card to the Hub.",
    ask: "Write the least certain pairs as tasks for people.",
    lint: "Look over a set for what no training set should hold.",
    recipes: "List published methods that come as pipelines, or show one.",
    init: "Write a recipe to a new file, to edit and run.",
    stages: "List the stages, or show one.",
    engines: "List the engines, or show one.",
    doctor: "Say which extras and devices this machine has.",
    gc: "Remove parts that no run needs.",
}
"""Each command, and its line in the list of them: a longer one would be cut off."""
for command, line in COMMANDS.items():
    app.command(short_help=line)(command)
app.command("import", short_help="Take in people's answers to the tasks of `ask`.")(import_answers)
app.add_typer(judge, name="judge")


def _from_the_command(error: Exception) -> TracebackType | None:
    """Return the traceback without the frames that took the command line apart."""
    at = error.__traceback__
    while at and not at.tb_frame.f_globals.get("__name__", "").startswith("curate.commands."):
        at = at.tb_next
    return at or error.__traceback__


def main() -> None:
    """Run the command line; an expected error is one line, a bug is a traceback."""
    watched(_main)


def _main() -> None:
    logging.getLogger("stamina").setLevel(logging.ERROR)  # a retry that helps is no news
    sys.path.append(str(Path.cwd()))  # for `module:Class`; last, so that it can hide nothing
    try:
        with enough_memory("curate"):
            app()
    except Exception as error:
        code = error.exit_code if isinstance(error, CurateError) else INTERNAL
        if code == INTERNAL or os.environ.get("CURATE_DEBUG"):
            traceback.print_exception(error.with_traceback(_from_the_command(error)))
        else:
            typer.echo(f"error: {error}", err=True)
        sys.exit(code)
