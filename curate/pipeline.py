"""A pipeline as an object and as YAML; the two forms carry the same data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from curate.engines.contract import EngineSpec, engine_registry
from curate.errors import ConfigError, did_you_mean
from curate.export.catalogue import form_named
from curate.schema import COLUMNS
from curate.sources.columns import GIVEN_BY
from curate.sources.contract import Source, source_registry
from curate.sources.in_memory import how_to_read
from curate.stage import Stage, stage_registry
from curate.yaml_form import (
    FIELDS,
    INTEGERS,
    apply_change,
    mapping,
    read_yaml,
    stage_place,
    write_yaml,
)

NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,100}")  # of a pipeline, and so of its run's folder


@dataclass(frozen=True)
class Pipeline:
    """A named list of stages over a source: what a run does, and all that its outcome depends on.

    - `name` names the run's folder below `runs/`: letters, digits, ".", "_" and "-".
    - `source` says where rows come from (`Jsonl`, `Parquet`, `Arrow`, `HuggingFace`).
    - `stages` run in this order; every run starts with `unique_id` before them.
    - `engines` maps a role, the name that stages use in their field `engine`, to the engine's
      configuration (`VLLM`, `OpenAI`, ...). A role is a name: two may be the same model.
    - `seed` is where every draw starts from, a whole number of at most 64 bits.
    - `export` is the form of the dataset that a run writes at its end (`curate export --list`
      has all), or None for no dataset.
    - `keep` names columns of the source, or of the rows, that stand in the dataset beside the
      form's own, as `curate export --keep` puts them beside those of another form.
    - `license` is what the dataset's card says.

    Making one raises ConfigError for parts of the wrong kind; whether the stages fit together is
    what `check` says.
    """

    name: str
    source: Source
    stages: Sequence[Stage]
    engines: Mapping[str, EngineSpec] = field(default_factory=dict)
    seed: int = 0
    export: str | None = "preference"
    keep: Sequence[str] = ()
    license: str | None = None

    def __post_init__(self) -> None:
        """Refuse names that could lead out of the runs folder, and values of other kinds."""
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise ConfigError("`seed` must be a whole number")
        if self.seed not in INTEGERS:
            raise ConfigError("`seed` must be a whole number of at most 64 bits")
        for key in ("export", "license"):
            if not isinstance(getattr(self, key), str | None):
                raise ConfigError(f"`{key}` must be text, or null for none")
        if not _is_list(self.keep) or not all(isinstance(name, str) for name in self.keep):
            raise ConfigError("`keep` must be a list of columns")
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise ConfigError(f"pipeline name {self.name!r}: use letters, digits, '.', '_' and '-'")
        self._check_parts()
        object.__setattr__(self, "stages", tuple(self.stages))
        object.__setattr__(self, "keep", tuple(self.keep))
        object.__setattr__(self, "engines", dict(self.engines))

    def _check_parts(self) -> None:
        """Refuse a source, stages and engines that are none."""
        if not isinstance(self.source, Source):
            raise ConfigError(f"`source` is no source but {how_to_read(self.source)}")
        if not _is_list(self.stages):
            raise ConfigError(f"`stages` must be a list of stages, not {self.stages!r}")
        if not isinstance(self.engines, Mapping):
            raise ConfigError("`engines` must be a mapping of roles to engines")
        parts: list[tuple[str, object, type, str]] = [
            (f"stage {number}", stage, Stage, "stages.Margin(at_least=1)")
            for number, stage in enumerate(self.stages, 1)
        ]
        for role, spec in self.engines.items():
            parts.append((f"engine {role!r}", spec, EngineSpec, "curate.VLLM(model=...)"))
        for what, part, kind, example in parts:
            if not isinstance(part, kind):
                raise ConfigError(f"{what} is an object such as {example}, not {part!r}")

    @classmethod
    def load(cls, path: Path | str, changes: Sequence[str] = ()) -> Pipeline:
        """Read a YAML file and apply `stage.field=value` changes. Raises ConfigError."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot read pipeline {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"pipeline {path} is not UTF-8 text") from None
        try:
            return cls.loads(text, changes)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    @classmethod
    def loads(cls, text: str, changes: Sequence[str] = ()) -> Pipeline:
        """Build a pipeline from YAML text. Raises ConfigError naming the place."""
        data = read_yaml(text)
        if not isinstance(data, dict):
            raise ConfigError("a pipeline is a mapping with name, source and stages")
        for change in changes:
            apply_change(data, change, _called)
        for key in data:
            if key not in FIELDS:
                raise ConfigError(f"unknown key {key!r}{did_you_mean(str(key), FIELDS)}")
        for key in ("name", "source", "stages"):
            if not data.get(key) and (key, data.get(key)) != ("stages", []):
                raise ConfigError(f"the pipeline has no `{key}`")
        if data.get("version", 1) != 1:
            raise ConfigError(f"version {data['version']!r} is not known; this curate reads 1")
        if not isinstance(data["stages"], list):
            raise ConfigError("`stages` must be a list")
        return cls(
            name=str(data["name"]),
            seed=data.get("seed", 0),
            source=source_registry.parse(data["source"], "source"),
            engines={
                str(role): engine_registry.parse(form, f"engine {role!r}")
                for role, form in mapping(data.get("engines"), "engines").items()
            },
            stages=[
                stage_registry.parse(form, f"stage {number}")
                for number, form in enumerate(data["stages"], 1)
            ],
            export=data.get("export", "preference"),
            keep=data.get("keep", []),
            license=data.get("license"),
        )

    def dumps(self) -> str:
        """Return the YAML form; `Pipeline.loads` gives an equal pipeline back."""
        data: dict[str, Any] = {"version": 1, "name": self.name}
        if self.seed:
            data["seed"] = self.seed
        data["source"] = self.source.to_yaml()
        if self.engines:
            data["engines"] = {role: spec.to_yaml() for role, spec in self.engines.items()}
        data["stages"] = [stage.to_yaml() for stage in self.stages]
        if self.export != "preference":
            data["export"] = self.export
        if self.keep:
            data["keep"] = list(self.keep)
        if self.license:
            data["license"] = self.license
        return write_yaml(data)

    def check(self) -> None:
        """Check engines, columns and the export without data or models. Raises ConfigError.

        Every engine a stage names must exist and be able to do what the stage asks; every
        column that a stage or the export needs must come from the source or from an earlier
        stage.
        """
        have = {"id", *self.source.provides()}
        for number, stage in enumerate(self.stages, 1):
            where = f"stage {number} (`{stage.kind}`)"
            for role, needed in stage.engine_roles():
                if role not in self.engines:
                    raise ConfigError(
                        f"{where}: no engine named {role!r}{did_you_mean(role, self.engines)}"
                    )
                lacking = set(needed) - self.engines[role].capabilities
                if lacking:
                    raise ConfigError(
                        f"{where} needs {', '.join(sorted(lacking))} of engine {role!r}, "
                        f"which a {self.engines[role].kind} engine does not offer"
                    )
            for column in stage.needed():
                if column not in have:
                    raise ConfigError(
                        f"{where} needs `{column}`{_why(stage, column)}, which no earlier stage "
                        "writes"
                        f"{_writers(column)}; columns here: {', '.join(sorted(have))}"
                        f"{_own(column, have)}"
                    )
            if (
                stage.kind == "margin"
                and "scores" not in have
                and self._without_margins(number - 1)
            ):
                raise ConfigError(
                    f"{where} would drop every pair: the source's have no margin; map its "
                    "`margin`, or `chosen_score` and `rejected_score`, or score the answers first"
                )
            have |= {*stage.written(), *stage.appends}
        needs = form_named(self.export).needs if self.export is not None else ()
        for column in needs:
            if column not in have:
                raise ConfigError(
                    f"the export as {self.export!r} needs `{column}`, which no stage writes"
                    f"{_writers(column)}; or choose another form, or `export: null` for no "
                    f"dataset; columns here: {', '.join(sorted(have))}"
                )
        self._check_kept(have)

    def _without_margins(self, stages: int) -> bool:
        """Whether the pairs after the first `stages` are the source's, and it knows no margin.

        Our own stages that take pairs give them none; what a user's own does is not known.
        """
        edited = [s for s in self.stages[:stages] if "pairs" in s.written()]
        ours = all("pairs" in s.needed() and stage_registry.is_built_in(s.kind) for s in edited)
        return ours and self.source.columns.chosen is not None and not self.source.columns.margin

    def _check_kept(self, have: Iterable[str]) -> None:
        """Refuse what `keep` cannot name; a field of the source is known when its rows are."""
        if self.keep and self.export is None:
            raise ConfigError("`keep` says what a dataset holds, and `export: null` writes none")
        own = form_named(self.export).columns() if self.keep and self.export else ()
        for name in self.keep:
            if name in own:
                raise ConfigError(f"keep {name}: the form has a column of that name already")
            if name not in have and "meta" not in have:
                raise ConfigError(
                    f"keep {name}: no such column{did_you_mean(name, have)}; columns here: "
                    f"{', '.join(sorted(have))}"
                )

    def place_of(self, name: str | int) -> int:
        """Return the place (from 0) of the stage of that kind, or with that number (from 1).

        Raises ConfigError where there is none, or several of that kind.
        """
        return stage_place(str(name), [[*{s.kind, s.reference()}] for s in self.stages])


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _called(name: str) -> set[str]:
    """Return the names of the stage that is written `name`: `module:Class` has a kind too."""
    try:
        return {name, stage_registry.get(name).kind}
    except ConfigError:  # its turn to be said comes when the stages are made
        return {name}


