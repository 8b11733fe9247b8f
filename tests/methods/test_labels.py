import pytest

from curate.methods.labels import read_labels, read_list

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
