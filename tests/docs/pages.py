"""What the tests of the documentation share: the pages, and what stands on them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
GUIDE = sorted((ROOT / "docs" / "guide").glob("*.md"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: what stands behind the fence, "" for nothing.
        text: its lines.
        line: the line of its first line on the page, from 1.
        directly_after: whether it follows the block before it with only an empty line, or nothing, between them.
    """

    language: str
    text: str
    line: int
    directly_after: bool


def name_of(page: Path) -> str:
    """Return a page's path in the repository, which names its tests."""
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    blocks, end = [], 0
    for found in _FENCE.finditer(text):
        between = text[end : found.start()]
        line = text.count("\n", 0, found.start()) + 2
        blocks.append(Block(found[1], found[2], line, directly_after=end > 0 and not between.strip()))
        end = found.end()
    return blocks


def prose_of(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def commands_of(page: Path) -> Iterator[list[str]]:
    """Yield the words of each `aether …` command that a page names, in prose or at a prompt."""
    texts = _CODE.findall(prose_of(page))
    for block in blocks_of(page):
        if block.language in ("", "console", "bash", "sh"):
            texts += block.text.splitlines()
    for text in texts:
        found = re.search(r"(?:^|[|&] *|\$ +|python3 -m )aether ([a-z].*)", text)
        if found is not None:
            yield found[1].split()