def _own(column: str, have: Iterable[str]) -> str:
    """Return how to name a column of the source's own, where it may be one."""
    known = column in COLUMNS or "meta" not in have
    return "" if known else f'; a column of the source\'s own is called "meta.{column}"'


def _why(stage: Stage, column: str) -> str:
    why = stage.why_needed(column)
    return f" ({why})" if why else ""


def _named(stage: type[Stage]) -> tuple[str, ...]:
    """Return the columns that a stage writes by the defaults of the fields that name one."""
    from curate.stages.new_column import NewColumn  # with what it brings: only for an error

    checks = get_args(NewColumn)[1:]
    fields = [f for f in stage.model_fields.values() if checks[-1] in f.metadata]
    return tuple(field.default for field in fields if isinstance(field.default, str))


def _writers(column: str) -> str:
    stages = {name: stage_registry.get(name) for name in stage_registry.names()}
    names = [
        name
        for name, stage in stages.items()
        if column in (*stage.writes, *stage.appends, *_named(stage)) and column not in stage.needs
    ]
    ways = [f"add one of: {', '.join(names)}"] if names else []
    if column in GIVEN_BY:
        ways.append(f"map one of the source's `columns`: {', '.join(GIVEN_BY[column])}")
    return f" ({'; or '.join(ways)})" if ways else ""
