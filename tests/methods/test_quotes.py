from curate.methods.quotes import quoted

HIDDEN = "Way too chummy for where I work. Could you tone it down?"


def test_a_run_of_hidden_words_is_a_quote():
    answer = "Since it was \u201cway too chummy for where I work\u201d, here it is again."
    assert quoted(answer, HIDDEN, "", 6) == "way too chummy for where i"
    assert quoted(answer, HIDDEN, "", 8) == ""
    assert quoted("Happy birthday, and all good wishes.", HIDDEN, "", 3) == ""


def test_what_the_prompt_says_too_may_be_repeated():
    assert quoted("could you tone it down", HIDDEN, "Please could you tone it down", 4) == ""
    assert (
        quoted("for where I work, yes", HIDDEN, "could you tone it down", 4) == "for where i work"
    )


def test_what_is_too_short_is_never_quoted():
    assert quoted("thank you", "Thank you!", "", 3) == quoted("", HIDDEN, "", 2) == ""
