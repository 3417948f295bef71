"""What a command prints: styled on a terminal, plain lines elsewhere, or one JSON object."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Output"]

PLAIN_WIDTH = 120


class Output:
    """Stdout of one command.

    Args:
        as_json: print nothing but what `result` is given.

    Attributes:
        console: rich's console on stdout; silent with `as_json`.
        is_live: whether something may be redrawn.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        width = None if sys.stdout.isatty() else PLAIN_WIDTH
        self.console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False, quiet=as_json, width=width)
        self.is_live = self.console.is_terminal and not as_json

    def line(self, text: str = "", style: str = "", *, indent: int = 3) -> None:
        """Print one line; it is not wrapped, so that what a program reads stays whole."""
        self.console.print(Text(" " * indent + text if text else "", style), soft_wrap=True)

    def row(self, text: Text) -> None:
        """Print one line of many; on a terminal it is cut where the line ends."""
        if self.console.is_terminal:
            self.console.print(text, no_wrap=True, overflow="ellipsis")
        else:
            sys.stdout.write(text.plain.rstrip() + "\n")

    def heading(self, text: str) -> None:
        """Print a heading."""
        self.line()
        self.line(text, "bold cyan", indent=0)

    def pairs(self, *pairs: tuple[str, str], style: str = "") -> None:
        """Print names and values, aligned."""
        width = max(len(name) for name, _ in pairs)
        for name, value in pairs:
            self.console.print(Text("   ").append(f"{name:<{width}}  ", "dim").append(value, style), soft_wrap=True)

    def show(self, what: RenderableType) -> None:
        """Print anything that rich can draw."""
        self.console.print(what)

    def result(self, told: dict[str, Any]) -> None:
        """Print the JSON object, if JSON was asked for."""
        if self._as_json:
            sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
            sys.stdout.flush()
