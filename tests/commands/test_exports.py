"""Handing on what a run has made: nothing of the user's is lost, and answers come back."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from small import SMALL

from curate import cli

ROWS = [{"id": f"p{i}", "prompt": f"Tell me {i} facts about {i * i}."} for i in range(40)]


@pytest.fixture
def curate(tmp_path, monkeypatch, capsys):
    """Run a command in an empty folder where the run `small` is done; return code, out, err."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CURATE_ROOT", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    Path("p.yaml").write_text(SMALL.replace("PROMPTS", "rows.jsonl"))

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["curate", *arguments])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, *capsys.readouterr()

    assert call("run", "p.yaml")[0] == 0
    return call


@pytest.mark.parametrize(
    "command",
    ["export small rows.jsonl", "export small rows.jsonl --file jsonl", "ask small rows.jsonl",
     "export small rows.jsonl --format argilla", "ask small rows.jsonl --tool argilla"],
)  # fmt: skip
def test_a_file_that_is_there_is_not_overwritten(curate, command):
    before = Path("rows.jsonl").read_bytes()
    code, _, said = curate(*command.split())
    message = "error: rows.jsonl exists; choose another name, or give --force to replace it\n"
    assert (code, said) == (2, message)
    assert Path("rows.jsonl").read_bytes() == before
    code, out, _ = curate(*command.split(), "--force")
    assert (code, Path("rows.jsonl").read_bytes() == before) == (0, False)
    assert out.endswith(" in rows.jsonl\n")


def test_the_labels_of_label_studio_are_not_overwritten_either(curate):
    Path("t.json.xml").write_text("mine")
    assert curate("ask", "small", "t.json")[2].startswith("error: t.json.xml exists")
    assert not Path("t.json").exists()
    assert Path("t.json.xml").read_text() == "mine"


def test_the_name_of_a_file_says_its_format(curate):
    assert curate("export", "small", "a.jsonl", "--format", "rm")[0] == 0
    assert "chosen" in json.loads(Path("a.jsonl").read_text().splitlines()[0])
    assert curate("export", "small", "b.parquet", "--format", "kto")[0] == 0
    assert Path("b.parquet").read_bytes()[:4] == b"PAR1"
    for name in ("c.csv", "c.json", "c.jsonl.gz"):
        code, _, said = curate("export", "small", name)
        assert code == 2
        assert said.startswith(
            f"error: {name}: an export is a file that ends in .parquet or .jsonl"
        )
        assert not Path(name).exists()
    assert curate("export", "small", "v1.2")[0] == 0
    assert list(Path("v1.2").glob("*.parquet"))


def test_card_and_audit_are_of_the_pipeline_that_made_the_rows(curate):
    """A run that is killed between the two files leaves another pipeline beside the manifest."""
    beside = Path("runs/small/pipeline.yaml")
    beside.write_text(beside.read_text().replace("small", "other"))
    assert curate("export", "small", "out")[0] == 0
    card = Path("out/README.md").read_text()
    assert "engine: small" in card
    assert "engine: other" not in card
    assert "features of embeddings" in curate("audit", "small", "--engine", "small")[1]
    assert "unknown engine 'other'" in curate("audit", "small", "--engine", "other")[2]


def test_an_exported_folder_has_a_card_and_loads(curate):
    import datasets

    assert curate("export", "small", "out", "--file", "jsonl", "--format", "dpo")[0] == 0
    card = Path("out/README.md").read_text()
    assert "path: train-*.jsonl" in card
    assert "\n- best_worst\n" in card
    loaded = datasets.load_dataset("out", cache_dir="cache")["train"]
    assert len(loaded) == json.loads(Path("out/export.json").read_text())["records"]
    assert set(loaded["source"]) == {"best_worst"}


def test_files_are_as_long_as_they_are_asked_to_be(curate, monkeypatch):
    from curate.export import records

    monkeypatch.setattr(records, "BATCH_ROWS", 8)
    records_in, _, _ = curate("export", "small", "out", "--rows-per-file", "8")
    assert records_in == 0
    assert len(list(Path("out").glob("train-*.parquet"))) > 2


def test_the_formats_are_listed_without_a_run(curate):
    code, out, _ = curate("export", "--list")
    assert code == 0
    assert out.splitlines()[0].startswith("preference ")
    assert "(also kto, bco)" in out


def test_a_folder_is_no_file_of_tasks(curate):
    for command in ("ask small .", "export small . --format argilla"):
        code, _, said = curate(*command.split())
        assert (code, said) == (2, "error: . is a folder; name the file to write\n")


def test_what_people_say_comes_back_as_judgments_of_people(curate):
    assert curate("export", "small", "t.json", "--format", "argilla", "--most", "5")[0] == 0
    tasks = json.loads(Path("t.json").read_text())
    assert len(tasks) == 5
    for task in tasks:
        task["responses"] = {"better": [{"user_id": "ann", "value": "first"}]}
    Path("back.json").write_text(json.dumps(tasks))
    code, out, hint = curate("import", "small", "back.json")
    assert (code, out) == (0, "5 answers of 1 people in runs/small/answers.json, 5 of them new\n")
    assert "people: {path: runs/small/answers.json}" in hint
    text = (
        Path("p.yaml")
        .read_text()
        .replace("  - combine\n", "  - people: {path: runs/small/answers.json}\n  - combine\n")
    )
    Path("p.yaml").write_text(text)
    assert curate("run", "p.yaml")[0] == 0
    row = tasks[0]["metadata"]["row"]
    steps = [json.loads(x) for x in curate("show", "small", "--id", row)[1].splitlines()]
    (judgment,) = next(step["judgments"] for step in steps if step["stage"] == "people")
    assert (judgment["judge"], judgment["score"]) == ("people:ann", 1.0)
    _, _, hint = curate("import", "small", "back.json")
    assert hint == "run the pipeline again, with people.path=runs/small/answers.json\n"


def test_splits_that_end_up_in_one_file_are_said(curate):
    text = Path("p.yaml").read_text().rstrip()
    Path("p.yaml").write_text(f"{text}\n  - split: {{parts: {{train: 0.6, test: 0.4}}}}\n")
    assert curate("run", "p.yaml")[0] == 0
    _, out, said = curate("export", "small", "x.jsonl")
    parts = re.fullmatch(r"(\d+) records in x.jsonl: train (\d+), test (\d+)\n", out)
    assert parts is not None
    assert int(parts[1]) == int(parts[2]) + int(parts[3])
    assert "--keep split adds a column" in said
    _, again, said = curate("export", "small", "y.jsonl", "--keep", "split")
    assert "tells these splits apart" not in said
    kept = [json.loads(line)["split"] for line in Path("y.jsonl").read_text().splitlines()]
    assert f"train {kept.count('train')}, test {kept.count('test')}\n" in again
    _, out, said = curate("export", "small", "out")
    assert "tells these splits apart" not in said
    assert out.endswith(f"in out: train {parts[2]}, test {parts[3]}\n")
