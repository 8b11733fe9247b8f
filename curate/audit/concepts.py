"""What the preferred answers have in common beyond what can be counted: embeddings say.

Every feature of a sparse autoencoder over differences of embeddings is held against the
preferences, with length held equal. Features have no names of their own: the pairs in which they
are strongest, the words on either side and the properties they go with are shown; `naming` asks a
language model for names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.arrays import Floats
from curate.audit.autoencoder import train
from curate.audit.properties import PROPERTIES, clustered_fit, holm, interval, share_more, two_sided

FEWEST = 200  # distinct pairs; with fewer, features are noise
FEATURES, ACTIVE = 32, 4
EXAMPLES, _LONGEST = 3, 400
_WORD = re.compile(r"[^\W\d_]{3,}")


def concepts(
    embedded: Floats,
    properties: Floats,
    texts: Sequence[tuple[str, str, str]],
    prompts: npt.NDArray[np.int64],
    seed: int = 0,
) -> tuple[dict[str, Any], Floats]:
    """Return {explained, features: [...]}, the strongest leaning first, and their activations.

    `embedded` (pairs, d) and `properties` (pairs, PROPERTIES) are differences, chosen less
    rejected; `texts` are (prompt, chosen, rejected). A feature's `weight` is the log-odds of one
    typical activation, length held equal, with its 95 % interval; `leans` after Holm over all
    features. Its sign has no meaning of its own, so each feature is turned to the side that is
    preferred. The features were found without looking at the preferences, so the test is fair.
    The activations (pairs, features) are in the features' order, and turned as they are.
    """
    model = train(embedded, min(FEATURES, len(embedded) // 20), ACTIVE, seed=seed)
    z = model.activations(embedded)
    features, turned_columns = [], []
    length = properties[:, [PROPERTIES.index("words")]]
    active = np.flatnonzero((z != 0).sum(axis=0) >= 10)
    fits = [clustered_fit(np.hstack([z[:, [j]], length]), prompts) for j in active]
    weight = np.array([found[0][0] for found in fits])
    error = np.array([found[1][0] for found in fits])
    p = two_sided(weight, error)
    leans = holm(p)
    for k, j in enumerate(active):
        turned = z[:, j] * (1.0 if weight[k] >= 0 else -1.0)
        turned_columns.append(turned)
        features.append(
            {
                "feature": int(j),
                "pairs": int((turned != 0).sum()),
                "more_chosen": share_more(turned, prompts),
                **interval(abs(weight[k]), error[k]),
                "p": float(p[k]),
                "leans": bool(leans[k]),
                "goes_with": goes_with(turned, properties),
                "words": words(turned, texts),
                "examples": examples(turned, texts, prompts),
            }
        )
    order = sorted(range(len(features)), key=lambda k: (features[k]["p"], features[k]["feature"]))
    activations = np.array([turned_columns[k] for k in order]).reshape(len(order), len(z)).T
    return {"explained": model.explained, "features": [features[k] for k in order]}, activations


def goes_with(z: Floats, properties: Floats, most: int = 2) -> dict[str, float]:
    """Return the properties whose differences (n, properties) go most with activations `z` (n,)."""
    found = {}
    for column, name in enumerate(PROPERTIES):
        spread = float(np.sqrt((z**2).sum() * (properties[:, column] ** 2).sum()))
        if spread > 0:  # about 0: turning a pair round turns both
            found[name] = float((z * properties[:, column]).sum()) / spread
    strongest = sorted(found, key=lambda name: (-abs(found[name]), name))[:most]
    return {name: round(found[name], 3) for name in strongest if abs(found[name]) >= 0.1}


def words(z: Floats, texts: Sequence[tuple[str, str, str]], most: int = 6) -> list[str]:
    """Return the words that the favoured sides of the strongest pairs have and the others lack."""
    active = int((z != 0).sum())
    strongest = np.argsort(-np.abs(z), kind="stable")[: min(200, max(active // 10, 20), active)]
    more, fewer = Counter[str](), Counter[str]()
    for place in strongest.tolist():
        _, chosen, rejected = texts[place]
        one, two = (set(_WORD.findall(text.lower())) for text in (chosen, rejected))
        more.update((one if z[place] > 0 else two) - (two if z[place] > 0 else one))
        fewer.update((two if z[place] > 0 else one) - (one if z[place] > 0 else two))
    score = {w: (n - fewer[w]) / np.sqrt(n + fewer[w] + 4) for w, n in more.items() if n > 2}
    return [w for w in sorted(score, key=lambda w: (-score[w], w))[:most] if score[w] > 1]


def examples(
    z: Floats, texts: Sequence[tuple[str, str, str]], prompts: npt.NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Return the strongest pairs, one a prompt: which side has the feature, and was it chosen.

    `z` (n,) are the pairs' activations, `prompts` (n,) number their prompts.
    """
    found: list[dict[str, Any]] = []
    seen: set[int] = set()
    for place in np.argsort(-np.abs(z), kind="stable").tolist():
        if len(found) == EXAMPLES or z[place] == 0:
            break
        if int(prompts[place]) in seen:
            continue
        seen.add(int(prompts[place]))
        prompt, chosen, rejected = (text[:_LONGEST] for text in texts[place])
        more, less = (chosen, rejected) if z[place] > 0 else (rejected, chosen)
        found.append({"prompt": prompt, "more": more, "less": less, "chosen": bool(z[place] > 0)})
    return found
