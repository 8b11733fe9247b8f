"""Turn prompts and raw model answers into preference data that can be trusted.

The names below are loaded when first used, so that importing the package stays cheap.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Pipeline": "curate.pipeline",
    "run": "curate.loop",
    "Local": "curate.executors.local",
    "Stage": "curate.stage",
    "drop": "curate.stage",
    "fail": "curate.stage",
    "Sampling": "curate.engines.contract",
    "VLLM": "curate.engines.vllm",
    "OpenAI": "curate.engines.openai",
    "Jsonl": "curate.sources",
    "Parquet": "curate.sources",
    "Arrow": "curate.sources",
    "HuggingFace": "curate.sources",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOME:
        raise AttributeError(f"module 'curate' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
