"""Runs the Python blocks of one page, in the current directory: `python3 run_page.py PAGE`.

The blocks share their names, as at the prompt of `python3 -m asyncio`; a block that awaits runs on the page's event loop, any
other without one. A ```text block directly after a Python block is what that block prints. A block whose first line is a
comment with a file's name (`# test_x.py`) is that file; pytest runs it if its name begins with `test_`.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pages import blocks_of

if TYPE_CHECKING:
    from pages import Block

_FILE = re.compile(r"# (\w+\.(?:py|ini))\n")


def main(page: Path) -> None:
    """Run the page; exit with what went wrong where."""
    blocks = blocks_of(page)
    names: dict[str, Any] = {"__name__": "__main__"}
    with asyncio.Runner() as runner:
        for block, following in itertools.zip_longest(blocks, blocks[1:]):
            if (file := _FILE.match(block.text)) is not None:
                run_file(Path(file[1]), block.text)
                continue
            if block.language != "python":
                continue
            printed = run_block(runner, block, names, page)
            wanted = following.text if following and following.directly_after and following.language == "text" else ""
            if printed != wanted:
                sys.exit(f"{page}:{block.line}: this block prints\n{printed}and the page says\n{wanted}")


def run_block(runner: asyncio.Runner, block: Block, names: dict[str, Any], page: Path) -> str:
    """Run one block and return what it prints."""
    # Empty lines before it, so that a traceback names the page's own line.
    source = "\n" * (block.line - 1) + block.text
    code = compile(source, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if code.co_flags & inspect.CO_COROUTINE:
            runner.run(eval(code, names))
        else:
            exec(code, names)
    return printed.getvalue()


def run_file(file: Path, text: str) -> None:
    """Write a file that the page shows, and run its tests if it has some."""
    file.write_text(text, encoding="utf-8")
    if file.name.startswith("test_"):
        options = ["-q", "-W", "error", "-p", "no:cacheprovider"]
        subprocess.run([sys.executable, "-m", "pytest", *options, file.name], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
