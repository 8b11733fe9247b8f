"""The commands as a user calls them, in a process of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def curate(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Wait for a command; return its exit code and what it said, as text."""
    return subprocess.run(
        [sys.executable, "-m", "curate", *map(str, arguments)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
