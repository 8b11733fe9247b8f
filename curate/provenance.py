"""What a card tells about a run, gathered from its pipeline: who wrote, who judged, from what."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import get_args

from curate.books import engines_used, funnel, numbered
from curate.encoders import PACKAGED, Precision
from curate.export.card import CardFacts, Origin
from curate.pipeline import Pipeline
from curate.stage import Stage
from curate.store import digest
from curate.work import Shard

DISTRIBUTION = "curate-preferences"


def card_facts(pipeline: Pipeline, shards: Sequence[Shard]) -> CardFacts:
    """Return what a card tells about the run of a pipeline that left these shards."""
    steps = funnel(shards)
    names = numbered(step["stage"] for step in steps)
    given = any({"judgments", "pairs"} & {*shard.parts[0].columns} for shard in shards)
    return CardFacts(
        name=pipeline.name,
        pipeline_yaml=pipeline.dumps(),
        stages=[{**step, "name": name} for step, name in zip(steps, names, strict=True)],
        engines=engines_used(shards),
        license=pipeline.license,
        seed=pipeline.seed,
        encoders=encoders_of(pipeline.stages),
        origin=origin_of(pipeline.stages)._replace(given=given),
        source=digest([shard.parts[0].sha256 for shard in shards]),
        version=_version(DISTRIBUTION),
    )


def origin_of(stages: Iterable[Stage]) -> Origin:
    """Return what language models and people had a part in."""
    answers = verdicts = people = False
    for stage in stages:
        written = {*stage.written(), *stage.appends}
        if any(True for _ in stage.engine_roles()):
            answers |= "candidates" in written
            verdicts |= bool(written & {"judgments", "scores"})
        people |= stage.kind == "people"
    return Origin(answers, verdicts, people)


def encoders_of(stages: Iterable[Stage]) -> list[dict[str, str]]:
    """Return {stage, model, and its package's version or its revision} of stages that encode.

    A stage that encodes says in which precision; an encoder of `decontaminate` counts where it
    compares embeddings. The revision is that of the Hub's cache on this machine, where it is.
    """
    found = []
    for stage in stages:
        fields = type(stage).model_fields
        encodes = any(get_args(info.annotation) == get_args(Precision) for info in fields.values())
        if encodes and ("embedding" not in fields or getattr(stage, "embedding", None)):
            model = str(getattr(stage, "encoder", None) or getattr(stage, "model", ""))
            found.append({"stage": stage.kind, "model": model, **_pinned(model)})
    return found


def _pinned(model: str) -> dict[str, str]:
    if package := PACKAGED.get(model):
        version = _version(package.replace("_", "-"))
        return {"version": version} if version else {}
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        path = try_to_load_from_cache(model, "config.json")
    except HFValidationError:  # a folder of this machine
        return {}
    parts = Path(path).parts if isinstance(path, str) else ()
    after = [parts[k + 1] for k, part in enumerate(parts[:-1]) if part == "snapshots"]
    return {"revision": after[-1]} if after else {}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
