"""How a run ended, and what may be done with it from Python."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import ConfigError
from curate.export.records import ExportSummary

if TYPE_CHECKING:
    from datasets import DatasetDict

    from curate.export.trainer_files import Layout


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    `finished` says that every stage is done and the dataset, if one is asked for, is written; a
    run that was stopped, a share of one, and one that went `until` a stage before the last are
    not. `signal` is the number of the signal that stopped it, before its last stage was done.

    `accounting` holds the books: `rows_in`; `rows_exported` and `records`, or `rows_alive` where
    nothing was exported; `dropped` and `failed`, each {"stage: reason": rows}; `dropped_inside`,
    see `books.account`, where rows that stayed lost pairs or candidates; and `stages`, how many
    are done, with the `unique_id` that every run starts with.
    """

    folder: Path
    finished: bool
    accounting: dict[str, Any]
    signal: int | None = None

    def dataset(self) -> DatasetDict:
        """Return the dataset that the run exported, its splits by name.

        `curate push` uploads it with its card; `push_to_hub` of what is returned here writes one
        of its own. Raises ConfigError where this run exported nothing.
        """
        if "records" not in self.accounting:
            raise ConfigError(
                f"the run in {self.folder} exported no dataset: "
                + ("its pipeline has `export: null`" if self.finished else "it has not finished")
            )
        from datasets import load_from_disk

        return load_from_disk(str(self.folder / "dataset"))

    def export(
        self, out: Path | str, form: str = "preference", layout: Layout | None = None
    ) -> ExportSummary:
        """Write the run's rows in a trainer's form, as `curate export` does, and return the counts.

        `out` is a folder or a file, such as "x.jsonl"; `layout` says what the files are like, with
        which columns beside the form's, and whether to replace a file. Raises ConfigError for an
        unknown form, columns that it lacks and a file that is there.
        """
        from curate.export.trainer_files import Layout
        from curate.exported import export_run

        root = self.folder.parent.parent
        return export_run(root, self.folder.name, Path(out), form, layout or Layout())
