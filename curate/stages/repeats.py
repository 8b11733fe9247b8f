"""What repeats between rows and must not count twice: labels, prompts, answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.arrays import (
    Floats,
    Ints,
    flat,
    hashes,
    join_texts,
    large,
    lists,
    mix,
    places_of,
    set_field,
)
from curate.division import Division, pick
from curate.methods.copies import near_text, percent, text_marks
from curate.methods.pieces import Hashes
from curate.methods.shingles import WIDTH, number_equal, word_counts
from curate.methods.templates import questions, words_in
from curate.schema import DROP
from curate.stage import Context, Result, Stage
from curate.stages.dedup_items import (
    best_first,
    drop_items,
    item_order,
    item_texts,
    item_value,
    items_of,
    names_of,
    normal,
    spread,
    system_marks,
    with_ranking,
)
from curate.stages.pair_edits import all_dropped, read_pairs, set_floats
from curate.stages.reduced import Reduced, Values
from curate.stages.repeats_division import CappedPairs, ConstantAnswers

SAME = "chosen and rejected are the same text"


class Votes(NamedTuple):
    """The labels of the same two answers, put together (each (n,) over the pairs)."""

    agree: Floats
    """Weight of the pairs with the same chosen answer, this one included."""
    against: Floats
    """Weight of those with the other one."""
    first: Ints
    """The first pair with the same chosen answer: itself, where it is the first."""
    opposite: Ints
    """The first pair with the other one, or -1."""


def count_votes(key: Hashes, chosen: Hashes, weight: Floats, order: Ints) -> Votes:
    """Put together the pairs of equal `key` (2, n), which say that `chosen` (n,) is better.

    `order` (n) lists the pairs, so that the first of each side is the one to keep.
    """
    number, head = number_equal(key, order)
    side = 2 * number + (chosen != chosen[head[number]])
    total = np.bincount(side, weight, 2 * len(head))
    first = np.full(2 * len(head), -1, dtype=np.int64)
    first[side[order[::-1]]] = order[::-1]  # of several, the one written last stays
    return Votes(total[side], total[side ^ 1], first[side], first[side ^ 1])


class MergePairs(Reduced, name="merge_pairs"):
    """Make one pair of those that have the same prompt and the same two answers.

    Where all agree on which is better, the first pair (or the best by `keep_by`) stays and its
    weight is the sum of theirs (1 where a pair has none). Where they contradict each other,
    `contradiction: drop` drops them all; with `majority` the side of more weight stays, with the
    difference as its weight; with `keep` each side stays, with its own weight. Writes `conflict`:
    for each pair the share of the weight that says otherwise (null for a dropped pair). A pair
    whose answers are the same text is dropped. `counts`: "contradicted" and "merged" pairs.
    """

    version = 3
    scope = "dataset"
    needs = ("id", "prompt", "candidates", "pairs")
    writes = ("pairs", "conflict")
    contradiction: Literal["drop", "majority", "keep"] = "drop"
    """What to do with pairs that contradict each other."""
    keep_by: str | None = None
    """The pairs' number (margin, p_correct, weight) by which the best one stays."""

    def needed(self) -> tuple[str, ...]:
        """Need the ranking column too."""
        return with_ranking(self.needs, self.keep_by)

    def named(self) -> tuple[str, ...]:
        """Return the ranking column."""
        return () if self.keep_by is None else (self.keep_by,)

    def reduced(self, view: pa.Table, ctx: Context) -> Mapping[str, Values]:
        """Return the live pairs' texts as hashes, their weights, names, and what ranks them."""
        pairs, items = read_pairs(view), items_of(view, "pair")
        text = hashes(normal(pc.fill_null(large(flat(view["candidates"], "text")), "")))
        chosen, rejected = text[pairs.chosen[pairs.live]], text[pairs.rejected[pairs.live]]
        prompt = text_marks(item_texts(view, "prompt", seal=True))[0][:, items.row]
        low, high = np.minimum(chosen, rejected), np.maximum(chosen, rejected)
        found: dict[str, Values] = {
            "key": np.stack([mix(part, low, high) for part in prompt]),
            "chosen": chosen,
            "same": chosen == rejected,
            "weight": np.nan_to_num(pairs.floats("weight")[pairs.live], nan=1.0),
            "name": names_of(view, "pair", items, np.arange(len(items.row))),
        }
        if self.keep_by is not None:
            found["value"] = item_value(view, "pair", self.keep_by)
        return found

    def decided(self, found: Mapping[str, Values], ctx: Context) -> Mapping[str, Values]:
        """Return each live pair's new weight and conflict, and why it goes, where it does."""
        chosen, same, weight = (np.asarray(found[n]) for n in ("chosen", "same", "weight"))
        order = np.arange(len(same))
        if self.keep_by is not None:
            order = best_first(np.asarray(found["value"]), self.keep_by)
        votes = count_votes(np.asarray(found["key"]), chosen, weight, order)
        lost = ~same & (votes.opposite >= 0)
        ctx.counts["contradicted"] += int(lost.sum())
        total = votes.agree
        if self.contradiction == "majority":
            lost &= votes.agree <= votes.against
            total = votes.agree - votes.against
        elif self.contradiction == "keep":
            lost &= False
        stays = ~same & ~lost & (votes.first == np.arange(len(same)))
        merged = ~same & ~lost & ~stays
        ctx.counts["merged"] += int(merged.sum())
        # The reasons name the pair that stays, or the first that says otherwise.
        why = pa.nulls(len(same), pa.string())
        for mask, twin, what in (
            (merged, votes.first, "merged (with "),
            (lost, votes.opposite, "contradicted (by "),
        ):
            texts = join_texts(what, pick(found["name"], twin[mask]), ")")
            why = pc.coalesce(why, spread(len(same), np.flatnonzero(mask), texts))
        why = pc.if_else(pa.array(same), pa.scalar(SAME), why)
        with np.errstate(invalid="ignore"):  # weights may add up to nothing
            share = votes.against / (votes.agree + votes.against)
        changed = stays & (total != weight)
        return {"weight": np.where(changed, total, np.nan), "share": share, "why": why}

    def finished(self, view: pa.Table, decided: Mapping[str, Values]) -> Result:
        """Return the pairs with their merged weights, and each one's conflict."""
        pairs = read_pairs(view)
        live, size = np.flatnonzero(pairs.live), len(pairs.row)
        own, share = pairs.floats("weight").copy(), np.full(size, np.nan)
        new = np.asarray(decided["weight"])
        own[live[~np.isnan(new)]] = new[~np.isnan(new)]
        share[live] = decided["share"]
        values = set_floats(pairs.values, "weight", own, np.isfinite(own))
        why = spread(size, live, decided["why"])
        reason = pc.coalesce(pc.struct_field(values, "drop"), why)
        gone = all_dropped(pairs.sizes, reason, "no pair", late=pc.is_valid(why))
        conflict = pa.array(share.astype(np.float32), mask=np.isnan(share))
        return {
            "pairs": lists(pairs.sizes, set_field(values, "drop", reason)),
            DROP: gone,
            "conflict": lists(pairs.sizes, conflict),
        }


