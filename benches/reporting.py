"""Runs a bench of this folder as a report."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aether.bench.setting import Setting
from aether.bench.tables import about, as_json, as_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from aether.bench.measure import Line


def report(title: str, packages: Iterable[str], lines_of: Callable[[Setting], Awaitable[list[Line]]]) -> int:
    """Run a report from the command line; 1 if a target is missed, else 0.

    Args:
        title: what is measured.
        packages: the distributions whose versions matter.
        lines_of: measures; its setting has no server.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--size", choices=("quick", "ci", "full"), default="quick", help="how often everything is repeated")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    lines = asyncio.run(lines_of(Setting("", options.size, lambda _: None)))
    told = about(title, " ".join(["python", f"benches/{Path(sys.argv[0]).name}", *sys.argv[1:]]), packages)
    print(json.dumps(as_json(told, lines), ensure_ascii=False, indent=2) if options.json else as_text(told, lines))
    return 1 if any(line.met is False for line in lines) else 0
