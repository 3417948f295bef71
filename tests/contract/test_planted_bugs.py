"""The contract itself is tested: every planted bug is caught, by the tests that say so."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree as ET

import broken_arrow
import broken_bus_bounds
import broken_bus_delivery
import broken_bus_handlers
import broken_bus_misuse
import broken_bus_reading
import broken_bus_requests
import broken_filing
import broken_ingesting
import broken_reading
import broken_replay
import broken_writing
import pytest
from planted import CAUGHT_BY

from aether.testing import BusContract, StoreContract

FOLDER = Path(__file__).parent
BROKEN_STORES = (broken_writing, broken_reading, broken_replay, broken_filing, broken_ingesting, broken_arrow)
BROKEN_BUSES = (
    (broken_bus_delivery,),
    (broken_bus_reading, broken_bus_bounds),
    (broken_bus_handlers, broken_bus_requests, broken_bus_misuse),
)
"""Each group is a run of its own."""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What each of those tests came to on each broken thing: {(class, test): {"failure", "error", "passed"}}.

    Broken buses are waited for in vain, so they run at once, and beside the stores.
    """
    folder = tmp_path_factory.mktemp("planted")
    together = [BROKEN_STORES, *BROKEN_BUSES]
    with ThreadPoolExecutor(len(together)) as pool:
        runs = pool.map(run_all, together, [folder / f"{number}.xml" for number in range(len(together))])
    return {key: outcome for found in runs for key, outcome in found.items()}


def run_all(modules, report):
    """Run the tests that are to find the bugs of these modules."""
    # No source in tracebacks: CPython 3.11 fails where a task of a broken bus is reported while a syntax tree is being made.
    options = ["-q", "-p", "no:cacheprovider", "--timeout=60", "--tb=line", f"--junitxml={report}"]
    command = [sys.executable, "-m", "pytest", *options, *(module.__file__ for module in modules)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER.parent.parent, timeout=240, check=False)
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout + run.stderr
    found: dict[tuple[str, str], set[str]] = {}
    for case in ET.parse(report).iter("testcase"):
        key = case.attrib["classname"].rpartition(".")[2], case.attrib["name"].partition("[")[0]
        found.setdefault(key, set()).add(next((child.tag for child in case), "passed"))
    return found


@pytest.mark.parametrize("broken", CAUGHT_BY, ids=lambda broken: broken.__name__)
def test_a_planted_bug_is_caught(broken, outcomes):
    """Each test that the bug names fails on it, and not for want of a fixture."""
    for test in CAUGHT_BY[broken]:
        seen = outcomes[f"Test{broken.__name__}", test]
        assert "failure" in seen, f"{test} passed on {broken.__name__}: {broken.__doc__}"
        assert "error" not in seen


@pytest.mark.parametrize("contract", [StoreContract, BusContract])
def test_every_part_of_the_contract_catches_something(contract):
    """At least four in ten of the contract's tests are shown to fail, some in each of its parts."""
    caught = {test for tests in CAUGHT_BY.values() for test in tests}
    for part in contract.__bases__:
        tests = {name for name in vars(part) if name.startswith("test_")}
        assert len(tests & caught) >= 0.4 * len(tests), (part.__name__, sorted(tests - caught))
