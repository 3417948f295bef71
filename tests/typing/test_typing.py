"""What a strict type checker sees of Aether."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from sync_stubs import STUB, essence, stub

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent

REPORT = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+): error: .*\[(?P<code>[a-z-]+)\]$")
EXPECTED = re.compile(r"# refused: (?P<code>[a-z-]+)$")


def run(module: str, *arguments: object) -> str:
    """Run a checker from the project's root and return what it says."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False).stdout


@pytest.fixture(scope="module")
def cache(request):
    """A cache that outlives the run, so that the next one is quick."""
    return request.config.cache.mkdir("mypy")


@pytest.fixture(scope="module")
def reports(cache):
    """What mypy says about both files: {file: {(line, code)}}."""
    said = run("mypy", "--strict", "--cache-dir", cache, FOLDER / "accepted.py", FOLDER / "refused.py")
    assert "refused.py" in said, said
    found: dict[str, set[tuple[int, str]]] = {}
    for report in filter(None, map(REPORT.match, said.splitlines())):
        found.setdefault(Path(report["file"]).name, set()).add((int(report["line"]), report["code"]))
    return found


def test_typed_code_is_accepted(reports):
    """Code that uses both faces as meant has no type errors, and its types are what assert_type says."""
    assert reports.get("accepted.py", set()) == set()


def test_mistakes_are_refused(reports):
    """Each line with a mistake is refused for the reason it gives, and no other line is."""
    lines = enumerate((FOLDER / "refused.py").read_text().splitlines(), start=1)
    wanted = {(number, found["code"]) for number, line in lines if (found := EXPECTED.search(line))}
    assert reports["refused.py"] == wanted


def test_the_stub_is_fresh():
    """The committed stub of aether.sync says what its generator says now."""
    assert essence(STUB.read_text()) == essence(stub()), "type: python tests/typing/sync_stubs.py --write"


@pytest.mark.parametrize("change", ["drop a method", "change a type", "change a default", "change a docstring"])
def test_a_stale_stub_is_noticed(change):
    """A stub that differs from the source in anything but layout is not fresh."""
    before, after = {
        "drop a method": ("def get_latest_version(self, actor_id: str) -> int:", "def other(self, actor_id: str) -> int:"),
        "change a type": ("limit: int | None = None) -> list[Event]", "limit: int | None = None) -> list[str]"),
        "change a default": ("batch_size: int = 1000", "batch_size: int = 100"),
        "change a docstring": ("0 means it has no event yet", "0 means something else"),
    }[change]
    text = STUB.read_text()
    assert before in text
    assert essence(text.replace(before, after, 1)) != essence(text)


@pytest.mark.usefixtures("longer")
@pytest.mark.parametrize("module", ["aether.sync", "aether._native"])
def test_stubs_agree_with_what_runs(cache, module):
    """Stubtest finds no difference between the stub and the module at run time."""
    said = run("mypy.stubtest", module, "--mypy-config-file", ROOT / "pyproject.toml")
    assert said.startswith("Success"), said
