"""Names for features of embeddings, proposed by a language model and held against other pairs.

After "What's in my human feedback?" (Movva et al. 2025): a model sees the strongest examples, each
turned so that its first answer has more of the feature, and proposes names; it is then asked, for
pairs it did not see, which answer has more of what a name says, and its verdicts are correlated
with the activations. There the name is chosen and tested on the same pairs, which flatters the
winner; here it is chosen on some and tested on others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.arrays import Floats, Pieces, join_texts, large, mix
from curate.engines.contract import Completions, Engine, Requests
from curate.methods.verdicts import pair_verdict, without_reasoning
from curate.printable import printable
from curate.prompts import load_template
from curate.stage import Context
from curate.stages.calls import GreedySampling, chat
from curate.stages.shown import fenced, paragraphs

NAMED = 6  # features, the strongest first, beside all that lean
SHOWN, CHOSEN_ON, TESTED_ON = 10, 30, 50  # pairs
LEVEL = 0.05  # over all features that are named
_WORDS = 128  # of a text that is shown
_LONGEST = 120  # characters of a name
_NAME = re.compile(r"(?m)^[ \t>*_-]*Name:[ \t*_]*(.+)$")
_SIDES = {"A": 1.0, "B": -1.0, "tie": 0.0}

Texts = Sequence[tuple[str, str, str]]


class Drawn(NamedTuple):
    """The pairs that one feature's names come from, are chosen on, and are tested on."""

    shown: npt.NDArray[np.int64]
    chosen_on: npt.NDArray[np.int64]
    tested_on: npt.NDArray[np.int64]


def name_features(
    features: list[dict[str, Any]],
    activations: Floats,
    texts: Texts,
    prompts: npt.NDArray[np.int64],
    engine: Engine,
    seed: int = 0,
) -> None:
    """Add `name` to the features that lean and to the strongest others: {text, r, p, n, holds}.

    `activations` (pairs, features) are turned so that what is positive has more of the feature
    in the chosen answer; `texts` are (prompt, chosen, rejected), `prompts` their prompts'
    numbers. `r` is the correlation of the model's verdicts with the activations, on pairs that
    had no part in finding or choosing the name, `p` its chance if there were none, and `holds`
    whether r > 0 and p <= 5 % over all named features. `name` is {"problem": text} where no name
    was proposed or too few pairs are left. Raises StageError where too many calls fail.
    """
    named = [k for k, row in enumerate(features) if row["leans"] or k < NAMED]
    for k in named:
        z = activations[:, k]
        drawn = _drawn(z, prompts, seed + k)
        if len(drawn.tested_on) < 10:
            features[k]["name"] = {"problem": "too few pairs to test a name on"}
            continue
        names = _proposed(z, texts, drawn.shown, engine, seed)
        if not names:
            features[k]["name"] = {"problem": "the model proposed no name"}
            continue
        first = [_correlation(name, z, texts, drawn.chosen_on, engine, seed)[0] for name in names]
        best = names[int(np.argmax(np.nan_to_num(first, nan=-1.0)))]
        r, p, n = _correlation(best, z, texts, drawn.tested_on, engine, seed)
        holds = math.isfinite(r) and r > 0 and p <= LEVEL / len(named)
        numbers = {"r": r, "p": p} if math.isfinite(r) else {"r": None, "p": None}
        features[k]["name"] = {"text": best, **numbers, "n": n, "holds": holds}


def clean(name: str) -> str:
    """Return a proposed name on one line, short, and without what does not print."""
    return printable(name, mark=False).strip(" .*_\"'`")[:_LONGEST]


def correlation(verdicts: Floats, z: Floats) -> tuple[float, float]:
    """Return Pearson's r of two samples (n,) and its two-sided chance, NaN where one is constant.

    By Fisher's transformation.
    """
    if len(z) < 4 or not np.ptp(verdicts) or not np.ptp(z):
        return math.nan, math.nan
    r = float(np.corrcoef(verdicts, z)[0, 1])
    score = math.atanh(min(max(r, -0.999999), 0.999999)) * math.sqrt(len(z) - 3)
    return r, math.erfc(abs(score) / math.sqrt(2.0))


