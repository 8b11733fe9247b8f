"""The recipes: published curation methods as pipelines to start from.

A recipe is a pipeline file whose first comment says what it is for. The comment's lines are
`# name: summary` and then `# field: text` for each of `FIELDS`, with longer texts indented.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from curate.errors import ConfigError, did_you_mean

FOLDER = Path(__file__).parent / "recipe_files"
FIELDS = ("need", "cost", "output", "when", "source", "open")
NOT_HERE = """\
## What is not implemented

The losses of these papers are a trainer's. curate writes what they read (CREAM's and rDPO's
`p_correct`, RDPO's `rationale`, PRO's ranks and scores, a margin) and trains nothing; so OSP's and
iREPO's losses, which read nothing else, have no recipe.

These ways of making or judging preferences are published too, and curate has none of them:

- PORTIA (Li et al. 2023): long answers cut into pieces that are judged side by side.
- MaxMin-RLHF, PAL and MiCRo (2024 and 2025): groups of people found by their labels, with a reward
  model for each. `personas` and `fspo` are for people who are known.
- The tree search of MCTS-DPO and TPO (Xie et al. 2024, Liao et al. 2024), which chooses what to
  continue by PUCT and pairs siblings by value and visits. `math_steps` continues every beginning
  equally often.
- CycleAlign (Hong et al. 2023): a label from what two rankings have in common in order. `cream`
  compares two rankings by Kendall's tau.
"""


@dataclass(frozen=True)
class Recipe:
    """One recipe: its name, what it does, and what its comment says."""

    name: str
    summary: str
    need: str  # what must be there: prompts, pairs, models
    cost: str  # calls per prompt
    output: str
    when: str  # when to use it
    source: str  # the paper
    open: str  # what the source leaves open, and what was chosen
    text: str  # the whole file


def recipes() -> list[Recipe]:
    """Return all recipes by name. Raises ConfigError for one whose comment is incomplete."""
    return [read_recipe(path) for path in sorted(FOLDER.glob("*.yaml"))]


def find_recipe(name: str) -> Recipe:
    """Return the recipe called `name`. Raises ConfigError with the closest known name."""
    known = {recipe.name: recipe for recipe in recipes()}
    if name not in known:
        raise ConfigError(f"no recipe {name!r}{did_you_mean(name, known)}")
    return known[name]


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file and its leading comment. Raises ConfigError naming what is missing."""
    text = path.read_text(encoding="utf-8")
    found: dict[str, str] = {}
    field = ""
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        name, colon, value = line[1:].partition(":")
        name = name.strip()
        if colon and not line.startswith("#  ") and name in (path.stem, *FIELDS):
            field = name
            found[field] = value.strip()
        elif field:
            found[field] += " " + line[1:].strip()
    missing = [name for name in (path.stem, *FIELDS) if not found.get(name)]
    if missing:
        raise ConfigError(f"recipe {path.name}: its first comment lacks {', '.join(missing)}")
    fields = {name: found[name] for name in FIELDS}
    return Recipe(name=path.stem, summary=found[path.stem], text=text, **fields)


def page() -> str:
    """Return the table of all recipes as Markdown, from their comments."""
    shown = ("need", "cost", "output", "when")
    lines = [
        "<!-- Written by `make docs` from the recipes' first comments; edit those. -->",
        "# Recipes",
        "",
        "Published methods as pipelines to start from: `curate init --recipe NAME` writes one to a "
        "file,",
        "`curate recipes NAME` says where it comes from and what its source leaves open. What each",
        "gave on a few rows with a small real model, and what it called, stands in",
        "[benchmarks/recipes.md](../benchmarks/recipes.md).",
        "",
        f"| recipe | what it does | {' | '.join(shown)} |",
        "|---" * (len(shown) + 2) + "|",
    ]
    for recipe in recipes():
        cells = [recipe.summary, *(getattr(recipe, field) for field in shown)]
        link = f"[`{recipe.name}`](../pipelines/recipes/{recipe.name}.yaml)"
        lines.append(
            f"| {link} | {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
        )
    return "\n".join([*lines, "", NOT_HERE])


def write_recipe(name: str, path: Path) -> None:
    """Write the recipe to a new file. Raises ConfigError where there is one already."""
    recipe = find_recipe(name)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(recipe.text)
    except FileExistsError:
        raise ConfigError(f"{path} exists; give another name, or move it away") from None
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None


if __name__ == "__main__":
    import sys

    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
