import pytest

from curate.engines import local_models
from curate.errors import ConfigError


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(ConfigError, match="packaged:smollm2-135m-instruct"):
        local_models.resolve("packaged:smollm2-135m-instuct")


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


def test_an_encoder_is_no_model_that_answers():
    with pytest.raises(ConfigError, match="unknown packaged model"):
        local_models.resolve("packaged:minilm")