def _drawn(z: Floats, prompts: npt.NDArray[np.int64], seed: int) -> Drawn:
    """Return disjoint pairs, one a prompt: some of the strongest, and two samples of all active.

    A sample is half from the upper half of the signed activations and half from the lower.
    """
    strongest = np.argsort(-np.abs(z), kind="stable")
    strongest = strongest[z[strongest] != 0]
    _, first = np.unique(prompts[strongest], return_index=True)
    strongest = strongest[np.sort(first)]
    top = strongest[: max(SHOWN, len(strongest) // 20)]
    lot = mix(top, seed)
    shown = top[np.argsort(lot, kind="stable")[:SHOWN]]
    rest = np.setdiff1d(strongest, shown)
    rest = rest[np.argsort(mix(rest, seed, 1), kind="stable")]
    upper = z[rest] > np.median(z[rest]) if len(rest) else np.zeros(0, dtype=bool)
    halves = rest[upper], rest[~upper]
    a, b = CHOSEN_ON // 2, (CHOSEN_ON + TESTED_ON) // 2
    return Drawn(
        shown,
        np.concatenate([half[:a] for half in halves]),
        np.concatenate([half[a:b] for half in halves]),
    )


def _proposed(
    z: Floats, texts: Texts, at: npt.NDArray[np.int64], engine: Engine, seed: int
) -> list[str]:
    """Return up to three names for what the sides favoured by `z` have."""
    turned = [_turned(texts[k], z[k] > 0) for k in at.tolist()]
    seeds = mix(at, seed, 2)
    number = pa.array([str(k + 1) for k in range(len(at))], pa.large_string())
    prompt, one, two = (_shown([t[side] for t in turned], "text", seeds) for side in range(3))
    blocks = join_texts(
        "Example ", number, ". The request:\n", prompt, "\nAnswer one:\n", one,
        "\nAnswer two:\n", two,
    )  # fmt: skip
    examples = paragraphs(np.array([len(at)]), blocks)
    asked = load_template("name_feature").conversations(1, examples=examples)
    answers = _ask(engine, asked, "proposing names for a feature")
    visible = without_reasoning(answers.text[0].as_py() or "") or ""
    return [name for found in _NAME.findall(visible)[-3:] if (name := clean(found))]


def _correlation(
    name: str, z: Floats, texts: Texts, at: npt.NDArray[np.int64], engine: Engine, seed: int
) -> tuple[float, float, int]:
    """Return r, p and n of the verdicts on pairs `at` against their activations.

    Which answer is shown first is drawn; an unreadable verdict is left out.
    """
    chosen_first = mix(at, seed, 3) % np.uint64(2) == 0
    turned = [_turned(texts[k], bool(f)) for k, f in zip(at.tolist(), chosen_first, strict=True)]
    seeds = mix(at, seed, 4)
    prompt, one, two = (_shown([t[side] for t in turned], "text", seeds) for side in range(3))
    named = fenced(pa.array([name] * len(at), pa.large_string()), "property", seeds)
    asked = load_template("check_feature").conversations(
        len(at), name=named, prompt=prompt, first=one, second=two
    )
    answers = _ask(engine, asked, "checking the name of a feature")
    whole = zip(answers.text.to_pylist(), answers.status.to_pylist(), strict=True)
    said = [pair_verdict(text) if status == "ok" else None for text, status in whole]
    sides = np.array([_SIDES[v] if v else np.nan for v in said]) * np.where(chosen_first, 1, -1)
    read = ~np.isnan(sides)
    return *correlation(sides[read], z[at][read]), int(read.sum())


def _ask(engine: Engine, conversations: pa.Array, what: str) -> Completions:
    requests = Requests(conversations, GreedySampling())
    return chat(engine, requests, Context(), 0.1, what)


def _turned(text: tuple[str, str, str], chosen_first: bool) -> tuple[str, str, str]:
    prompt, chosen, rejected = text
    return (prompt, chosen, rejected) if chosen_first else (prompt, rejected, chosen)


def _shown(texts: list[str], tag: str, seeds: npt.NDArray[np.uint64]) -> Pieces:
    cut = [" ".join(text.split(" ")[:_WORDS]) for text in texts]
    return fenced(large(pa.array(cut)), tag, seeds)
