"""Turn prompts and raw model answers into preference data that can be trusted.

The names below are loaded when first used, so that importing the package stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from curate import stages as stages
    from curate.engines.contract import Sampling as Sampling
    from curate.engines.openai import OpenAI as OpenAI
    from curate.engines.vllm import VLLM as VLLM
    from curate.evaluation.dataset_lint import lint_dataset as lint_dataset
    from curate.executors.local import Local as Local
    from curate.executors.ray import Ray as Ray
    from curate.export.trainer_files import Layout as Layout
    from curate.loop import run as run
    from curate.pipeline import Pipeline as Pipeline
    from curate.sources.columns import Columns as Columns
    from curate.sources.files import Arrow as Arrow
    from curate.sources.files import Jsonl as Jsonl
    from curate.sources.files import Parquet as Parquet
    from curate.sources.hf import HuggingFace as HuggingFace
    from curate.sources.values import Raw as Raw
    from curate.stage import Stage as Stage
    from curate.stage import drop as drop
    from curate.stage import fail as fail

_HOME = {
    "Pipeline": "curate.pipeline",
    "run": "curate.loop",
    "Local": "curate.executors.local",
    "Ray": "curate.executors.ray",
    "Stage": "curate.stage",
    "drop": "curate.stage",
    "fail": "curate.stage",
    "Sampling": "curate.engines.contract",
    "VLLM": "curate.engines.vllm",
    "OpenAI": "curate.engines.openai",
    "Jsonl": "curate.sources.files",
    "Parquet": "curate.sources.files",
    "Arrow": "curate.sources.files",
    "HuggingFace": "curate.sources.hf",
    "Columns": "curate.sources.columns",
    "Raw": "curate.sources.values",
    "Layout": "curate.export.trainer_files",
    "lint_dataset": "curate.evaluation.dataset_lint",
}

__all__ = sorted([*_HOME, "stages"])

if not TYPE_CHECKING:  # to a type checker a misspelt name is an error, not Any

    def __getattr__(name: str) -> object:
        """Load a public name from its module."""
        if name == "stages":
            return importlib.import_module("curate.stages")
        if name not in _HOME:
            from curate.errors import did_you_mean

            hint = "" if name.startswith("_") else did_you_mean(name, __all__)
            raise AttributeError(f"module 'curate' has no attribute {name!r}{hint}")
        return getattr(importlib.import_module(_HOME[name]), name)

    def __dir__() -> list[str]:
        return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
