"""What a bar has room for."""

from __future__ import annotations

from curate.bars import fitting


def test_facts_that_find_no_room_are_left_out_whole() -> None:
    facts = ["0:00:15 left", "2.0 calls/s", "3 gone", "20 of 50 calls"]
    assert fitting(facts, 99) == ", ".join(facts)
    assert fitting(facts, 33) == "0:00:15 left, 2.0 calls/s, 3 gone"
    assert fitting(facts, 26) == "0:00:15 left, 2.0 calls/s"
    assert fitting(facts, 20) == "0:00:15 left, 3 gone"
    assert fitting(["at work"], 3) == "at work"  # cut where it is drawn
    assert fitting([], 3) == ""
