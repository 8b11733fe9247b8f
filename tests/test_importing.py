"""What is said of an extra's package that is not there, lacks what it needs, or is broken."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from curate.engines.vllm_loading import import_vllm
from curate.errors import ConfigError, MissingExtra, importing
from curate.methods.vectors import load_faiss
from curate.report.charts import draw
from curate.report.page import render

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a module of this name and content before all others."""

    def put(name: str, content: str) -> None:
        (tmp_path / f"{name}.py").write_text(content)
        monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()

    monkeypatch.syspath_prepend(str(tmp_path))
    return put


def bring() -> None:
    with importing("brought", "embed", "brought-py"):
        importlib.import_module("brought")


def test_what_is_there_is_imported_and_what_is_not_is_named_with_its_extra(
    install: Install,
) -> None:
    with pytest.raises(MissingExtra) as caught:
        bring()
    wanted = "install it with: pip install 'curate-preferences[embed]'"
    assert str(caught.value) == f"brought-py is not installed; {wanted}"
    install("brought", "import needed_by_it")
    with pytest.raises(MissingExtra) as caught:
        bring()
    assert str(caught.value) == f"needed_by_it, which brought-py needs, is not installed; {wanted}"
    install("brought", "")
    bring()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("from json import nothing_of_this", "ImportError: cannot import name"),
        ("import json.missing", "ModuleNotFoundError: No module named 'json.missing'"),
        ("raise OSError('libcudart.so: no\\n such file')", "OSError: libcudart.so: no such file"),
        ("raise RuntimeError('wrong version')", "RuntimeError: wrong version"),
    ],
)
def test_a_broken_package_is_not_said_to_be_missing(
    install: Install, content: str, said: str
) -> None:
    install("brought", content)
    with pytest.raises(ConfigError) as caught:
        bring()
    assert not isinstance(caught.value, MissingExtra)
    assert str(caught.value).startswith(f"brought-py is installed and cannot be imported ({said}")
    assert "pip install --force-reinstall 'curate-preferences[embed]'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_memory_is_no_broken_package(install: Install) -> None:
    install("brought", "raise MemoryError")
    with pytest.raises(MemoryError):
        bring()


@pytest.mark.parametrize(
    ("module", "package", "call"),
    [
        ("jinja2", "jinja2", lambda: render({})),
        ("vl_convert", "vl-convert-python", lambda: draw({}, "")),
        ("faiss", "faiss-cpu", load_faiss),
        ("vllm", "vllm", import_vllm),
    ],
)
def test_the_extras_say_so(
    install: Install, module: str, package: str, call: Callable[[], object]
) -> None:
    install(module, "from json import nothing_of_this")
    with pytest.raises(ConfigError, match=f"^{package} is installed and cannot be imported"):
        call()
