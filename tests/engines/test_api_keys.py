import pytest

from curate.engines.api_keys import ApiKey, read_key
from curate.engines.openai import OpenAI
from curate.errors import ConfigError
from curate.pipeline import Pipeline

KEY = "sk-proj-REALSECRET-0123456789"
TEXT = """
name: x
source: {jsonl: {path: a.jsonl, columns: {id: id, prompt: prompt}}}
engines: {far: {openai: {model: m, FIELD: VALUE}}}
stages: [exact_dedup]
"""


@pytest.mark.parametrize("field", ["api_key_env", "api_key_file"])
@pytest.mark.parametrize(
    "value", [KEY, "gsk_abcDEF0123456789abcdef", "AIzaSyA-1234", "key/with+x="]
)
def test_a_key_in_place_of_a_name_is_refused_and_not_repeated(field, value):
    with pytest.raises(ConfigError, match=field) as caught:
        Pipeline.loads(TEXT.replace("FIELD", field).replace("VALUE", value))
    assert value not in str(caught.value)


def test_a_file_goes_before_the_environment_and_blanks_around_a_key_are_left_out(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    assert read_key("MY_KEY", None, "host", True).value == KEY
    path = tmp_path / "key"
    path.write_text("sk-from-a-file\n")
    assert read_key("MY_KEY", str(path), "host", True).value == "sk-from-a-file"


@pytest.mark.parametrize("content", ["", " \n", "two words", "line\nline", "schlüssel-0123"])
def test_a_file_that_holds_no_key_is_refused_unsaid(tmp_path, content):
    path = tmp_path / "key"
    path.write_text(content)
    with pytest.raises(ConfigError, match="api_key_file") as caught:
        read_key("MY_KEY", str(path), "host", True)
    assert "schl" not in str(caught.value)
    assert str(path) not in str(caught.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_key("MY_KEY", str(tmp_path / "none"), "host", True)


def test_the_place_of_a_key_is_no_part_of_an_identity_and_survives_yaml(tmp_path):
    spec = OpenAI(model="m", api_key_file="/run/secrets/key", api_key_env="OTHER_KEY")
    assert spec.identity() == OpenAI(model="m").identity()
    assert OpenAI(model="m", cut_prompts=True).identity() != spec.identity()


def test_a_key_is_cut_from_words_and_never_shown():
    key = ApiKey(KEY)
    assert key.cut_from(f"Bearer {KEY}!") == "Bearer [key]!"
    assert KEY not in repr(key) + str(key)
    short = ApiKey("word")
    assert short.cut_from("a word", data=True) == "a word"  # may well be the answer's own
    assert short.cut_from("a word") == "a [key]"
    assert ApiKey("EMPTY").cut_from("EMPTY") == "EMPTY"
