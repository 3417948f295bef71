"""What the documentation points at exists."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from pages import PAGES, README, ROOT, commands_of, name_of, prose_of

import aether

if TYPE_CHECKING:
    from pathlib import Path

_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_PATH = re.compile(r"`((?:rust|python|tests|benches|docs|\.ci)/[\w./-]*)`")


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that a page's headings get."""
    headings = _HEADING.findall(prose_of(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path):
    """Every internal link leads to a file that is there, and to a heading on it."""
    broken = []
    for target in _LINK.findall(prose_of(page)):
        if "://" in target:
            continue
        path, _, fragment = target.partition("#")
        file = page if not path else (page.parent / path).resolve()
        if not file.exists() or (fragment and fragment not in anchors_of(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_named_paths_exist(page: Path):
    """Every path of the repository that a page names in code type exists."""
    assert [path for path in _PATH.findall(prose_of(page)) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", [page for page in PAGES if any(commands_of(page))], ids=name_of)
def test_named_commands_exist(page: Path):
    """Every `aether …` command that a page names exists, with the options it names."""
    import click

    from aether.cli.main import aether as program

    missing = []
    for words in commands_of(page):
        command = program.get_command(click.Context(program), words[0])
        if command is None:
            missing.append(words[0])
            continue
        known = {name for parameter in command.get_params(click.Context(command)) for name in parameter.opts}
        missing += [f"{words[0]} {word}" for word in words[1:] if word.startswith("-") and len(word) > 1 and word not in known]
    assert missing == []


def test_every_error_is_explained():
    """The page on errors has a row for every error there is."""
    text = (ROOT / "docs" / "guide" / "errors.md").read_text(encoding="utf-8")
    assert [name for name in aether.errors.__all__ if f"| `{name}`" not in text] == []


def test_guide_lists_its_pages():
    """The guide's first page links to each of the others."""
    index = ROOT / "docs" / "guide" / "README.md"
    linked = set(_LINK.findall(index.read_text(encoding="utf-8")))
    assert {page.name for page in index.parent.glob("*.md")} - {index.name} <= linked


def test_figures_are_measured():
    """Every ratio among the README's figures stands on the page of benchmarks."""
    section = README.read_text(encoding="utf-8").partition("## How fast")[2].partition("\n## ")[0]
    ratios = set(re.findall(r"\b\d+\.\d+\b", section))
    measured = set(re.findall(r"\b\d+\.\d+\b", (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")))
    assert ratios
    assert ratios <= measured
