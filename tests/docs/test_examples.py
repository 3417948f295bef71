"""The code that the documentation prints does what the documentation says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import GUIDE, README, blocks_of, name_of

PROGRAM_TIMEOUT_S = 120
OUTPUT = """\
Order state after replaying 2 events:
  Status: shipped
  Total: $99.99
  Tracking: FS123456
"""

PROGRAMS = [block.text for block in blocks_of(README) if block.language == "python" and "import" in block.text]
ORDERS = [program for program in PROGRAMS if "Order state" in program]
LINE = next(block.text for block in blocks_of(README) if block.language == "python" and "import" not in block.text)


def run(program: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a program as its reader would: from a file, in a process of its own, with warnings as errors."""
    file = directory / "program.py"
    file.write_text(program, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-W", "error", file],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=PROGRAM_TIMEOUT_S,
        check=False,
    )


def on_jetstream(program: str) -> str:
    """Return the first program with the one line exchanged that the README shows."""
    old = next(line for line in program.splitlines() if "with " in line and "InMemoryEventStore()" in line)
    indent = old[: len(old) - len(old.lstrip())]
    return program.replace(old, indent + LINE.strip())


def test_readme_shows_both_forms_and_their_output():
    """README has the first program in async and in sync form, and the output block they share."""
    assert [("await" in program, "import Event, sync" in program) for program in ORDERS] == [(True, False), (False, True)]
    assert OUTPUT in [block.text for block in blocks_of(README)]


@pytest.mark.parametrize("program", ORDERS, ids=["async", "sync"])
def test_first_program(program: str, tmp_path: Path):
    """The first program prints exactly the README's output."""
    done = run(program, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, OUTPUT, "")


def test_first_program_on_jetstream(tmp_path: Path):
    """With the line that README shows the same program stores its events in JetStream, where a second run finds them."""
    program = on_jetstream(ORDERS[0])
    done = run(program, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, OUTPUT, "")
    again = run(program, tmp_path)
    assert again.returncode == 1
    assert "VersionConflictError: 'order-1' is at version 2, not 0" in again.stderr


def test_conflict_example(tmp_path: Path):
    """README's conflict example is refused once, retries, and prints what the block after it says."""
    shown = blocks_of(README)
    index = next(i for i, block in enumerate(shown) if block.language == "python" and "except VersionConflictError" in block.text)
    done = run(shown[index].text, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, shown[index + 1].text, "")
    assert "conflict" in done.stdout.lower()


def test_publisher_and_subscriber(nats_server, tmp_path: Path):
    """README's subscriber and publisher, each in a process of its own, print what README says."""
    shown = blocks_of(README)
    for index, block in enumerate(shown):
        if (named := re.match(r"# (\w+\.py)\n", block.text)) is not None:
            assert "nats://localhost:4222" in block.text
            (tmp_path / named[1]).write_text(block.text.replace("nats://localhost:4222", nats_server.url), encoding="utf-8")
            output = shown[index + 1].text
    wanted = output.splitlines(keepends=True)
    listening = subprocess.Popen(
        [sys.executable, "-W", "error", "subscriber.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert listening.stdout.readline() == wanted[0]
        publishing = [sys.executable, "-W", "error", "publisher.py"]
        done = subprocess.run(publishing, cwd=tmp_path, capture_output=True, text=True, timeout=PROGRAM_TIMEOUT_S, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert [listening.stdout.readline() for _ in wanted[1:]] == wanted[1:]
    finally:
        listening.kill()
        listening.communicate()


@pytest.mark.parametrize("page", GUIDE, ids=name_of)
def test_guide_page(page: Path, tmp_path: Path):
    """Every Python block of the page runs, in order, and prints what the page says it prints."""
    runner = Path(__file__).with_name("run_page.py")
    done = subprocess.run(
        [sys.executable, "-W", "error", runner, page],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PROGRAM_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
