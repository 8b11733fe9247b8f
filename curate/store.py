"""The content-addressed store: what a run has committed, whatever happens to the run.

A part is written under a unique name, synced, and becomes real when its record is created
exclusively by a hard link. A record that exists is done; the first record wins and a loser
deletes its own file. Only a retry of what failed replaces a record, and no part is overwritten.
Readers follow records, never a glob.
Columns are brought into canonical form before writing, so a part's sha256 is a hash of its
values. Arrow IPC has no checksums: the sha256 in the record is the only guard against damage.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import orjson
import pyarrow as pa

from curate import disk
from curate.arrays import one_chunk
from curate.disk import serialize, sha256_of, sync, writing
from curate.errors import StoreError
from curate.threads import in_order

Item = TypeVar("Item")

PIECES = ".pieces"  # the folder for what the workers of one divided stage share meanwhile
VECTORS = ".vectors"  # the folder for vectors by text, see `vector_cache`
_COMMITS = 2  # at once: one waits for the disk while another is serialised
FORMAT = 1  # of records; a store written by a newer format is refused, not guessed at


def digest(value: object) -> str:
    """Return the sha256 (hex) of JSON-serialisable data, keys in sorted order."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


class Damaged(StoreError):
    """A record whose content makes no sense; what it stands for can be made again."""


