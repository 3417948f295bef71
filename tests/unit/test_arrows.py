"""Imports point one way: errors ← event ← {store, bus}.base ← nats ← stores and the like ← sync, cli."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import aether

PACKAGE = Path(aether.__file__).parent

LAYERS: tuple[tuple[str, ...], ...] = (
    ("aether.errors",),
    # The extension raises the errors and asks `payload` about typed values.
    ("aether._native", "aether.payload", "aether.event", "aether.codec"),
    ("aether.store.base", "aether.store.ingest_base", "aether.bus.base"),
    ("aether.nats",),
    ("aether.store", "aether.bus", "aether.ingest", "aether.cluster", "aether.data"),
    # The package itself shows what is below; only what is above it may import from it.
    ("aether",),
    ("aether.sync", "aether.bench"),
    ("aether.cli", "aether.__main__"),
    ("aether.testing",),
)
"""Each layer imports from itself and from those above it in this list."""

ALONE = {"aether.cli": {"aether.__main__"}, "aether.testing": set()}
"""What nobody imports from outside, and who may all the same."""


def home(module: str) -> tuple[int, str]:
    """Return a module's layer and the entry that puts it there: the longest that fits."""
    fits = [
        (len(entry), level, entry)
        for level, entries in enumerate(LAYERS)
        for entry in entries
        if module == entry or (entry != "aether" and module.startswith(f"{entry}."))
    ]
    assert fits, f"{module} has no layer: give it one"
    _, level, entry = max(fits)
    return level, entry


@pytest.fixture(scope="module")
def trees():
    """Every module's name and tree."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ["aether", *path.relative_to(PACKAGE).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text())
    return found


def planted(trees: dict[str, ast.Module], module: str, line: str) -> dict[str, ast.Module]:
    """Return the same modules, one of them with a line more."""
    body = trees[module].body if module in trees else []
    return {**trees, module: ast.Module(body=[*body, *ast.parse(line).body], type_ignores=[])}


def imported(tree: ast.AST, known: set[str]) -> set[str]:
    """Return the modules of this package that a module imports, wherever in it and for whatever purpose."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            # `from aether import codec` imports the module, `from aether import Event` the package.
            found |= {
                f"{node.module}.{name.name}" if f"{node.module}.{name.name}" in known else node.module for name in node.names
            }
    return {name for name in found if name == "aether" or name.startswith("aether.")}


def wrong_arrows(trees: dict[str, ast.Module]) -> list[str]:
    """Return each import that points the wrong way."""
    known = {*trees, "aether._native"}
    wrong = []
    for module, tree in trees.items():
        level, entry = home(module)
        for target in imported(tree, known):
            target_level, target_entry = home(target)
            outsider = target_entry in ALONE and entry != target_entry and module not in ALONE[target_entry]
            if target_level > level or outsider:
                wrong.append(f"{module} imports {target}")
    return sorted(wrong)


def cycle(trees: dict[str, ast.Module]) -> list[str]:
    """Return modules that import each other in a circle; what is imported for type checkers alone does not count."""
    known = set(trees)
    graph = {module: imported(_as_run(tree), known) & known - {module} for module, tree in trees.items()}
    while leaves := [module for module, targets in graph.items() if not targets]:
        graph = {module: targets - set(leaves) for module, targets in graph.items() if module not in leaves}
    return sorted(graph)


def _as_run(tree: ast.Module) -> ast.Module:
    body = [node for node in tree.body if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")]
    return ast.Module(body=body, type_ignores=[])


def test_imports_point_one_way(trees):
    """No module imports from a layer above its own, and nothing imports testing or cli."""
    assert wrong_arrows(trees) == []


def test_imports_make_no_circle(trees):
    """No modules import each other in a circle."""
    assert cycle(trees) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("aether.errors", "from aether.event import Event"),
        ("aether.event", "import aether.store.base"),
        ("aether.store.base", "from aether.nats.connection import Connection"),
        ("aether.nats.streams", "from aether.store.jetstream import JetStreamEventStore"),
        ("aether.store.memory", "from aether import Event"),
        ("aether.store.memory", "from aether import sync"),
        ("aether.nats.server", "def late():\n    from aether import testing"),
        ("aether.sync._runner", "if TYPE_CHECKING:\n    from aether.cli import main"),
        ("aether.__main__", "from aether.testing import Clock"),
        ("aether.cli", "from aether.testing import Clock"),
    ],
)
def test_a_wrong_arrow_is_noticed(trees, module, line):
    """A planted import that points the wrong way is found, also inside a function or for type checkers alone."""
    assert [wrong.partition(" ")[0] for wrong in wrong_arrows(planted(trees, module, line))] == [module]


def test_a_circle_is_noticed(trees):
    """A planted circle within a layer is found."""
    there = planted(trees, "aether.nats.subjects", "import aether.nats.connection")
    and_back = planted(there, "aether.nats.connection", "import aether.nats.subjects")
    assert {"aether.nats.subjects", "aether.nats.connection"} <= set(cycle(and_back))


@pytest.mark.parametrize("line", ["from aether.cli import run", "from aether.event import Event"])
def test_a_right_arrow_is_none_of_them(trees, line):
    """The command's entry may import the command line, and everything may import what is below it."""
    assert wrong_arrows(planted(trees, "aether.__main__", line)) == []
