"""Parts that are cut or changed, a store from the future, two runs on one store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from harness import Calm, Runs, left

from curate.errors import StoreError
from curate.store import Record, Store


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


def test_a_part_cut_anywhere_or_with_any_bit_turned_is_never_read(tmp_path: Path) -> None:
    """Every length and many bits of a part and of its record: set aside, never believed."""
    columns = {
        "x": pa.array(["one", None, "three"]),
        "drop": pa.array([None, "for a reason", None]),
    }
    outcome = {"rows_in": 3, "rows_out": 2, "dropped": {"for a reason": 1}}
    draft = Record("s", "a1" * 32, "", "", tuple(columns), (), **outcome)
    record = Store(tmp_path).commit(draft, columns)
    stored = tmp_path / f"s/{record.key}.json"
    told, part = stored.read_bytes(), tmp_path / record.file
    raw = part.read_bytes()
    for path, whole in ((part, raw), (stored, told)):
        hurt = [whole[:size] for size in range(len(whole))]
        for bit in range(0, 8 * len(whole), 3):
            place = bit // 8
            hurt.append(whole[:place] + bytes([whole[place] ^ 1 << bit % 8]) + whole[place + 1 :])
        for damaged in hurt:
            stored.write_bytes(told)
            path.write_bytes(damaged)
            try:
                found: object = Store(tmp_path).find("s", record.key)
            except StoreError as error:  # a larger number of a format is not ours to judge
                found = None if "upgrade curate" in str(error) else error
            assert found is None, damaged
        path.write_bytes(whole)
        stored.write_bytes(told)
        assert Store(tmp_path).find("s", record.key) == record
        for aside in tmp_path.rglob("*.damaged"):
            aside.unlink()


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


def test_a_manifest_of_the_first_curate_is_read_and_brought_up_to_date(
    runs: Runs, calm: Calm, resumes: Callable[[Path], None], tmp_path: Path
) -> None:
    """It has neither the pipeline nor the counters nor the seed; all that it has still counts."""
    root = shutil.copytree(calm.root, tmp_path / "root")
    path = root / "runs/quickstart/manifest.json"
    now = json.loads(path.read_bytes())
    first = ("format", "name", "finished", "stages", "engines", "accounting", "shards")
    assert len(now) > len(first)
    path.write_text(json.dumps({name: now[name] for name in first}))
    with pa.ipc.open_file(next((root / "store/source").glob("*.arrow"))) as part:
        row = part.get_batch(0)["id"][0].as_py()
    for command in (
        ("status", "quickstart"), ("report", "quickstart"), ("show", "quickstart", "--id", row),
        ("show", "quickstart", "--dropped"),
        ("export", "quickstart", str(root / "out.jsonl"), "--format", "trl"),
        ("gc", "--dry-run"),
    ):  # fmt: skip
        said = runs.wait(runs.command(*command, "--root", str(root)))
        assert said.code == 0, (command, said.said)
    resumes(root)
    assert json.loads(path.read_bytes()) == now


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
