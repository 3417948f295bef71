"""Each promise has tests that try to break it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from pages import ROOT

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


def test_named_tests_exist():
    """Pytest finds every test that the page names, in the one file of that name."""
    nodes = sorted(set(_NODE.findall(PAGE.read_text(encoding="utf-8"))))
    files = {name: list((ROOT / "tests").rglob(name)) for name, _ in nodes}
    assert {name: paths for name, paths in files.items() if len(paths) != 1} == {}
    named = [f"{files[name][0]}{test}" for name, test in nodes]
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *named],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
