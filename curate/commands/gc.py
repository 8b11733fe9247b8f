"""The command that takes back room in the store: `curate gc`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import orjson
import typer

from curate.commands.options import Json, Root


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say it; remove nothing.")] = False,
    older_than: Annotated[
        float, typer.Option(min=0, help="DAYS: keep what was used in the last days.")
    ] = 0.0,
    forget: Annotated[
        list[str], typer.Option(help="A run whose parts may go, ended or not; its dataset stays.")
    ] = [],  # noqa: B006 - typer reads it, nobody writes it
    root: Root = Path(),
    json: Json = False,
) -> None:
    """Remove parts that no run needs: none that a run at work, stopped or killed looked up."""
    from curate.garbage import sweep
    from curate.guard import utc

    swept = sweep(root, older_than=older_than, forget=forget, dry_run=dry_run)
    if json:
        typer.echo(orjson.dumps(asdict(swept)).decode())
        return
    did = "would remove" if dry_run else "removed"
    typer.echo(
        f"{did} {swept.bytes:,} bytes: {swept.parts:,} parts and {swept.leftovers:,} left-over "
        f"files; kept {swept.kept:,} parts"
    )
    for name, begun in swept.open.items():
        typer.echo(
            f"run {name} has not ended: whatever was used since {utc(begun)} stays; run it "
            f"again, or give it up with --forget {name}"
        )
