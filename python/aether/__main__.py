"""`python -m aether` and the command `aether`."""

from __future__ import annotations

import sys

from aether.errors import MissingExtraError

INTERRUPTED = 130


def main() -> int:
    """Run the command line; without its extra, say what to install."""
    try:
        import click  # noqa: F401, PLC0415 - only to see whether the extra is there
        import rich  # noqa: F401, PLC0415

        from aether.cli import run  # noqa: PLC0415 - imports click
    except ImportError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.stderr.write(f"aether: {MissingExtraError('The command line', 'cli')}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("aether: interrupted\n")
        return INTERRUPTED
    return run()


if __name__ == "__main__":
    sys.exit(main())
