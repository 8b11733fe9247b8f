import pytest

from curate.methods.labels import json_labels, json_list, read_labels, read_list

ASKED = {"2": ("thanks", "none"), "4": ("thanks", "none")}


@pytest.mark.parametrize(
    ("text", "found", "status"),
    [
        ("2: thanks\n4: none", {"2": "thanks", "4": "none"}, "ok"),
        ("So:\n**2: Thanks.**\n- 4 = none", {"2": "thanks", "4": "none"}, "ok"),
        ("<think>2: none</think>2: thanks\n4: none", {"2": "thanks", "4": "none"}, "ok"),
        ("2: thanks", {"2": "thanks"}, "ok"),  # unknown is not "none"
        ("2: happy\n4: none", {"4": "none"}, "ok"),
        ("2: thanks\n4: none\nthat is all\nreally", {}, "parse_error"),  # not at the end
        ("4: none\nnot quite\n2: thanks\n9: none", {"2": "thanks"}, "ok"),
        ("2: thanks\n2: happy", {}, "parse_error"),  # the later line of a key counts
        ("2: thanks\n3: none", {"2": "thanks"}, "ok"),
        ("<think>2: thanks\n4: none", {}, "truncated"),
        ("I cannot help with that.", {}, "refused"),
        ("", {}, "parse_error"),
    ],
)
def test_only_clear_labels_of_the_last_lines_count(text, found, status):
    assert read_labels(text, ASKED) == (found, status)


def test_a_list_is_its_marked_lines_or_all_lines():
    assert read_list("Here:\n- Is it short?\n* Is it kind?\n\nDone", 9) == [
        "Is it short?", "Is it kind?",
    ]  # fmt: skip
    assert read_list("1. one\n2) two\n3. one", 9) == ["one", "two"]
    assert read_list("Is it short?\nIs it kind?", 1) == ["Is it short?"]
    assert read_list("<think>- no</think>\n- yes", 9) == ["yes"]
    assert read_list("<think>- no", 9) == read_list(" \n ", 9) == []


@pytest.mark.parametrize(
    ("text", "found", "status"),
    [
        ('{"2": "thanks", "4": "none"}', {"2": "thanks", "4": "none"}, "ok"),
        ('{"2": "happy", "4": "none", "6": "none"}', {"4": "none"}, "ok"),
        ('{"2": ["thanks"], "4": null}', {}, "parse_error"),
        ("2: thanks", {}, "parse_error"),
        ("<think>so", {}, "truncated"),
        ("I cannot help with that.", {}, "refused"),
    ],
)
def test_labels_in_json_are_those_that_were_asked_for(text, found, status):
    assert json_labels(text, ASKED) == (found, status)


def test_a_list_in_json_holds_texts_that_say_something():
    assert json_list('{"texts": [" one ", "...", "two", "one", 3, "three"]}', 2) == ["one", "two"]
    for empty in ('{"texts": "one"}', '{"text": ["one"]}', '["one"]', "- one", ""):
        assert json_list(empty, 9) == []
