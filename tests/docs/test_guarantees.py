"""Each promise has tests that try to break it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from pages import ROOT

PAGE = ROOT / "docs" / "guarantees.md"
_ROW = re.compile(r"^\| (G\d+[^|]*)\|(.*)\|$", re.MULTILINE)
_NODE = re.compile(r"`(tests/[\w/]+\.py(?:::\w+)+)`")


def promised() -> dict[str, str]:
    """Return the rows of the table of promises, without those that are not promised yet."""
    text = PAGE.read_text(encoding="utf-8").partition("## Not promised yet")[0]
    return {name.strip(): rest for name, rest in _ROW.findall(text)}


ROWS = promised()


def test_there_are_promises():
    """The table is found, and each promise stands in it once."""
    assert len(ROWS) >= 10
    assert len({name.split()[0] for name in ROWS}) == len(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_promise_has_a_test(name: str):
    """A promised row names at least one test."""
    assert _NODE.findall(ROWS[name])


def test_named_tests_exist():
    """Pytest finds every test that the page names."""
    named = sorted(set(_NODE.findall(PAGE.read_text(encoding="utf-8"))))
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *named],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
