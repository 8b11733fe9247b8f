"""Take back the room of parts that nothing needs any more (`curate gc`).

The rule: a part stays if a manifest below `runs/` names it, if it was written or looked up since
the start of a run that has not ended (one at work, or one that was killed and can resume), or if
it was so in the last days that the caller asks for. Cached vectors stay likewise: those used since
such a start, by a part that stays, or by the last audit or report of a run. Everything else in
the store goes. Runs may work meanwhile: a run says that it is open before it looks anything up,
every look-up stamps the record's time of change, and a record is moved aside before its stamp is
looked at a last time. All times are the file system's own, so hosts whose clocks differ can share a
store. Should that clock go back behind the start of a run that has not ended, nothing is known of
what the run used since, and everything stays until it ends.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from curate.disk import writing
from curate.errors import ConfigError, StoreError
from curate.guard import OPEN, locked
from curate.manifest import parts_named
from curate.store import PIECES, VECTORS, folder_name
from curate.vector_cache import CLAIM, USED

CLAIMS = ("manifest.json", OPEN, f"*{CLAIM}")  # the files of a run's folder by which things stay
DAY_S = 86_400.0
_NAME = re.compile(r"([0-9a-f]{64})(?:\.[0-9a-f]+)?\.(json|arrow|tmp|damaged|gone)")


@dataclass
class Swept:
    """What went, or would go: whole parts, files of no part, their bytes; and the parts kept.

    `open` names the runs that have begun and not ended, with the seconds since 1970 from which on
    what was used stays for their sake.
    """

    parts: int = 0
    leftovers: int = 0
    bytes: int = 0
    kept: int = 0
    open: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _File:
    path: Path
    key: str
    kind: str
    size: int
    used: float


def sweep(
    root: Path, *, older_than: float = 0.0, forget: Sequence[str] = (), dry_run: bool = False
) -> Swept:
    """Remove from `root/store` what no run needs; see the module's docstring for the rule.

    `older_than` is in days. The runs in `forget` give up their claim, whether they ever had a
    manifest or not: their manifests are removed (datasets and reports stay, and running them again
    does the work again). With `dry_run` nothing is changed. Raises ConfigError for an unknown run,
    LockHeld where one to forget is at work or another sweep is, and StoreError where a manifest
    cannot be read.
    """
    store, runs = root / "store", root / "runs"
    for name in forget:
        known = sorted({p.parent.name for what in CLAIMS for p in runs.glob(f"*/{what}")})
        if name not in known:
            raise ConfigError(f"--forget {name!r}: no such run; runs: {', '.join(known) or 'none'}")
    if not store.is_dir():
        return Swept()
    with locked(store, "sweep", writes=False):
        for name in () if dry_run else forget:
            with locked(runs / name, writes=False), writing(runs / name):
                for path in [p for what in CLAIMS for p in (runs / name).glob(what)]:
                    path.unlink(missing_ok=True)
        latest = _now(store) - older_than * DAY_S  # before the claims: a run may begin meanwhile
        claims = _claims(runs, forget)
        before = min([latest, *claims.values()])
        now = _now(store)
        for name in [name for name, begun in claims.items() if begun > now]:
            before = 0.0  # the clock went back: what the run used since bears earlier times
            if not dry_run:
                _predate(runs / name / OPEN)  # so that a later sweep knows of it too
        needed, swept = _needed(runs, forget), Swept(open=claims)  # what ended has its manifest now
        users = [path for path in runs.glob(f"*/*{CLAIM}") if path.parent.name not in forget]
        with os.scandir(store) as entries:
            folders = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
        for name in folders:
            users += _sweep_folder(store / name, needed.get(name, set()), before, dry_run, swept)
        for pieces in (store / PIECES).glob("*/"):
            _sweep_pieces(pieces, before, dry_run, swept)
        _sweep_vectors(store / VECTORS, users, before, dry_run, swept)
    return swept


def _claims(runs: Path, forget: Sequence[str]) -> dict[str, float]:
    """Return when each run that has not ended began, by its name."""
    claims = {}
    for path in sorted(runs.glob(f"*/{OPEN}")):
        if path.parent.name not in forget:
            with contextlib.suppress(FileNotFoundError):  # it ends meanwhile
                claims[path.parent.name] = _changed(path)
    return claims


def _predate(claim: Path) -> None:
    with writing(claim), contextlib.suppress(FileNotFoundError):  # the run ends meanwhile
        os.utime(claim, (0, 0))


def _needed(runs: Path, forget: Sequence[str]) -> dict[str, set[str]]:
    """Return the keys that manifests name, by folder of the store."""
    needed: dict[str, set[str]] = {}
    for path in runs.glob("*/manifest.json"):
        if path.parent.name in forget:
            continue
        try:
            for stage, key in parts_named(orjson.loads(path.read_bytes())):
                needed.setdefault(folder_name(stage), set()).add(key)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{path} cannot be read, so what it needs is not known; run its pipeline again "
                f"or remove the folder ({error})"
            ) from None
    return needed


def _sweep_folder(
    folder: Path, needed: set[str], before: float, dry_run: bool, swept: Swept
) -> list[Path]:
    """Sweep the parts of one stage; return the records of those that stay."""
    stay = []
    for moved in [file for file in _files(folder) if file.kind == "gone" and not dry_run]:
        _put_back(moved.path, folder / f"{moved.key}.json")  # an earlier sweep was killed here
    by_key: dict[str, list[_File]] = {}
    for file in _files(folder):
        by_key.setdefault(file.key, []).append(file)
    for key, files in sorted(by_key.items()):
        record = next((f for f in files if f.kind == "json"), None)
        parts = [f for f in files if f.kind == "arrow"]
        rest = [f for f in files if f.kind not in ("json", "arrow")]
        if record is None:
            rest += parts
        elif key in needed or record.used >= before:
            swept.kept += 1
            stay.append(record.path)
            rest += _of_losers(record, parts)
        elif dry_run or _take(record, before):
            swept.parts += 1
            _remove([*parts, record] if dry_run else parts, dry_run, swept)
            swept.bytes += 0 if dry_run else record.size
        else:
            swept.kept += 1
            stay.append(record.path)
        stale = [file for file in rest if file.used < before]
        swept.leftovers += len(stale)
        _remove(stale, dry_run, swept)
    return stay


def _sweep_pieces(folder: Path, before: float, dry_run: bool, swept: Swept) -> None:
    """Sweep what the workers of a stage shared when their run was killed."""
    with contextlib.suppress(FileNotFoundError):  # it ends meanwhile
        facts = [path.stat() for path in (folder, *folder.iterdir())]
        if max(one.st_mtime for one in facts) < before:
            swept.leftovers += len(facts) - 1
            swept.bytes += sum(one.st_size for one in facts[1:])
            if not dry_run:
                shutil.rmtree(folder, ignore_errors=True)


def _sweep_vectors(
    folder: Path, users: Sequence[Path], before: float, dry_run: bool, swept: Swept
) -> None:
    """Sweep the files of vectors by text that nobody has used; who looks for one encodes again.

    `users` are the files that name those which what stays has used; they are read only where
    there is a file that may go.
    """
    old = []
    for path in sorted(folder.glob("*/*")):
        with contextlib.suppress(FileNotFoundError):
            facts = path.stat()
            if facts.st_mtime < before:
                old.append((path, facts.st_size))
    used = set[str]().union(*map(_vectors_used, users)) if old else set()
    for path, size in old:
        if f"{path.parent.name}/{path.name}" not in used:
            swept.leftovers += 1
            swept.bytes += size
            if not dry_run:
                with writing(path):
                    path.unlink(missing_ok=True)


def _vectors_used(path: Path) -> set[str]:
    """Return the files of vectors that a record, or a run's claim, names; none if it is damaged."""
    try:
        raw = path.read_bytes()
        if f'"{USED}"'.encode() not in raw:  # most records name none
            return set()
        found = orjson.loads(raw)
        return set(map(str, found.get("info", found)[USED]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()


def _take(record: _File, before: float) -> bool:
    """Remove the record, unless it turns out to have been used; true if it is gone."""
    aside = record.path.with_name(f"{record.key}.{uuid.uuid4().hex[:8]}.gone")
    with writing(record.path):
        record.path.rename(aside)  # from here on nobody finds the part
        if _changed(aside) >= before:
            _put_back(aside, record.path)
            return False
        aside.unlink()
    return True


def _put_back(aside: Path, path: Path) -> None:
    with writing(path):
        try:
            os.link(aside, path)
        except FileExistsError:  # the part was made again meanwhile, but somebody may read the old
            for part in path.parent.glob(f"{path.stem}.*.arrow"):
                os.utime(part)
        aside.unlink()


def _of_losers(record: _File, parts: list[_File]) -> list[_File]:
    """Return the files of a part that are not the one its record names."""
    if len(parts) < 2:
        return []
    try:
        name = Path(orjson.loads(record.path.read_bytes())["file"]).name
    except (OSError, ValueError, KeyError, TypeError):
        return []  # a damaged record: whoever looks it up next sets it aside
    return [part for part in parts if part.path.name != name]


def _remove(files: Sequence[_File], dry_run: bool, swept: Swept) -> None:
    for file in files:
        swept.bytes += file.size
        if not dry_run:
            with writing(file.path):
                file.path.unlink(missing_ok=True)


def _files(folder: Path) -> Iterator[_File]:
    """Yield what the store itself wrote; a file of another name is none of its business."""
    with os.scandir(folder) as entries:
        for entry in entries:
            found = _NAME.fullmatch(entry.name)
            if found and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):
                    facts = entry.stat(follow_symlinks=False)
                    path = Path(entry.path)
                    yield _File(path, found[1], found[2], facts.st_size, facts.st_mtime)


def _now(store: Path) -> float:
    """Return the file system's time."""
    probe = store / f".{uuid.uuid4().hex[:8]}.now"
    with writing(probe):
        probe.touch()
        now = _changed(probe)
        probe.unlink()
    return now


def _changed(path: Path) -> float:
    return path.stat().st_mtime
