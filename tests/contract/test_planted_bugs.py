"""The contract itself is tested: every planted bug is caught, by the tests that say so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import broken_filing
import broken_ingesting
import broken_reading
import broken_replay
import broken_writing
import pytest
from planted import CAUGHT_BY

from aether.testing import StoreContract

FOLDER = Path(__file__).parent
BROKEN = (broken_writing, broken_reading, broken_replay, broken_filing, broken_ingesting)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What each of those tests came to on each broken store, in one run: {(class, test): {"failure", "error", "passed"}}."""
    report = tmp_path_factory.mktemp("planted") / "report.xml"
    files = {module.__name__: module.__file__ for module in BROKEN}
    wanted = [f"{files[store.__module__]}::Test{store.__name__}::{test}" for store in CAUGHT_BY for test in CAUGHT_BY[store]]
    command = [sys.executable, "-m", "pytest", *wanted, f"--junitxml={report}", "-q", "-p", "no:cacheprovider", "--timeout=60"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER.parent.parent, timeout=240, check=False)
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout + run.stderr
    found: dict[tuple[str, str], set[str]] = {}
    for case in ET.parse(report).iter("testcase"):
        key = case.attrib["classname"].rpartition(".")[2], case.attrib["name"].partition("[")[0]
        found.setdefault(key, set()).add(next((child.tag for child in case), "passed"))
    return found


@pytest.mark.parametrize("store", CAUGHT_BY, ids=lambda store: store.__name__)
def test_a_planted_bug_is_caught(store, outcomes):
    """Each test that the bug names fails on it, and not for want of a fixture."""
    for test in CAUGHT_BY[store]:
        seen = outcomes[f"Test{store.__name__}", test]
        assert "failure" in seen, f"{test} passed on {store.__name__}: {store.__doc__}"
        assert "error" not in seen


def test_every_part_of_the_contract_catches_something():
    """At least four in ten of the contract's tests are shown to fail, some in each of its parts."""
    caught = {test for tests in CAUGHT_BY.values() for test in tests}
    for part in StoreContract.__bases__:
        tests = {name for name in vars(part) if name.startswith("test_")}
        assert len(tests & caught) >= 0.4 * len(tests), (part.__name__, sorted(tests - caught))
