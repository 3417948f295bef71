"""The stub says what the extension says: its docstrings are the extension's own. stubtest compares the signatures."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from types import ModuleType

import pytest

import aether
from aether import _native, codec

STUB = Path(inspect.getfile(aether)).with_name("_native.pyi")


def documented(body: list[ast.stmt], prefix: str = "") -> dict[str, str | None]:
    """The docstring of every class and function, by its dotted name; of an overloaded one that of the first."""
    found: dict[str, str | None] = {}
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("__"):
            name = prefix + node.name
            found.setdefault(name, ast.get_docstring(node))
            if isinstance(node, ast.ClassDef):
                found |= documented(node.body, name + ".")
    return found


DOCS = documented(ast.parse(STUB.read_text(encoding="utf-8")).body)


@pytest.mark.parametrize("name", DOCS)
def test_docstring(name):
    """The stub's docstring is the one that `help` shows, and there is one."""
    found: object = _native
    for part in name.split("."):
        assert isinstance(found, type | ModuleType)
        found = inspect.getattr_static(found, part)
    if isinstance(found, staticmethod):
        found = found.__func__
    assert found.__doc__
    assert inspect.cleandoc(found.__doc__) == DOCS[name]


def test_everything_is_in_the_stub():
    """Nothing that the extension offers is missing from the stub."""
    assert set(_native.__all__) == {name for name in DOCS if "." not in name}


@pytest.mark.parametrize("kind", [aether.Event, aether.NewEvent, aether.Snapshot, codec.Limits])
def test_public_classes_are_found_where_they_say(kind):
    """A public class names the module that users import it from."""
    module = {"aether": aether, "aether.codec": codec}[kind.__module__]
    assert getattr(module, kind.__name__) is kind


def test_classes_are_final():
    """No native class can be derived from."""
    for name in _native.__all__:
        kind = getattr(_native, name)
        if isinstance(kind, type):
            with pytest.raises(TypeError, match="not an acceptable base type"):
                type("Derived", (kind,), {})
