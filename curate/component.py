"""What stages, engines and sources have in common: configuration, YAML form, identity.

A component is a frozen pydantic model. Its fields are its configuration; in YAML it is
written `kind` or `{kind: {field: value}}`; and its identity (what a stored result depends
on) is its kind, its `version` and its non-default fields. A field marked `Runtime` says how
to run, not what to compute, so it is left out of the identity.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Callable
from inspect import isabstract
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from curate.errors import ConfigError, did_you_mean
from curate.field_errors import explain


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
        if cls.registry is None:
            return
        if "registry" in vars(cls):
            cls.registry.contract = cls.registry.contract or cls
        elif name or not isabstract(cls):
            cls.kind = name or address(cls)
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

    @classmethod
    def reference(cls) -> str:
        """Return the name by which every process finds this class.

        That is its kind where it comes with the package or from an entry point, and otherwise
        `module:Class`: a short name of a user's own is known only where its module is imported.
        """
        public = cls.registry is not None and cls.registry.publishes(cls)
        return cls.kind if public else address(cls)

    def to_yaml(self) -> str | dict[str, Any]:
        """Return the YAML form: `name`, or `{name: {non-default fields}}`; see `reference`."""
        fields = self.model_dump(mode="json", exclude_defaults=True)
        return {self.reference(): fields} if fields else self.reference()


ComponentT = TypeVar("ComponentT", bound=Component)


class Registry(Generic[ComponentT]):
    """Components by name: built in, from an entry point group, or `module:Class`."""

    def __init__(self, what: str) -> None:
        """`what` is the singular word for error messages, such as "stage".

        `curate.stages` is then the group of entry points, and the package whose modules register
        what is built in: each in the module of its name, or in the one that the package's
        `ELSEWHERE` gives. A module is imported when its name is first asked for, since all of
        them together take longer than many a command.
        """
        self.what = what
        self.contract: type[Component] | None = None  # the class that all of them derive from
        self._home = f"curate.{what}s"
        self._classes: dict[str, type[ComponentT]] = {}
        self._public: dict[type[Component], bool] = {}

    def add(self, name: str, cls: type[ComponentT]) -> None:
        """Register `cls` under `name`. Raises ConfigError where another class has it.

        A class that is defined again (a cell run twice, a module reloaded) replaces itself.
        """
        if not _comes_with_us(cls):
            self._import_built_in(name)  # or it could take a built-in one's name
        known = self._classes.get(name)
        if known is not None and _origin(known) != _origin(cls):
            raise ConfigError(
                f"two {self.what} classes are named {name!r}: {address(known)} and {address(cls)}; "
                "give one another name"
            )
        self._classes[name] = cls

    def names(self) -> list[str]:
        """Return every registered name, sorted."""
        home = importlib.import_module(self._home)
        for module in sorted(module.name for module in pkgutil.iter_modules(home.__path__)):
            importlib.import_module(f"{self._home}.{module}")
        return sorted(self._classes)

    def get(self, name: str) -> type[ComponentT]:
        """Return the class called `name`. Raises ConfigError with the closest known name."""
        self._import_built_in(name)
        if name in self._classes:
            return self._classes[name]
        if ":" in name:
            return self._checked(name, _imported(self.what, name))
        for entry in self._entry_points():
            if entry.name == name:
                self.add(name, self._checked(name, _loaded(self.what, entry)))
                return self._classes[name]
        raise ConfigError(f"unknown {self.what} {name!r}{did_you_mean(name, self.names())}")

    def is_built_in(self, name: str) -> bool:
        """Whether `name` is that of a component which comes with the package."""
        self._import_built_in(name)
        return name in self._classes and _comes_with_us(self._classes[name])

    def publishes(self, cls: type[Component]) -> bool:
        """Whether a process that has imported nothing finds `cls` under its kind."""
        if cls not in self._public:
            entries = () if _comes_with_us(cls) else self._entry_points()
            self._public[cls] = _comes_with_us(cls) or any(
                entry.name == cls.kind and _loaded(self.what, entry) is cls for entry in entries
            )
        return self._public[cls]

    def _import_built_in(self, name: str) -> None:
        """Import the module that registers `name`, if it is one of ours."""
        if name in self._classes or not name.isidentifier():
            return
        home = importlib.import_module(self._home)
        module = f"{self._home}.{getattr(home, 'ELSEWHERE', {}).get(name, name)}"
        if importlib.util.find_spec(module) is not None:
            importlib.import_module(module)

    def _entry_points(self) -> importlib.metadata.EntryPoints:
        return importlib.metadata.entry_points(group=self._home)

    def _checked(self, name: str, found: object) -> type[ComponentT]:
        """Return what was found, if it keeps the contract and can be made. Raises ConfigError."""
        kept = isinstance(found, type) and issubclass(found, self.contract or Component)
        if not kept or isabstract(found) or "registry" in vars(found):
            raise ConfigError(
                f"{name!r} is not a {self.what} class; name one that derives from "
                f"{address(self.contract or Component)} and has all of its methods"
            )
        return cast("type[ComponentT]", found)

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
        place = where
        try:
            cls = self.get(name)
            place = f"{where} (`{name}`)"
            return cls.model_validate(fields)
        except ConfigError as error:
            raise ConfigError(f"{place}: {error}") from None
        except ValidationError as error:
            raise ConfigError(f"{place}: {explain(error, cls)}") from None


def address(cls: type) -> str:
    """Return `module:Class`."""
    return f"{cls.__module__}:{cls.__qualname__}"


def _comes_with_us(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == __name__.partition(".")[0]


def _origin(cls: type) -> tuple[str, str]:
    """Return the file (or module) and the name of a class: a script run is also importable."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return (str(Path(file).resolve()) if file else cls.__module__), cls.__qualname__


def _imported(what: str, name: str) -> object:
    """Return what `module:Class` names. Raises ConfigError where that cannot be imported."""
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*", name):
        raise ConfigError(f"cannot import {what} {name!r}: write module:Class")
    module, _, names = name.partition(":")
    return _brought(what, name, lambda: attrgetter(names)(importlib.import_module(module)))


def _loaded(what: str, entry: importlib.metadata.EntryPoint) -> object:
    return _brought(what, entry.name, entry.load)


def _brought(what: str, name: str, bring: Callable[[], object]) -> object:
    """Return what `bring` imports; a user's module may fail with anything."""
    try:
        return bring()
    except ConfigError:
        raise
    except ModuleNotFoundError as error:
        where = "install it, or start in the folder that holds it"
        raise ConfigError(f"cannot import {what} {name!r}: {error}; {where}") from error
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"cannot import {what} {name!r}: {error}") from error
    except Exception as error:
        raise ConfigError(
            f"cannot import {what} {name!r}: {type(error).__name__}: {error}"
        ) from error
