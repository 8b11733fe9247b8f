"""Sources: files and datasets in, canonical shards out."""

from curate.sources.columns import Columns
from curate.sources.contract import Source, Unit, source_registry
from curate.sources.files import Arrow, Jsonl, Parquet
from curate.sources.hf import HuggingFace

__all__ = [
    "Arrow",
    "Columns",
    "HuggingFace",
    "Jsonl",
    "Parquet",
    "Source",
    "Unit",
    "source_registry",
]
