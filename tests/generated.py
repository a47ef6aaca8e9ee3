"""What the tests of generated code share: catalogue entries, and classes out of source."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import attrs

from wavespeed_async import Model
from wavespeed_async._codegen import class_names, source_of
from wavespeed_async.models import Opt, Request, _request
from wavespeed_async.models._request import sent_name

if TYPE_CHECKING:
    from collections.abc import Iterator


NAME = "generated_by_a_test"


def model_of(schema: dict[str, Any], model_id: str = "a/b", **more: Any) -> Model:
    """Make a model that takes what a schema says."""
    path = f"/api/v3/{model_id}"
    return Model(id=model_id, request_schema=schema, **{"api_path": path, **more})


@contextmanager
def unregistered() -> Iterator[None]:
    """Forget the classes that are made within."""
    known = dict(_request._classes)
    try:
        yield
    finally:
        _request._classes.clear()
        _request._classes.update(known)
        for name in [name for name in sys.modules if name.startswith(NAME)]:
            del sys.modules[name]


def classes_of(*models: Model) -> dict[str, type[Any]]:
    """Make the classes of generated source, by the ids of their models."""
    names = class_names(model.id for model in models)
    module = ModuleType(f"{NAME}_{len(sys.modules)}")
    sys.modules[module.__name__] = module  # annotations are looked up there
    exec(compile(source_of(models), "generated.py", "exec"), module.__dict__)  # noqa: S102 (that is the point)
    found = {model_id: getattr(module, name) for model_id, name in names.items()}
    assert all(issubclass(cls, Request) for cls in found.values())
    return found


def told(rule: Any) -> Any:
    """Tell what a validator is made of, so that two can be compared."""
    if not attrs.has(type(rule)):
        return rule
    parts = {a.name: told(getattr(rule, a.name)) for a in attrs.fields(type(rule))}
    return (type(rule).__name__, parts)


def fields_told(cls: type[Any]) -> dict[str, Any]:
    """Tell of each field of a class, by the API's name, its default and its rule."""
    return {
        sent_name(a): (
            "required" if a.default is attrs.NOTHING else a.default,
            told(a.validator.rule if isinstance(a.validator, Opt) else a.validator),
            isinstance(a.validator, Opt),
        )
        for a in attrs.fields(cls)
    }
