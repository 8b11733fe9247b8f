"""A pipeline as an object and as YAML; the two forms carry the same data.

YAML is read as YAML 1.2 (so `1e-5` is a number and `no` is a word), holds data only, and
may not use anchors or aliases: they add nothing here and can be made to explode.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

from curate.engines.contract import EngineSpec, engine_registry
from curate.errors import ConfigError, did_you_mean
from curate.sources import Source, source_registry
from curate.stage import Stage, stage_registry

DEEPEST = 64  # lists and mappings within one another
FIELDS = ("version", "name", "seed", "source", "engines", "stages", "export", "license")


@dataclass(frozen=True)
class Pipeline:
    """A named list of stages over a source.

    `export` is the form of the dataset that a run writes at its end, or None for no dataset.
    """

    name: str
    source: Source
    stages: Sequence[Stage]
    engines: Mapping[str, EngineSpec] = field(default_factory=dict)
    seed: int = 0
    export: str | None = "preference"
    license: str | None = None

    def __post_init__(self) -> None:
        """Refuse names that could lead out of the runs folder."""
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,100}", self.name):
            raise ConfigError(f"pipeline name {self.name!r}: use letters, digits, '.', '_' and '-'")
        object.__setattr__(self, "stages", tuple(self.stages))
        object.__setattr__(self, "engines", dict(self.engines))

    @classmethod
    def load(cls, path: Path, changes: Sequence[str] = ()) -> Pipeline:
        """Read a YAML file and apply `stage.field=value` changes. Raises ConfigError."""
        try:
            text = path.read_text(encoding="utf-8")
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
            apply_change(data, change)
        for key in data:
            if key not in FIELDS:
                raise ConfigError(f"unknown key {key!r}{did_you_mean(str(key), FIELDS)}")
        for key in ("name", "source", "stages"):
            if not data.get(key):
                raise ConfigError(f"the pipeline has no `{key}`")
        if data.get("version", 1) != 1:
            raise ConfigError(f"version {data['version']!r} is not known; this curate reads 1")
        if not isinstance(data["stages"], list):
            raise ConfigError("`stages` must be a list")
        return cls(
            name=str(data["name"]),
            seed=_integer(data.get("seed", 0)),
            source=source_registry.parse(data["source"], "source"),
            engines={
                str(role): engine_registry.parse(form, f"engine {role!r}")
                for role, form in _mapping(data.get("engines"), "engines").items()
            },
            stages=[
                stage_registry.parse(form, f"stage {number}")
                for number, form in enumerate(data["stages"], 1)
            ],
            export=data.get("export", "preference"),
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
        if self.license:
            data["license"] = self.license
        out = io.StringIO()
        yaml = YAML(typ="safe", pure=True)
        yaml.default_flow_style = False
        yaml.width = 1 << 30  # a folded line of control characters would be read back with a blank
        yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
        yaml.dump(data, out)
        return out.getvalue()

    def check(self) -> None:
        """Check engines and columns without data or models. Raises ConfigError.

        Every engine a stage names must exist and be able to do what the stage asks; every
        column a stage needs must come from the source or from an earlier stage.
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
                        f"{where} needs `{column}`, which no earlier stage writes"
                        f"{_writers(column)}; columns here: {', '.join(sorted(have))}"
                    )
            have |= {*stage.written(), *stage.appends}


def read_yaml(text: str) -> Any:
    """Read YAML 1.2 data. Raises ConfigError with the line; anchors and aliases are refused.

    So is what is nested deeper than DEEPEST: a few thousand brackets keep the parser busy for half
    a minute. The first pass stops at the first of these, before anything is built.
    """
    depth = 0
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            line = event.start_mark.line + 1
            depth += isinstance(event, CollectionStartEvent)
            depth -= isinstance(event, CollectionEndEvent)
            if depth > DEEPEST:
                raise ConfigError(f"line {line}: nested deeper than {DEEPEST} levels")
            if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
                raise ConfigError(f"line {line}: anchors and aliases are not allowed")
            if getattr(event, "tag", None) not in (None, "!"):  # `!` is a quoted text
                raise ConfigError(f"line {line}: tags such as {event.tag} are not allowed")
        return _text_only(YAML(typ="safe", pure=True).load(text))
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise ConfigError(f"{line}{_problem(error)}") from None


def _problem(error: YAMLError) -> str:
    problem = str(getattr(error, "problem", None) or "not YAML")
    if "'\\t'" in problem:
        return "a tab; YAML is indented with spaces"
    if problem == "but found another document":
        return "a second document begins here; keep one pipeline a file"
    return problem


def _text_only(value: Any) -> Any:
    """Return the value; refuse halves of characters, which no file or digest could hold."""
    if isinstance(value, str) and re.search(r"[\ud800-\udfff]", value):
        raise ConfigError("\\ud800 to \\udfff are halves of characters; write the character itself")
    if isinstance(value, (dict, list)):
        for inner in [*value, *(value.values() if isinstance(value, dict) else ())]:
            _text_only(inner)
    return value


def apply_change(data: dict[str, Any], change: str) -> None:
    """Apply one `--set` change: `margin.at_least=2`, `source.path=x`, `engines.gen.model=y`.

    The first name is a key of the pipeline, a stage's kind or its number; the kind may be left
    out of what follows. Raises ConfigError where it leads nowhere or to several stages.
    """
    path, equals, value = change.partition("=")
    names = path.split(".")
    if not equals or not all(names):
        raise ConfigError(f"--set {change!r}: write stage.field=value")
    try:
        new = read_yaml(value)
    except ConfigError as error:
        raise ConfigError(f"--set {change!r}: {error}") from None
    target: Any = data
    head, rest = names[0], names[1:]
    if head in FIELDS and head != "stages":
        if not rest:
            data[head] = new
            return
        holder, key = data, head
        if head == "engines":
            holder, key = _mapping(data.get("engines"), "engines"), rest.pop(0)
            if key not in holder:
                raise ConfigError(f"--set {change!r}: no such engine{did_you_mean(key, holder)}")
            if not rest:
                holder[key] = new
                return
        target = _fields(holder, key)
    else:
        stages = data.get("stages") or []
        kinds = [form if isinstance(form, str) else next(iter(form)) for form in stages]
        found = [i for i, kind in enumerate(kinds) if head in (kind, str(i + 1))]
        if len(found) != 1 or not rest:
            problem = "several stages are" if len(found) > 1 else "no stage is"
            raise ConfigError(
                f"--set {change!r}: {problem} named {head!r}"
                f"{did_you_mean(head, kinds) if not found else '; use its number'}"
            )
        target = _fields(stages, found[0])
    for name in rest[:-1]:
        target = target.setdefault(name, {})
        if not isinstance(target, dict):
            raise ConfigError(f"--set {change!r}: {name!r} has no fields")
    target[rest[-1]] = new


def _fields(holder: Any, key: Any) -> dict[str, Any]:
    """Return the mutable fields of the component at holder[key], whichever form it has."""
    form = holder[key]
    if isinstance(form, str):
        holder[key] = form = {form: {}}
    kind = next(iter(form))
    form[kind] = form[kind] or {}
    return _mapping(form[kind], kind)


def _mapping(value: object, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"`{where}` must be a mapping")
    return value


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError("`seed` must be a whole number")
    return value


def _writers(column: str) -> str:
    names = [
        name
        for name in stage_registry.names()
        if column in (*stage_registry.get(name).writes, *stage_registry.get(name).appends)
        and column not in stage_registry.get(name).needs
    ]
    return f" (add one of: {', '.join(names)})" if names else ""
