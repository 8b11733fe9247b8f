"""YAML as a pipeline may be written in it: read to plain data, and changed there by `--set`.

YAML is read as YAML 1.2 (so `1e-5` is a number and `no` is a word), holds data only, and
may not use anchors or aliases: they add nothing here and can be made to explode.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    Event,
    ScalarEvent,
)
from ruamel.yaml.nodes import ScalarNode

from curate.errors import ConfigError, did_you_mean

FIELDS = ("version", "name", "seed", "source", "engines", "stages", "export", "keep", "license")
DEEPEST = 64  # lists and mappings within one another
MOST_VALUES = 20_000  # reading takes 0.1 ms each, and what is larger is data
INTEGERS = range(-(2**63), 2**64)  # what JSON can carry to a worker and into a digest


class _Plain(SafeConstructor):
    """Reads a date as the text that it is: YAML 1.2 knows none, and a wrong one has no reading."""

    def check_mapping_key(self, node: Any, key_node: Any, *more: Any) -> bool:
        """Refuse lists and mappings as keys; otherwise as ever."""
        if not isinstance(key_node, ScalarNode):
            mark = key_node.start_mark
            raise ConstructorError(None, None, "a list or a mapping cannot be a key", mark)
        return bool(super().check_mapping_key(node, key_node, *more))


_Plain.add_constructor("tag:yaml.org,2002:timestamp", SafeConstructor.construct_yaml_str)


def read_yaml(text: str) -> Any:
    """Read YAML 1.2 data. Raises ConfigError with the line.

    Refused are anchors and aliases, tags, numbers beyond 64 bits, what is nested deeper than
    DEEPEST (a few thousand brackets keep the parser busy for half a minute) and what is longer
    than MOST_VALUES. The first pass stops at the first of these, before anything is built.
    """
    depth = 0
    try:
        for number, event in enumerate(YAML(typ="safe", pure=True).parse(text)):
            line = event.start_mark.line + 1
            depth += isinstance(event, CollectionStartEvent)
            depth -= isinstance(event, CollectionEndEvent)
            if depth > DEEPEST:
                raise ConfigError(f"line {line}: nested deeper than {DEEPEST} levels")
            if number > 2 * MOST_VALUES:
                raise ConfigError(f"line {line}: more than {MOST_VALUES:,} keys and values")
            problem = _not_allowed(event)
            if problem:
                raise ConfigError(f"line {line}: {problem}")
        yaml = YAML(typ="safe", pure=True)
        yaml.Constructor = _Plain
        return _checked(yaml.load(text))
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line_said = f"line {mark.line + 1}: " if mark else ""
        raise ConfigError(f"{line_said}{_problem(error)}") from None


def write_yaml(data: Any) -> str:
    """Return plain data as YAML, in blocks and in its own order; `read_yaml` gives it back."""
    out = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.width = 1 << 30  # a folded line of control characters would be read back with a blank
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(data, out)
    return out.getvalue()


def _not_allowed(event: Event) -> str:
    """Say what is wrong with the event, or nothing."""
    if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
        return "anchors and aliases are not allowed"
    tag = getattr(event, "tag", None)
    if tag not in (None, "!"):  # `!` is a quoted text
        return f"tags such as {tag} are not allowed"
    if isinstance(event, ScalarEvent) and event.implicit[0] and len(event.value) > 18:
        digits = event.value.replace("_", "")
        whole = re.fullmatch(r"[-+]?[0-9]+", digits)
        if whole and (len(digits) > 21 or int(digits) not in INTEGERS):
            return f"{digits[:20]}... has {len(digits)} digits; a whole number has 64 bits at most"
    return ""


def _problem(error: YAMLError) -> str:
    problem = str(getattr(error, "problem", None) or "not YAML")
    if "'\\t'" in problem:
        return "a tab; YAML is indented with spaces"
    if problem == "but found another document":
        return "a second document begins here; keep one pipeline a file"
    return problem


def _checked(value: Any) -> Any:
    """Return the value; refuse halves of characters and numbers that no digest could hold."""
    if isinstance(value, str) and re.search(r"[\ud800-\udfff]", value):
        raise ConfigError("\\ud800 to \\udfff are halves of characters; write the character itself")
    if isinstance(value, int) and value not in INTEGERS:
        raise ConfigError(f"{hex(value)[:20]}... is beyond 64 bits")
    if isinstance(value, (dict, list)):
        for inner in [*value, *(value.values() if isinstance(value, dict) else ())]:
            _checked(inner)
    return value


Called = Callable[[str], Iterable[str]]


def apply_change(data: dict[str, Any], change: str, called: Called) -> None:
    """Apply one `--set` change: `margin.at_least=2`, `source.path=x`, `engines.gen.model=y`.

    The first name is a key of the pipeline, or a stage's name or number; the others are fields,
    one within another. The kind of a source or an engine is not named. `called` returns the names
    that a stage goes by which is written so. Raises ConfigError where a change leads nowhere or to
    several stages.
    """
    path, equals, value = change.partition("=")
    names = path.split(".")
    if not equals or not all(names):
        raise ConfigError(f"--set {change!r}: write stage.field=value")
    try:
        _apply(data, names, read_yaml(value), called)
    except ConfigError as error:
        raise ConfigError(f"--set {change!r}: {error}") from None


def _apply(data: dict[str, Any], names: list[str], new: Any, called: Called) -> None:
    head, rest = names[0], names[1:]
    if head in FIELDS and head != "stages":
        holder, key = data, head
        if head == "engines" and rest:
            holder, key = mapping(data.get("engines"), "engines"), rest.pop(0)
            if key not in holder:
                raise ConfigError(f"no such engine{did_you_mean(key, map(str, holder))}")
        if not rest:
            holder[key] = new
            return
        if head not in ("source", "engines"):
            raise ConfigError(f"`{head}` has no fields")
        target = _fields(holder, key)
    else:
        stages = data.get("stages") or []
        if not isinstance(stages, list):
            raise ConfigError("`stages` must be a list")
        place = stage_place(head, [[*called(_name(form))] for form in stages])
        if not rest:
            fields = _fields(stages, place)
            alike = [name for name, value in fields.items() if type(value) is type(new)]
            field = alike[0] if len(alike) == 1 else "FIELD"
            raise ConfigError(f"`{head}` is a stage; name a field: {head}.{field}={new}")
        target = _fields(stages, place)
    for name in rest[:-1]:
        target[name] = target = mapping(target.get(name), name)
    target[rest[-1]] = new


def stage_place(name: str, stages: Sequence[Sequence[str]]) -> int:
    """Return the place (from 0) of the stage called `name`, or with that number (from 1).

    `stages` holds the names that each stage goes by. Raises ConfigError where none or several
    are called so.
    """
    found = [place for place, names in enumerate(stages) if name in (*names, str(place + 1))]
    if len(found) == 1:
        return found[0]
    if not found:
        known = [known for names in stages for known in names]
        raise ConfigError(f"no stage is named {name!r}{did_you_mean(name, known)}")
    numbers = ", ".join(str(place + 1) for place in found)
    raise ConfigError(f"several stages are named {name!r}; use the number of one: {numbers}")


def _name(form: object) -> str:
    return str(next(iter(form), "")) if isinstance(form, dict) else str(form)


def _fields(holder: Any, key: Any) -> dict[str, Any]:
    """Return the mutable fields of the component at holder[key], whichever form it has."""
    form = holder.get(key) if isinstance(holder, dict) else holder[key]
    if isinstance(form, str):
        holder[key] = form = {form: {}}
    if not isinstance(form, dict) or len(form) != 1:
        where = f"`{key}`" if isinstance(key, str) else f"stage {key + 1}"
        raise ConfigError(f"{where} is not written as `name` or `name: {{field: value}}`")
    kind = next(iter(form))
    form[kind] = fields = mapping(form[kind], str(kind))
    return fields


def mapping(value: object, where: str) -> dict[str, Any]:
    """Return the mapping, an empty one for null. Raises ConfigError for anything else."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"`{where}` must be a mapping")
    return value
