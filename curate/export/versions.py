"""What a run's dataset is, and what it has that the version before had not.

`dataset.json` beside the dataset holds the digest of all that the dataset was made from, its
summary and its changes; `rows-<digest>.arrow` a hash of each exported row's id with its number of
records. The changes stand beside the dataset, not in it: its bytes must depend on what it was
made from and never on what was there before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from curate.disk import replace_synced, serialize, writing
from curate.export.records import Exported, ExportSummary, Tally


class Versions:
    """The finished versions of the dataset in a run's folder: the last, and the one to come.

    A crash at any step leaves the last version's rows and either its mark or none: a mark never
    stands beside a dataset that it does not describe.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._mark = folder, folder / "dataset.json"

    def current(self, state: str) -> ExportSummary | None:
        """Return the dataset's summary if it was made from `state`."""
        mark = self._read()
        if mark.get("state") != state or not (self._folder / "dataset").exists():
            return None
        return ExportSummary(**mark["summary"])

    def begin(self) -> None:
        """Say that the dataset is about to be replaced; its rows stay on record."""
        mark = self._read()
        if mark.get("state"):
            replace_synced(self._mark, orjson.dumps({**mark, "state": None}))

    def finish(self, state: str, summary: ExportSummary, tally: Tally) -> dict[str, int] | None:
        """Describe the dataset now in place; return its changes, None for the first version."""
        before, now = self._rows(self._read().get("rows")), tally.exported()
        found = changes(before, now) if before is not None else None
        name = f"rows-{state[:16]}.arrow"
        replace_synced(self._folder / name, *serialize(now._asdict()))
        mark = {"state": state, "summary": summary._asdict(), "changes": found, "rows": name}
        replace_synced(self._mark, orjson.dumps(mark))
        with writing(self._folder):
            for path in self._folder.glob("rows-*.arrow"):
                if path.name != name:
                    path.unlink()
        return found

    def _read(self) -> dict[str, Any]:
        """Return the mark; an unreadable one counts as none."""
        try:
            mark = orjson.loads(self._mark.read_bytes())
            return mark if isinstance(mark, dict) else {}
        except (OSError, ValueError):
            return {}

    def _rows(self, name: object) -> Exported | None:
        if not isinstance(name, str) or Path(name).name != name:
            return None
        try:
            with pa.OSFile(str(self._folder / name)) as source:
                table = pa.ipc.open_file(source).read_all()
            return Exported(*(table[column].combine_chunks() for column in Exported._fields))
        except (OSError, pa.ArrowInvalid, KeyError):
            return None


def changes(before: Exported, now: Exported) -> dict[str, int]:
    """Count the rows and records that one version has and the other has not, by row id.

    A row with more (or fewer) records than before adds (or removes) the difference; a row whose
    records changed while their number stayed counts nowhere.
    """
    keys = np.concatenate([before.key.to_numpy(), now.key.to_numpy()])
    counts = np.concatenate([-before.records.to_numpy(), now.records.to_numpy()]).astype(np.int64)
    unique, place = np.unique(keys, return_inverse=True)
    difference = np.bincount(place, counts, len(unique)).astype(np.int64)
    old = np.isin(unique, before.key.to_numpy())
    new = np.isin(unique, now.key.to_numpy())
    return {
        "rows_added": int((new & ~old).sum()),
        "rows_removed": int((old & ~new).sum()),
        "records_added": int(difference[difference > 0].sum()),
        "records_removed": int(-difference[difference < 0].sum()),
    }
