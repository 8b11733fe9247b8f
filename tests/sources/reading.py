"""Files of rows, and all that a source reads from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from curate.sources.contract import Source
from curate.sources.files import Jsonl


def load(source: Source) -> list[dict[str, Any]]:
    """Every row of a source, across its units and tables."""
    return [row for unit in source.units() for t in source.read(unit) for row in t.to_pylist()]


def write(folder: Path, *rows: dict[str, Any] | str, name: str = "a.jsonl") -> str:
    """Write a row a line, text as it is, and return the path."""
    path = folder / name
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return str(path)


def jsonl(folder: Path, *rows: dict[str, Any] | str, **columns: Any) -> list[dict[str, Any]]:
    """What is read of these lines with these columns."""
    return load(Jsonl(path=write(folder, *rows), columns=columns))
