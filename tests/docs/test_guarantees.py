"""Each promise has tests that try to break it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from pages import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "guarantees.md"
_ROW = re.compile(r"^\| (G\d+) (.*) \|$", re.MULTILINE)
_NODE = re.compile(r"`(test_\w+\.py)((?:::\w+)+)`")


def rows() -> list[tuple[str, str]]:
    """Return number and rest of each row of the table of promises, without those that are not promised yet."""
    return _ROW.findall(PAGE.read_text(encoding="utf-8").partition("## Not promised yet")[0])


def test_each_promise_stands_once():
    """Every number is promised once, or named as not promised yet."""
    numbers = [number for number, _ in _ROW.findall(PAGE.read_text(encoding="utf-8"))]
    assert sorted(numbers, key=lambda number: int(number[1:])) == [f"G{n}" for n in range(1, 18)]


@pytest.mark.parametrize(("number", "row"), rows(), ids=[number for number, _ in rows()])
def test_promise_has_a_test(number: str, row: str):
    """A promised row says for which store it holds and names at least one test."""
    _, holds_for, tests = row.rsplit("|", 2)
    assert holds_for.strip()
    assert _NODE.findall(tests)


def named() -> list[tuple[Path, str]]:
    """Return every test that the page names, with the one file of that name."""
    nodes = sorted(set(_NODE.findall(PAGE.read_text(encoding="utf-8"))))
    files = {name: list((ROOT / "tests").rglob(name)) for name, _ in nodes}
    assert {name: paths for name, paths in files.items() if len(paths) != 1} == {}
    return [(files[name][0], test) for name, test in nodes]


def names_in(*files: Path) -> set[str]:
    """Return the names of all functions and classes of files."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    trees = (ast.parse(file.read_text(encoding="utf-8")) for file in files)
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, kinds)}


def test_named_tests_are_there():
    """What the page names stands in the one file of that name, or in the contract that its class runs."""
    contract = names_in(*(ROOT / "python" / "aether" / "testing").glob("*.py"))
    lacking = [f"{file.name}{test}" for file, test in named() if not {*test.split("::")[1:]} <= names_in(file) | contract]
    assert lacking == []


@pytest.mark.usefixtures("longer")
def test_named_tests_exist():
    """Pytest finds every test that the page names; it imports half of all tests for that."""
    found = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "--collect-only",
            "-q",
            "-p",
            "no:cacheprovider",
            *(f"{file}{test}" for file, test in named()),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
