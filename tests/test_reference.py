from pathlib import Path

from curate.engines.contract import Sampling, engine_registry
from curate.reference import built_in, engines_page, field_meanings, pages, sources_page
from curate.sources.columns import Columns
from curate.sources.contract import source_registry
from curate.stage import Stage, stage_registry

DOCS = Path(__file__).parents[1] / "docs/stages"


def test_the_pages_are_those_of_the_classes():
    made = pages()
    there = {path.name: path.read_text(encoding="utf-8") for path in DOCS.glob("*.md")}
    assert sorted(there) == sorted(made)
    stale = [name for name, text in made.items() if there[name] != text]
    assert not stale, "run `make docs`"


def test_a_stage_of_a_users_own_has_no_page():
    class Own(Stage, name="own_for_reference"):
        """Not one of ours."""

    assert "own_for_reference" in stage_registry.names()
    assert "own_for_reference.md" not in pages()


def test_every_stage_and_every_field_is_explained():
    for kind in built_in():
        stage = stage_registry.get(kind)
        assert stage.__doc__, kind
        missing = sorted(set(stage.model_fields) - set(field_meanings(stage)))
        assert not missing, f"{kind}: {missing}"


def test_the_page_of_engines_is_that_of_the_classes_and_explains_every_field():
    page = engines_page()
    assert (DOCS.parent / "engines.md").read_text(encoding="utf-8") == page, "run `make docs`"
    kinds = ("cross_encoder", "openai", "scripted", "vllm", "vllm_reward")
    for cls in (Sampling, *map(engine_registry.get, kinds)):
        assert set(cls.model_fields) == set(field_meanings(cls)), cls
    assert [line[3:] for line in page.splitlines() if line[:3] == "## "] == [*kinds, "sampling"]
    openai = page.partition("## openai")[2].partition("## scripted")[0]
    free = openai.partition("makes nothing anew: ")[2]
    assert "`concurrency`" in free
    assert "`model`" not in free
    assert "`cut_prompts`" not in free  # it changes what is asked


def test_a_stage_names_the_fields_of_a_short_mapping():
    judge = pages()["judge.md"]
    assert "| `sampling` | mapping: `temperature`, `top_p`," in judge
    assert "`columns` | mapping |" in sources_page()  # its fields have a table of their own


def test_the_page_of_sources_is_that_of_the_classes_and_explains_every_field():
    page = sources_page()
    assert (DOCS.parent / "sources.md").read_text(encoding="utf-8") == page, "run `make docs`"
    for cls in (Columns, *map(source_registry.get, ("arrow", "hf", "jsonl", "parquet"))):
        assert set(cls.model_fields) == set(field_meanings(cls)), cls
    for said in ("relative to the directory", "held in memory", "is the checkpoint"):
        assert said in page
