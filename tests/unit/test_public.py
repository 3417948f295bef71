"""The public surface: what is exported is listed, and what is listed is documented."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import aether
from aether import cluster, codec, errors, event, sync, testing
from aether.store import base, ingest_base

if TYPE_CHECKING:
    import types

LISTED = [aether, cluster, sync, testing, codec, errors, event, base, ingest_base]


def exported(module: types.ModuleType) -> set[str]:
    """Return the public names of a module that it did not get by being a package."""
    # pytest rewrites the assertions of plugins, and leaves "@py_builtins" in them.
    names = {name for name in vars(module) if not name.startswith(("_", "@")) and name != "annotations"}
    inside = {info.name for info in pkgutil.iter_modules(getattr(module, "__path__", []))}
    return {name for name in names if name not in inside or name in module.__all__}


def public_things():
    """Return every public class and function, and the members that classes define themselves, each once."""
    things = {}
    for module in LISTED:
        for name in module.__all__:
            thing = getattr(module, name)
            if isinstance(thing, tuple | str) and not inspect.isclass(thing):
                continue  # a constant; its module says what it is
            things.setdefault(id(thing), pytest.param(thing, id=f"{module.__name__}.{name}"))
            if not inspect.isclass(thing) or issubclass(thing, BaseException):
                continue
            for member, value in sorted(vars(thing).items()):  # slots come in any order
                # The fields of a named tuple or a dataclass are described where it is.
                if not member.startswith("_") and member not in fields_of(thing):
                    things.setdefault(id(value), pytest.param(value, id=f"{module.__name__}.{name}.{member}"))
    return list(things.values())


def fields_of(thing):
    """Return the names of a named tuple's or a dataclass's fields."""
    return (*getattr(thing, "_fields", ()), *getattr(thing, "__dataclass_fields__", ()))


@pytest.mark.parametrize("module", LISTED, ids=lambda module: module.__name__)
def test_all_is_sorted(module):
    """`__all__` is sorted as ruff sorts it (constants, classes, the rest), without repetitions, and every name is there."""

    def rank(name: str) -> tuple[int, str]:
        return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)

    assert list(module.__all__) == sorted(set(module.__all__), key=rank)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_aether_exports_what_it_lists():
    """`aether` has no public name that is not in `__all__`, but for its own modules."""
    assert exported(aether) == set(aether.__all__)


def test_every_error_is_exported():
    """Every error class can be imported from `aether`."""
    assert set(errors.__all__) <= set(aether.__all__)


def test_sync_has_every_name():
    """Whatever can be imported from `aether` can be imported from `aether.sync`."""
    assert sync.__all__ == aether.__all__
    for name in aether.__all__:
        assert getattr(sync, name).__name__ in (name, f"aether.{name}")


def test_testing_loads_on_demand():
    """`aether.testing` imports what is asked for and nothing else, and an unknown name is an AttributeError."""
    assert set(testing.__all__) <= set(dir(testing))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = testing.Nothing


def test_importing_aether_imports_no_extra():
    """`import aether` works without any extra, and imports neither tests nor the command line."""
    script = """
import sys
for name in ("pytest", "click", "rich", "msgpack", "pydantic", "nkeys", "aiohttp"):
    sys.modules[name] = None  # an import of it is an ImportError
import aether, aether.sync
print([name for name in sys.modules if name.startswith(("aether.testing", "aether.cli"))])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")


@pytest.mark.parametrize("thing", public_things())
def test_what_is_public_is_documented(thing):
    """Everything public has a docstring that begins with a sentence."""
    doc = inspect.getdoc(thing)
    assert doc
    summary = doc.partition("\n\n")[0]
    assert summary[0] in "`(" or summary[0].isupper()
    assert summary[-1] in ".:"


@pytest.mark.parametrize("thing", [base.Appended, base.StoreInfo, aether.ConnectOptions])
def test_fields_are_documented(thing):
    """A named tuple or dataclass says what each of its fields means."""
    assert [field for field in fields_of(thing) if f"{field}: " not in thing.__doc__] == []


def test_modules_say_what_they_are_for():
    """Every module of the package has a docstring."""
    names = [info.name for info in pkgutil.walk_packages(aether.__path__, "aether.") if "__main__" not in info.name]
    silent = [name for name in names if not (importlib.import_module(name).__doc__ or "").strip()]
    assert silent == []
