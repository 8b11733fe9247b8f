"""What a user's next turn says about the answer before it, and where to cut the conversation.

The kinds of content and of discontent are those that WildFeedback (Shi et al. 2024,
arXiv:2408.15549) tags; what each means is put in our own words.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

CONTENT: Mapping[str, str] = {
    "gratitude": "thanks the assistant for what it did",
    "learning": "says that they learned or understood something",
    "compliance": "does what the answer advised, or says that it worked",
    "praise": "calls the answer good",
    "personal_details": "opens up and tells something of themselves because of the answer",
    "humour": "jokes along in a friendly way",
    "acknowledgement": "confirms that the answer is right or is what they meant",
    "positive_closure": "ends the conversation content",
    "getting_there": "says that the answer is better than before, though not yet there",
}
DISCONTENT: Mapping[str, str] = {
    "negative_feedback": "calls the answer bad, or shows anger or disappointment",
    "revision": "asks to have the answer done again or changed",
    "factual_error": "says that something in the answer is wrong",
    "unrealistic_expectation": "wants what no assistant can do, and complains about not getting it",
    "no_engagement": "does not react to what the answer asks or offers",
    "ignored": "says that their request, or a part of it, was passed over, or repeats it",
    "lower_quality": "says that the answer is worse than one before",
    "insufficient_detail": "asks for more, as the answer says too little",
    "style": "wants another tone, form or length",
}
NONE = "none"
KINDS = (*CONTENT, *DISCONTENT, NONE)


def asked_turns(roles: Sequence[str]) -> list[int]:
    """Return the places of the user turns that may react to an answer.

    Each follows an assistant's turn that itself follows a user's.
    """
    return [
        turn
        for turn in range(2, len(roles))
        if (roles[turn - 2], roles[turn - 1], roles[turn]) == ("user", "assistant", "user")
    ]


def first_signal(kinds: Sequence[str | None], wanted: Collection[str]) -> int | None:
    """Return the place of the first turn whose kind is wanted, or None.

    The answer that it reacts to is the turn before; the prompt of that answer is everything
    before the answer, so that no word of the feedback is in it.
    """
    return next((turn for turn, kind in enumerate(kinds) if kind in wanted), None)
