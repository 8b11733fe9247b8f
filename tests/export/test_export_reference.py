"""The page of export forms, and the names under which forms are found."""

import re
import runpy
from pathlib import Path

import pytest

from curate.errors import ConfigError
from curate.export.catalogue import ALIASES, FORMS, form_named
from curate.export.reference import lines, page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs/exports.md"
ENVIRONMENTS = ROOT / "tests/export/trainers/environments.py"


def test_the_page_is_that_of_the_forms():
    assert DOCS.read_text(encoding="utf-8") == page(), "run `make docs`"


def test_every_form_is_explained_and_listed_with_a_record():
    sections = dict(part.split("\n", 1) for part in page().split("\n## ")[1:])
    assert set(FORMS) | {"people"} == set(sections)
    for name, form in FORMS.items():
        assert form.build.__doc__, name
        assert '\n{"' in sections[name], f"{name} shows no record"
    assert [line.split()[0] for line in lines()] == [*FORMS, "label-studio", "argilla"]


def test_what_is_said_to_be_read_is_what_is_installed_to_read_it():
    """The tests of a trainer hold `read_by` to the version at work; this holds it to the pins."""
    pinned = {
        trainer: packages[0].partition("==")[2]
        for trainer, (_, packages) in runpy.run_path(str(ENVIRONMENTS))["PINS"].items()
    }
    lock = (ROOT / "requirements-cpu.lock").read_text()
    pinned["TRL"] = re.search(r"^trl==(\S+)", lock, re.M)[1]
    said = {reader for form in FORMS.values() for reader in form.read_by}
    assert said == {f"{trainer} {version}" for trainer, version in pinned.items()}


def test_a_form_is_found_by_the_training_that_reads_it():
    assert form_named("dpo") is FORMS["preference"]
    assert form_named("kto") is FORMS["unpaired"]
    assert form_named("rm") is FORMS["implicit"]
    assert set(ALIASES.values()) <= set(FORMS)
    assert not set(ALIASES) & set(FORMS)
    with pytest.raises(ConfigError, match="unknown export form 'ktoo'; did you mean 'kto'"):
        form_named("ktoo")
