"""A run's rows in a trainer's form, from what the run left behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from curate import history
from curate.export.records import ExportSummary
from curate.export.survey import Again
from curate.export.trainer_files import Layout, write_form
from curate.provenance import card_facts
from curate.work import live_tables


def export_run(root: Path, name: str, out: Path, form: str, layout: Layout) -> ExportSummary:
    """Write the rows that a run below `root` kept to `out`, and return what became of them.

    `out` is a folder, which gets a card, or a file; see `trainer_files.write_form`, whose errors
    this has. Raises ConfigError for an unknown run, and StoreError for parts that are gone.
    """
    found = history.manifest(root, name)
    store, shards = history.shards(root, found)
    pipeline = history.pipeline_of(root, name, found)
    card = replace(card_facts(pipeline, shards), name=name, seed=history.seed_of(found, pipeline))
    rows = Again(lambda: live_tables(store, shards))
    return write_form(rows, out, form, layout, card)
