"""Parts that are cut or changed, a store from the future, two runs on one store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Calm, Runs, left


def test_any_damaged_part_is_set_aside_and_made_again(
    runs: Runs, calm: Calm, resumes: Callable[[Path], None], tmp_path: Path
) -> None:
    root = shutil.copytree(calm.root, tmp_path / "root")
    records = sorted((root / "store").glob("*/*.json"))
    for number, path in enumerate(records):
        part = root / "store" / json.loads(path.read_text())["file"]
        raw = part.read_bytes()
        place = number * 7919 % len(raw)
        flipped = raw[:place] + bytes([raw[place] ^ 1 << number % 8]) + raw[place + 1 :]
        part.write_bytes((flipped, raw[:place], b"")[number % 3])
    resumes(root)
    assert len(list((root / "store").glob("*/*.damaged"))) == len(records)


def test_damaged_records_are_set_aside_and_made_again(
    runs: Runs, calm: Calm, resumes: Callable[[Path], None], tmp_path: Path
) -> None:
    root = shutil.copytree(calm.root, tmp_path / "root")
    shapes = (b"", b"[]", b"{}", b'{"format": 1}', b'{"format": "x"}', b"\xff", b"null")
    for number, path in enumerate(sorted((root / "store").glob("*/*.json"))):
        raw = path.read_bytes()
        path.write_bytes((*shapes, raw[: len(raw) // 2])[number % 8])
    resumes(root)


def test_parts_of_another_place_missing_ones_and_foreign_ones(
    runs: Runs, calm: Calm, resumes: Callable[[Path], None], tmp_path: Path
) -> None:
    """Files that changed places are damage; lost ones are made again; strangers are left alone."""
    root = shutil.copytree(calm.root, tmp_path / "root")
    parts = sorted((root / "store").glob("*/*.arrow"))
    one, other = parts[0].read_bytes(), parts[-1].read_bytes()
    parts[0].write_bytes(other)
    parts[-1].write_bytes(one)
    parts[1].unlink()
    records = sorted((root / "store").glob("*/*.json"))
    records[len(records) // 2].unlink()
    records[2].write_bytes(records[3].read_bytes())  # the record of another part
    strangers = [parts[2].with_name(f"{'f' * 64}.0123456789ab.arrow"), root / "store/notes.txt"]
    strangers += [parts[2].with_suffix(".tmp"), root / "store/old.arrow"]
    for path in strangers:
        path.write_bytes(one)
    resumes(root)
    assert all(path.read_bytes() == one for path in strangers)


@pytest.mark.parametrize("name", ["manifest.json", "events.jsonl", "owner.json", "pipeline.yaml"])
def test_a_damaged_file_of_the_run_is_said_and_made_again(
    runs: Runs, calm: Calm, resumes: Callable[[Path], None], tmp_path: Path, name: str
) -> None:
    root = shutil.copytree(calm.root, tmp_path / "root")
    path = root / "runs/quickstart" / name
    raw = path.read_bytes()
    shapes = [raw[: len(raw) // 2], b"", b"\xff\x00", b"[]", b'{"format": 99}']
    for shape in shapes:
        path.write_bytes(shape)
        for command in (("status", "quickstart"), ("gc", "--dry-run")):
            said = runs.wait(runs.command(*command, "--root", str(root)))
            assert said.code in (0, 2, 3), said
            assert "Traceback" not in said.said, (command, shape, said.said)
    resumes(root)


def test_a_newer_store_is_refused_and_left_alone(runs: Runs, calm: Calm, tmp_path: Path) -> None:
    root = shutil.copytree(calm.root, tmp_path / "root")
    for path in (root / "store").glob("*/*.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2, "new": {}}))
    before = {p: p.read_bytes() for p in (root / "store").rglob("*") if p.is_file()}
    ended = runs(root)
    assert ended.code == 3
    assert "was written in format 2" in ended.said.splitlines()[-1]
    assert {p: p.read_bytes() for p in (root / "store").rglob("*") if p.is_file()} == before


def test_two_runs_race_on_one_store(runs: Runs, calm: Calm, tmp_path: Path) -> None:
    names = ("one", "two")
    started = [runs.start(tmp_path, "--set", f"name={name}", "--workers", "2") for name in names]
    ended = [runs.wait(one) for one in started]
    assert [e.code for e in ended] == [0, 0], ended
    books = [left(tmp_path, name)["books"] for name in names]
    assert books == [calm.left["books"]] * 2
    stored = {k: v for k, v in calm.left.items() if len(k.rsplit("/", 1)[-1]) == 64}
    assert {k: v for k, v in left(tmp_path, "one").items() if k in stored} == stored
    assert not list((tmp_path / "store").glob("*/*.tmp"))
    assert len(list((tmp_path / "store").glob("*/*.arrow"))) == len(stored)
    for path in (tmp_path / "runs/one/dataset").rglob("*.parquet"):
        other = tmp_path / "runs/two/dataset" / path.relative_to(tmp_path / "runs/one/dataset")
        assert path.read_bytes() == other.read_bytes()
