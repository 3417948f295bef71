"""The command `aether`. It needs the extra `cli`."""

from __future__ import annotations

from aether.cli.main import run

__all__ = ["run"]
