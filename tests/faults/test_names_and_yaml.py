"""Pipelines and names that reach for code, or out of the folders of a run and its store."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from curate.errors import ConfigError
from curate.pipeline import Pipeline
from curate.store import Record, Store

BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "line 1: anchors and aliases are not allowed"),
        ("name: &n x\nother: *n\n", "anchors and aliases"),
        ("name: !!python/object/apply:os.system ['touch CANARY']\n", "python"),
        ("name: !!python/name:os.system\n", "python"),
        ("!!python/object:curate.pipeline.Pipeline {}\n", "python"),
        ("name: !mine x\n", "!mine"),
        ("[" * 300, "line 1: nested deeper than 64 levels"),
        ("[" * 5000, "line 1: nested deeper than 64 levels"),
        ("a: [" + "[\n" * 5000, "line 63: nested deeper than 64 levels"),
        ("name: x\n" + "? " * 5000, "line 2: nested deeper than 64 levels"),
        ("{a: " * 5000, "line 1: nested deeper than 64 levels"),
        ("- " * 5000, "line 1: nested deeper than 64 levels"),
        ("name: x\nname: y\n", "name"),
        ("name: [\x00]\n", "not YAML"),
        ('name: "\\ud83d\\ude80"\n', "halves of characters"),
    ],
)
def test_yaml_is_data_or_a_clear_error(
    text: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    yaml_events: list[object],
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Pipeline.load(path)
    assert bool(yaml_events) == ("\x00" not in text)
    assert len(yaml_events) < 150  # to parse all of 5,000 brackets takes half a minute
    assert words in str(caught.value)
    assert len(str(caught.value)) < 500
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", "/etc/x", "..", ".", ".hidden", "a\x00b", "a\nb", "", "x" * 200, "~root"],
)
def test_a_runs_name_cannot_leave_its_folder(name: str, tmp_path: Path) -> None:
    form = {"name": name, "source": {"jsonl": {"path": "x", "columns": {"prompt": "prompt"}}},
            "stages": ["exact_dedup"]}  # fmt: skip
    with pytest.raises(ConfigError, match="name"):
        Pipeline.loads(json.dumps(form))
    assert Pipeline.loads(json.dumps(form | {"name": "x"})).name == "x"


SECRET = "outside"


@pytest.fixture
def store(tmp_path: Path) -> tuple[Store, Record]:
    store = Store(tmp_path / "store")
    draft = Record("s", "0" * 64, "", "", ("x",), (), 1, 1)
    return store, store.commit(draft, {"x": pa.array([1])})


@pytest.mark.parametrize(
    "file", ["../secret.arrow", "/etc/passwd", "s/../../secret", "s/a\x00.arrow"]
)
def test_a_record_cannot_lead_out_of_the_store(
    store: tuple[Store, Record], tmp_path: Path, file: str
) -> None:
    here, record = store
    (tmp_path / "secret.arrow").write_text(SECRET)
    path = here.root / f"s/{record.key}.json"
    path.write_text(json.dumps({**record.to_json(), "file": file}))
    assert Store(here.root).find("s", record.key) is None
    assert (tmp_path / "secret.arrow").read_text() == SECRET


@pytest.mark.parametrize("key", ["../outside", "/etc/passwd", "a/b", "", "nul\x00", "x" * 300])
def test_a_manifests_key_cannot_lead_out_of_the_store(tmp_path: Path, key: str) -> None:
    store = Store(tmp_path / "store")
    (tmp_path / "store/s").mkdir(parents=True)
    outside = tmp_path / "store/outside.json"
    outside.write_text("{}")
    assert store.find("s", key) is None
    assert outside.read_text() == "{}"  # not taken for a damaged record, and set aside


def test_a_stages_name_cannot_lead_out_of_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for stage in ("../up", "a/../../up", "/abs", "nul\x00", ".."):
        draft = Record(stage, "0" * 64, "", "", ("x",), (), 1, 1)
        try:
            store.commit(draft, {"x": pa.array([1])})
        except (ConfigError, OSError, ValueError):
            continue
    inside = tmp_path / "store"
    assert {p for p in tmp_path.rglob("*") if p.is_file() and inside not in p.parents} == set()


def test_a_part_that_is_a_link_to_elsewhere_is_not_taken_for_ours(
    store: tuple[Store, Record], tmp_path: Path
) -> None:
    here, record = store
    secret = tmp_path / "secret.arrow"
    secret.write_text(SECRET)
    part = here.root / record.file
    part.unlink()
    part.symlink_to(secret)
    assert Store(here.root).find("s", record.key) is None  # its bytes are not the record's
    assert secret.read_text() == SECRET