class CapPairs(Stage, name="cap_pairs"):
    """Keep at most `most` pairs for each prompt and those that nearly equal it.

    Prompts are grouped as `near_dedup` does, around the first of each group; their system messages
    must be equal. The pairs of a group
    that come first stay, or the best ones by `keep_by` (as FastChat caps prompts that are asked
    over and over). A row whose pairs are all dropped is dropped.
    """

    version = 2
    scope = "dataset"
    needs = ("id", "prompt", "candidates", "pairs")
    writes = ("pairs",)
    most: int = Field(ge=1)
    """Pairs a group of prompts."""
    threshold: float = Field(0.8, gt=0.0, le=1.0)
    """Jaccard index from which two prompts belong together."""
    ngram: int = Field(WIDTH, ge=1, le=64)
    """Words an n-gram."""
    keep_by: str | None = None
    """The pairs' number (margin, p_correct, weight) by which the best ones stay."""

    def needed(self) -> tuple[str, ...]:
        """Need the ranking column too."""
        return with_ranking(self.needs, self.keep_by)

    def division(self) -> Division:
        """Prompts are joined as `near_dedup` does it; some bytes a pair are ranked in one place."""
        return CappedPairs(self)

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the pairs with their reasons."""
        rows = np.arange(len(view))
        texts = item_texts(view, "prompt")
        items, salt = items_of(view, "pair"), system_marks(view["prompt"])
        twin, close = near_text(texts, rows, self.threshold, width=self.ngram, salt=salt)
        group = np.where(twin < 0, rows, twin)
        over = self.over(group[items.row], item_order(view, "pair", items, self.keep_by))
        row = items.row[over]
        name = names_of(view, "prompt", items_of(view, "prompt"), group[row])
        return self.dropped(view, over, name, close[row])

    def over(self, group: Ints, rank: Ints) -> Ints:
        """Return the pairs that are too many for their `group` (n); `rank` (n) is best first."""
        rank = rank[np.argsort(group[rank], kind="stable")]
        place = places_of(np.bincount(group))
        return np.sort(rank[place >= self.most])

    def dropped(self, view: pa.Table, over: Ints, name: pa.Array, close: Floats) -> Result:
        """Return the pairs with the reasons of those `over` the cap: whose prompt, how alike."""
        how = f"over the cap of {self.most} pairs for prompts like that of "
        why = join_texts(how, name, percent(close))
        return drop_items(view, "pair", items_of(view, "pair"), over, why)


class ReusedAnswers(Stage, name="reused_answers"):
    """Drop candidates whose text serves as the answer to many different prompts.

    A constant answer that scores well everywhere has found a weakness of the judge. Texts are
    grouped as in `near_dedup`; all candidates of a group that answers `prompts` or more different
    prompts are dropped. Prompts are different where no `prompt_threshold` of their n-grams (system
    messages left out) is shared: three spellings of a question may have one answer. Where at least
    `template` different texts are alike in that, the words that more than half of them have are an
    instruction that they share, and the rest decides. Short answers (`short` words and fewer, in
    scripts written without spaces characters: "Yes.", a refusal, a number) may repeat.
    """

    version = 3
    scope = "dataset"
    needs = ("id", "prompt", "candidates")
    writes = ("candidates",)
    prompts: int = Field(3, ge=2)
    """Different prompts from which a text counts as constant."""
    threshold: float = Field(0.8, gt=0.0, le=1.0)
    """Jaccard index from which two answers count as one."""
    prompt_threshold: float = Field(0.5, gt=0.0, le=1.0)
    """Jaccard index from which two prompts count as one."""
    template: int = Field(10, ge=2)
    """Texts that are alike from which they are held to share a template; few may be spellings."""
    short: int = Field(20, ge=0)
    """Words up to which an answer may repeat."""
    ngram: int = Field(WIDTH, ge=1, le=64)
    """Words an n-gram."""

    def division(self) -> Division:
        """Answers and prompts are joined as `near_dedup` does it, and counted in one place."""
        return ConstantAnswers(self)

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the candidates with their reasons."""
        items, asked = items_of(view, "response"), np.arange(len(view))
        answers, every = item_texts(view, "response"), np.arange(len(items.row))
        twin, close = near_text(answers, every, self.threshold, width=self.ngram)
        long = word_counts(item_texts(view, "response")) > self.short
        if (long & (self.reach(twin, items.row)[1] >= self.prompts)).any():  # mostly none is
            prompts = item_texts(view, "prompt")
            alike, _ = near_text(prompts, asked, self.prompt_threshold, width=self.ngram)
            words = words_in(item_texts(view, "prompt"))
            asked = questions(alike, words, self.prompt_threshold, self.template)
        group, reach = self.reach(twin, asked[items.row])
        which = np.flatnonzero((reach >= self.prompts) & long)
        count = large(pa.array(reach[which]).cast(pa.string()))
        name = names_of(view, "response", items, group[which])
        return self.dropped(view, which, count, name, close[which])

    def reach(self, twin: Ints, prompt: Ints) -> tuple[Ints, Ints]:
        """Return each answer's group (n), named by the first, and how many prompts that answers."""
        every = np.arange(len(twin))
        group = np.where(twin < 0, every, twin)
        used = np.unique(np.stack([group, prompt]), axis=1)[0]
        return group, np.bincount(used, minlength=len(every))[group]

    def dropped(
        self, view: pa.Table, which: Ints, count: pa.Array, name: pa.Array, close: Floats
    ) -> Result:
        """Return the candidates with the reasons of those that are constant answers."""
        why = join_texts("answers many prompts: ", count, ", as ", name, percent(close))
        return drop_items(view, "response", items_of(view, "response"), which, why)
