"""What stages, engines and sources have in common: configuration, YAML form, identity.

A component is a frozen pydantic model. Its fields are its configuration; in YAML it is
written `kind` or `{kind: {field: value}}`; and its identity (what a stored result depends
on) is its kind, its `version` and its non-default fields. A field marked `Runtime` says how
to run, not what to compute, so it is left out of the identity.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from inspect import isabstract
from typing import Annotated, Any, ClassVar, Generic, TypeVar, cast, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from curate.errors import ConfigError, did_you_mean


class RuntimeMark:
    """Marks a field that changes how a component runs but never what it computes."""


Value = TypeVar("Value")
Runtime = Annotated[Value, RuntimeMark()]


class Component(BaseModel):
    """A named, frozen piece of a pipeline. See the module's docstring."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: ClassVar[str] = ""
    version: ClassVar[int] = 1  # raise it when the same fields come to mean another output
    registry: ClassVar[Registry[Any] | None] = None  # where the subclasses of a contract go

    def __init_subclass__(cls, name: str = "", **kwargs: Any) -> None:
        """Let `class X(Stage, name="x")` pass: pydantic hands `name` on to the hook below."""
        super().__init_subclass__(**kwargs)

    @classmethod
    def __pydantic_init_subclass__(cls, name: str = "", **kwargs: Any) -> None:
        """Register the subclass under `name`, or under `module:Class`.

        A class that brings a registry of its own is a contract (a stage, an engine) and not
        one of the components that are registered there; nor is an abstract one without a name.
        """
        super().__pydantic_init_subclass__(**kwargs)
        component = "registry" not in vars(cls) and (bool(name) or not isabstract(cls))
        if cls.registry is not None and component:
            cls.kind = name or f"{cls.__module__}:{cls.__qualname__}"
            cls.registry.add(cls.kind, cls)

    def identity(self) -> dict[str, Any]:
        """Return what a result of this component depends on, as JSON-serialisable data."""
        runtime = {
            name
            for name, field in type(self).model_fields.items()
            if any(isinstance(mark, RuntimeMark) for mark in field.metadata)
        }
        fields = self.model_dump(mode="json", exclude_defaults=True, exclude=runtime)
        return {"kind": self.kind, "version": self.version, **fields}

    def to_yaml(self) -> str | dict[str, Any]:
        """Return the YAML form: `kind`, or `{kind: {non-default fields}}`."""
        fields = self.model_dump(mode="json", exclude_defaults=True)
        return {self.kind: fields} if fields else self.kind


ComponentT = TypeVar("ComponentT", bound=Component)


class Registry(Generic[ComponentT]):
    """Components by name: built in, from an entry point group, or `module:Class`."""

    def __init__(self, what: str) -> None:
        """`what` is the singular word for error messages and names the entry point group."""
        self.what = what
        self._classes: dict[str, type[ComponentT]] = {}

    def add(self, name: str, cls: type[ComponentT]) -> None:
        """Register `cls` under `name`; a second class under one name is a bug of the caller."""
        known = self._classes.get(name)
        if known is not None and known.__qualname__ != cls.__qualname__:
            raise ConfigError(f"two {self.what} classes are named {name!r}: {known} and {cls}")
        self._classes[name] = cls

    def names(self) -> list[str]:
        """Return every registered name, sorted."""
        return sorted(self._classes)

    def get(self, name: str) -> type[ComponentT]:
        """Return the class called `name`. Raises ConfigError with the closest known name."""
        if name in self._classes:
            return self._classes[name]
        if ":" in name:
            return self._load(name)
        for entry in importlib.metadata.entry_points(group=f"curate.{self.what}s"):
            if entry.name == name:
                self.add(name, entry.load())
                return self._classes[name]
        raise ConfigError(f"unknown {self.what} {name!r}{did_you_mean(name, self._classes)}")

    def parse(self, form: object, where: str) -> ComponentT:
        """Build a component from its YAML form. Raises ConfigError naming `where` and the field."""
        if isinstance(form, str):
            name, fields = form, dict[str, Any]()
        elif isinstance(form, dict) and len(form) == 1:
            name, fields = next(iter(form.items()))
            fields = {} if fields is None else fields
        else:
            raise ConfigError(f"{where}: expected `name` or `name: {{field: value}}`")
        if not isinstance(name, str) or not isinstance(fields, dict):
            raise ConfigError(f"{where}: the fields of {name!r} must be a mapping")
        try:
            cls = self.get(name)
            return cls.model_validate(fields)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        except ValidationError as error:
            raise ConfigError(f"{where} (`{name}`): {explain(error, cls)}") from None

    def _load(self, name: str) -> type[ComponentT]:
        module_name, _, class_name = name.partition(":")
        try:
            found = getattr(importlib.import_module(module_name), class_name)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"cannot import {self.what} {name!r}: {error}") from None
        if not (isinstance(found, type) and issubclass(found, Component)):
            raise ConfigError(f"{name!r} is not a {self.what} class")
        return cast("type[ComponentT]", found)


def _fields_at(model: type[BaseModel], steps: tuple[int | str, ...]) -> list[str]:
    """Return the fields of the model that these fields, one within another, lead to."""
    for step in steps:
        field = model.model_fields.get(str(step))
        kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
        found = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
        if not found:
            return []
        model = found[0]
    return list(model.model_fields)


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Put a pydantic error in words: the field, the problem, and the nearest known field."""
    problems = []
    for item in error.errors(include_url=False, include_input=False):
        path = ".".join(str(step) for step in item["loc"])
        if item["type"] == "extra_forbidden":
            known = _fields_at(model, item["loc"][:-1])
            hint = did_you_mean(str(item["loc"][-1]), known)
            problems.append(f"unknown field {path!r}{hint}")
        else:
            message = item["msg"].removeprefix("Value error, ")
            problems.append(f"{path}: {message}" if path else message)
    return "; ".join(problems)
