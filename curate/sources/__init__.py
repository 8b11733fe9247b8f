"""Sources: files and datasets in, canonical shards out."""

ELSEWHERE = {"arrow": "files", "jsonl": "files", "parquet": "files"}
"""The modules of sources that are not in a module of their own name."""
