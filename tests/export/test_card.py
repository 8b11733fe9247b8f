"""The card: front matter that the Hub and `datasets` read, and where data come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from curate.executors import Local
from curate.export.card import CardFacts, Origin, dataset_card, escape, fenced, size_category
from curate.export.records import ExportSummary
from curate.loop import run
from curate.pipeline import Pipeline
from curate.provenance import encoders_of, origin_of
from curate.stages.decontaminate import Decontaminate
from curate.stages.embed import Embed
from curate.stages.people import People

GIVEN = """
name: given
license: cc-by-4.0
source:
  jsonl:
    path: PATH
    columns: {id: id, prompt: prompt, candidates: answers, scores: scores}
stages:
  - combine
  - best_worst
  - embed
  - split: {parts: {train: 0.7, test: 0.3}}
"""
JUDGED = """
name: judged
source: {jsonl: {path: PATH, columns: {id: id, prompt: prompt}}}
engines: {a: {scripted: {model: "model-a"}}}
stages:
  - generate: {engine: a, n: 2}
  - judge: {engine: a, score: expected}
  - combine
  - best_worst
"""


def front(text: str) -> dict:
    return YAML(typ="safe").load(text.split("\n---\n")[0].removeprefix("---\n"))


def made(tmp_path: Path, text: str) -> tuple[Path, str]:
    path = tmp_path / "rows.jsonl"
    rows = [
        {"id": f"r{i}", "prompt": f"Question {i}?", "answers": ["a", "b"], "scores": [1.0, 0.0]}
        for i in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pipeline = Pipeline.loads(text.replace("PATH", str(path)))
    folder = run(pipeline, tmp_path, executor=Local(workers=1)).folder / "dataset"
    return folder, (folder / "README.md").read_text("utf-8")


def test_datasets_reads_the_front_matter_and_the_data_by_it(tmp_path: Path) -> None:
    import datasets
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCard

    folder, _ = made(tmp_path, GIVEN)
    data = DatasetCard.load(folder / "README.md").data
    info = DatasetInfosDict.from_dataset_card_data(data)["default"]
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert info.features == loaded["train"].features
    assert {s.name: s.num_examples for s in info.splits.values()} == {
        name: len(split) for name, split in loaded.items()
    }
    assert sum(s.num_bytes for s in info.splits.values()) == info.dataset_size > 0
    assert info.download_size == sum(f.stat().st_size for f in (folder / "data").iterdir())
    assert data.license == "cc-by-4.0"
    assert data.size_categories == ["n<1K"]
    assert loaded["train"].info.features == info.features


def test_a_run_without_engines_says_what_it_was_made_from(tmp_path: Path) -> None:
    _, text = made(tmp_path, GIVEN)
    assert front(text)["annotations_creators"] == ["found"]
    assert "synthetic" not in front(text)["tags"]
    assert (
        "The answers came with the source; preferences rest on labels or scores that came" in text
    )
    assert "best\\_worst 40" in text
    assert "models. Judges favour" not in text
    assert "stage: embed; model: packaged:minilm; version: " in text
    assert "No engine" not in text
    assert "Install `curate-preferences==" in text
    assert "have the digest `" in text


def test_models_and_people_are_named_where_they_had_a_part(tmp_path: Path) -> None:
    _, text = made(tmp_path, JUDGED)
    assert front(text)["annotations_creators"] == ["machine-generated"]
    assert "synthetic" in front(text)["tags"]
    assert "Language models wrote answers in this run; preferences rest on the verdicts of" in text
    assert "- Preferences come from models. Judges favour" in text
    both = CardFacts("x", "name: x\n", origin=Origin(verdicts=True, people=True))
    card = dataset_card(both, "preference", ExportSummary(1, {}, 1, {"train": 1}))
    assert front(card)["annotations_creators"] == ["machine-generated", "other"]
    assert "the verdicts of language models and the answers of people" in card
    assert "- Preferences come partly from models." in card


def test_stages_tell_who_had_a_part_and_what_encoded(tmp_path: Path) -> None:
    answers = tmp_path / "answers.json"
    answers.write_text("[]")
    assert origin_of([People(path=str(answers))]) == Origin(people=True)
    bench = tmp_path / "bench.jsonl"
    bench.write_text('{"question": "x"}\n')
    looked = {"benchmarks": [{"name": "b", "path": str(bench), "column": "question"}]}
    stages = [Embed(model="no/such-model"), Decontaminate(**looked)]
    assert encoders_of(stages) == [{"stage": "embed", "model": "no/such-model"}]
    compared = Decontaminate(**looked, embedding="embedding")
    (found,) = encoders_of([compared])
    assert (found["stage"], found["model"]) == ("decontaminate", "packaged:minilm")


def test_the_digest_of_the_source_follows_its_rows(tmp_path: Path) -> None:
    def digest(text: str) -> str:
        return text.split("have the digest `")[1][:64]

    one, two, other = (tmp_path / name for name in ("one", "two", "other"))
    for folder in (one, two, other):
        folder.mkdir()
    again = GIVEN.replace("embed", "exact_dedup")
    assert digest(made(one, GIVEN)[1]) == digest(made(two, again)[1])
    assert digest(made(other, GIVEN.replace("id: id, ", ""))[1]) != digest(made(one, GIVEN)[1])


@pytest.mark.parametrize(
    ("records", "name"),
    [
        (0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**7, "10M<n<100M"),
        (10**9, "1B<n<10B"), (5 * 10**10, "10B<n<100B"), (10**11, "100B<n<1T"), (10**12, "n>1T"),
    ],
)  # fmt: skip
def test_size_categories_are_the_hubs(records: int, name: str) -> None:
    assert size_category(records) == name


def test_card_resists_hostile_text() -> None:
    facts = CardFacts(
        "x\n---\n# evil <script>", "a: |\n  ```\n  ````\n# free", engines=[{"m": "[a](b)|<b>"}],
        stages=[{"stage": "s|t", "rows_in": 2, "rows_out": 1, "dropped": {"a|b\nc": 1}}],
    )  # fmt: skip
    text = dataset_card(facts, "preference", ExportSummary(1, {}, 1, {"train": 1}))
    head = front(text)
    assert head["pretty_name"] == "x --- # evil <script>"
    assert head["configs"][0]["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]
    assert "`````yaml\n" in text
    body = text.split("\n---\n", 1)[1]
    assert "<script>" not in body
    assert "| s\\|t | 2 | 1 | a\\|b c: 1 |  |" in text
    assert fenced("`" * 9, "").startswith("`" * 10)
    assert "\n" not in escape("a\n\r\u2028b")


def test_stages_of_one_kind_are_numbered_as_in_plan_and_status(tmp_path):
    again = "  - judge: {engine: a, rubric: honesty, score: expected}\n"
    _, text = made(tmp_path, JUDGED.replace("  - combine\n", again + "  - combine\n"))
    rows = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| judge")]
    assert rows == ["| judge", "| judge 2"]
