"""Whether a server went on answering as the model that it was, by what it said of itself.

Within a process `OpenAI.one_model` stops a run where it did not. Between two runs, or after one
that was killed, nobody sees it happen: the parts keep the name that answers carried.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def mixed_models(engines: Iterable[Mapping[str, str]]) -> list[str]:
    """Return a sentence for each engine whose server answered under several names.

    `engines` are {role, served, ...}, what `Engine.describe` returned for the parts of a run.
    """
    names: dict[str, dict[str, None]] = {}
    for facts in engines:
        if served := facts.get("served"):
            names.setdefault(facts["role"], {})[served] = None
    return [
        f"the server of the engine {role} answered as {' and as '.join(found)}: answers of several "
        "models stand under one name"
        for role, found in names.items()
        if len(found) > 1
    ]