@dataclass(frozen=True)
class Record:
    """One committed part: where it lies, what it holds and how its rows fared."""

    stage: str
    key: str
    file: str  # relative to the store
    sha256: str
    columns: tuple[str, ...]
    appends: tuple[str, ...]
    rows_in: int
    rows_out: int
    dropped: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    engines: dict[str, dict[str, str]] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def failures(self) -> int:
        """How many of its rows and calls have failed."""
        return sum(self.failed.values()) + self.counts.get("errors", 0)

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON-serialisable data."""
        return dict(self.__dict__)  # `asdict` would copy every value, which takes a while

    def pack(self) -> bytes:
        """Return the record as it is stored: as JSON, with a digest of itself."""
        data = self.to_json()
        return orjson.dumps({**data, "check": digest(data)})

    @classmethod
    def unpack(cls, raw: bytes) -> Record:
        """Read a stored record. Raises StoreError for a newer format, Damaged for anything else.

        Records of early versions have no digest.
        """
        try:
            data = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise Damaged(f"a damaged record: {error}") from None
        if not isinstance(data, dict):
            raise Damaged("a damaged record: no JSON object")
        check = data.pop("check", None)
        record = cls.from_json(data)
        if check not in (None, digest(data)):
            raise Damaged("a damaged record: its digest is another")
        return record

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Record:
        """Rebuild a record. Raises StoreError for a newer format, Damaged for missing fields."""
        try:
            if data["format"] > FORMAT:
                raise StoreError(
                    f"the store was written in format {data['format']}, and this curate reads "
                    f"{FORMAT}; upgrade curate, or give it another folder with --root"
                )
            lists = {name: tuple(data[name]) for name in ("columns", "appends")}
            return cls(**{**data, **lists})
        except (TypeError, KeyError) as error:
            raise Damaged(f"a damaged record: {error}") from None


Part: TypeAlias = tuple[Record, Mapping[str, pa.Array]]
"""What is to be committed: a record without file and sha256, and the columns."""


class Store:
    """Parts and their records below one folder. Safe for many processes and threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._verified: set[str] = set()

    def find(self, stage: str, key: str) -> Record | None:
        """Return the committed record, or None where there is none or it is damaged.

        Raises StoreError where the store cannot be read or has a newer format.

        A part whose bytes do not match its record is set aside as `.damaged` beside it, and so
        is computed again.
        """
        if not re.fullmatch(r"\w{1,100}", key):
            return None  # a manifest that was tampered with must not lead outside the store
        path = self._record_path(stage, key)
        try:
            if key not in self._verified:
                _stamp(path)
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error}") from error
        try:
            record = Record.unpack(raw)
            ours = (record.stage, record.key) == (stage, key)  # not another part's record
            if ours and (key in self._verified or self._intact(record)):
                self._verified.add(key)
                return record
        except (TypeError, Damaged):
            pass
        with writing(path), contextlib.suppress(FileNotFoundError):  # another run was first
            path.rename(path.with_suffix(f".{uuid.uuid4().hex[:8]}.damaged"))
        return None

    def commit(
        self, record: Record, columns: Mapping[str, pa.Array], *, over: bool = False
    ) -> Record:
        """Write the part and create its record; return the record that won.

        `record` comes without file and sha256. With `over` it takes the place of one that is there,
        whose file stays for whoever reads it until a sweep. Raises StoreError where the disk
        refuses.
        """
        pieces = serialize(columns)
        folder = self._folder(record.stage)
        nonce = uuid.uuid4().hex[:12]
        name = f"{record.key}.{nonce}.arrow"
        scratch = folder / f"{record.key}.{nonce}.tmp"
        try:
            with writing(folder), ThreadPoolExecutor(1) as beside:  # none outlasts a fork
                hashed = beside.submit(sha256_of, pieces)
                folder.mkdir(parents=True, exist_ok=True)
                disk.write_synced(folder / name, *pieces)
                final = replace(record, file=f"{folder.name}/{name}", sha256=hashed.result())
                disk.write_synced(scratch, final.pack())
                place = self._record_path(record.stage, record.key)
                try:
                    if over:
                        scratch.replace(place)
                    else:
                        os.link(scratch, place)
                except FileExistsError:
                    (folder / name).unlink()
                    winner = self.find(record.stage, record.key)
                    return winner if winner is not None else self.commit(record, columns)
                sync(folder)
        except StoreError:
            with contextlib.suppress(OSError):
                if not self._record_path(record.stage, record.key).exists():
                    (folder / name).unlink(missing_ok=True)
            raise
        finally:
            with contextlib.suppress(OSError):
                scratch.unlink(missing_ok=True)
        self._verified.add(record.key)
        return final

    def commit_all(
        self, items: Iterable[Item], part_of: Callable[[Item], Part]
    ) -> Iterator[Record]:
        """Commit the part of each item as they come; yield the records in order.

        A few at once, as each waits for the disk; `part_of` is called by the threads that commit.
        """
        return in_order(lambda item: self.commit(*part_of(item)), items, _COMMITS, _COMMITS - 1)

    def read(self, record: Record, columns: Iterable[str]) -> dict[str, pa.Array]:
        """Return the named columns of a part, memory-mapped. Raises StoreError if it is gone."""
        wanted = [name for name in record.columns if name in set(columns)]
        if not wanted:
            return {}
        path = self.root / record.file
        try:
            # Reading all columns costs nothing where the file is mapped; asking the reader for
            # some of them makes it copy the whole file. A buffer is read at once, where a file
            # would be handed to Arrow's thread for input and output.
            with pa.memory_map(str(path)) as source:
                table = pa.ipc.open_file(source.read_buffer()).read_all().select(wanted)
        except (OSError, pa.ArrowInvalid) as error:
            raise StoreError(f"cannot read part {path}: {error}") from error
        if table.num_rows != record.rows_in:
            raise StoreError(f"part {path} has {table.num_rows} rows, its record {record.rows_in}")
        return {name: one_chunk(table[name]) for name in table.column_names}

    def _intact(self, record: Record) -> bool:
        if not re.fullmatch(r"[\w.-]+/[0-9a-f]+\.[0-9a-f]+\.arrow", record.file):
            return False  # a record must not lead outside the store
        try:
            with (self.root / record.file).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == record.sha256
        except OSError:
            return False

    def _folder(self, stage: str) -> Path:
        return self.root / folder_name(stage)

    def _record_path(self, stage: str, key: str) -> Path:
        return self._folder(stage) / f"{key}.json"


def folder_name(stage: str) -> str:
    """Return the name of the folder that holds a stage's parts."""
    return re.sub(r"^\.|[^\w.-]", "-", stage)


def _stamp(path: Path) -> None:
    """Say by the record's time of change that the part is in use, so that no sweep takes it.

    Raises FileNotFoundError where there is no record; a store that cannot be written to has no
    sweeps either.
    """
    try:
        os.utime(path)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
