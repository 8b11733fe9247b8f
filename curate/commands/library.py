"""Commands about what comes with the package, and about this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def stages(name: Annotated[str, typer.Argument(help="One stage's page.")] = "") -> None:
    """List the stages, or show one: what it needs, writes and can be told."""
    from curate.reference import stage_page
    from curate.stage import stage_registry, summary

    for kind in [] if name else stage_registry.names():
        typer.echo(f"{kind:<18} {summary(stage_registry.get(kind))}")
    if name:
        typer.echo(stage_page(name))


def engines(name: Annotated[str, typer.Argument(help="One engine's page.")] = "") -> None:
    """List the engines, or show one: what it can do and be told."""
    from curate.engines.contract import engine_registry
    from curate.reference import engine_section
    from curate.stage import summary

    for kind in [] if name else engine_registry.names():
        typer.echo(f"{kind:<18} {summary(engine_registry.get(kind))}")
    if name:
        typer.echo(engine_section(name))


def recipes(name: Annotated[str, typer.Argument(help="One recipe's page.")] = "") -> None:
    """List the published methods that come as pipelines, or show one."""
    from curate.recipes import FIELDS, find_recipe
    from curate.recipes import recipes as all_recipes

    for recipe in [] if name else all_recipes():
        typer.echo(f"{recipe.name:<22} {recipe.summary}")
    if name:
        found = find_recipe(name)
        typer.echo(f"{found.name}: {found.summary}\n")
        for field in FIELDS:
            typer.echo(f"{field:<8} {getattr(found, field)}")


def init(
    recipe: Annotated[str, typer.Option(help="Which recipe; `curate recipes` lists them.")],
    path: Annotated[Path | None, typer.Argument(help="The new file; else NAME.yaml.")] = None,
) -> None:
    """Write a recipe to a new file, to edit and run."""
    from curate.recipes import write_recipe

    target = path or Path(f"{recipe}.yaml")
    write_recipe(recipe, target)
    typer.echo(f"{target}: edit its source and engines, then: curate run {target}")


def doctor() -> None:
    """Say which extras, devices and how much disk this machine has."""
    from curate.doctor import examine

    for line in examine():
        typer.echo(line)
