"""Commands that look at what a run has made, and hand it on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from curate.commands.options import Root, RunName, print_json


def show(
    name: RunName,
    row: Annotated[str, typer.Option("--id", help="One row's whole history.")] = "",
    dropped: Annotated[bool, typer.Option(help="Rows that were dropped or failed.")] = False,
    text: Annotated[
        bool | None,
        typer.Option("--text/--json", help="Text to read, or JSON lines; by default JSON lines "
                     "where the output is no terminal.", show_default=False),
    ] = None,
    root: Root = Path(),
) -> None:  # fmt: skip
    """Show one row's history with every call that was made for it, or what was dropped and why."""
    from curate import history

    if not row and not dropped:
        raise typer.BadParameter("give --id ID or --dropped")
    if row:
        from curate.commands.rows import history_lines
        from curate.replay import show_row

        steps = show_row(root, name, row)
        if sys.stdout.isatty() if text is None else text:
            for line in history_lines(steps):
                typer.echo(line)
            return
    else:
        from curate.store import Store

        found = history.manifest(root, name)
        steps = history.dropped(Store(root / "store"), history.with_losses(root, found))
    for step in steps:
        print_json(step)


def report(
    name: RunName,
    out: Annotated[Path | None, typer.Option(help="File to write; else beside the run.")] = None,
    against: Annotated[str, typer.Option(help="Another run to compare with.")] = "",
    encoder: Annotated[
        str,
        typer.Option(help="For features of embeddings, where the run stored none of its answers: "
                     "some 20 s; none: leave them out."),
    ] = "packaged:minilm",
    root: Root = Path(),
) -> None:  # fmt: skip
    """Write one HTML page about a run: what to look at, rows, judges, models, leanings, cost."""
    from curate.disk import replace_synced
    from curate.errors import ConfigError
    from curate.estimate import against as beside_estimate
    from curate.report import report as make_report

    path = out or root / "runs" / name / "report.html"
    if path.is_dir():
        raise ConfigError(f"--out {path} is a folder; name a file in it, as {path / 'report.html'}")
    page = make_report(
        root,
        name,
        against or None,
        encoder=None if encoder == "none" else encoder,
        estimates=beside_estimate(root, name),
    )
    replace_synced(path, page.encode())
    typer.echo(path)
