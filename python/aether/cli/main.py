"""The command `aether`: its subcommands, and the one place where faults become a line and an exit code."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import sys

import click

from aether.cli.bench import bench
from aether.cli.cluster import cluster
from aether.cli.demo import demo
from aether.cli.dev import dev
from aether.cli.export import export
from aether.cli.faults import PIPE_CLOSED, report_fault
from aether.cli.import_ import import_
from aether.cli.repair import repair
from aether.cli.show import show
from aether.errors import AetherError

__all__ = ["run"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog="A first look: aether demo")
@click.version_option(importlib.metadata.version("aether-events"), message="aether %(version)s")
def aether() -> None:
    """Event-sourcing primitives on NATS JetStream."""


for _command in (demo, import_, export, show, repair, cluster, dev, bench):
    aether.add_command(_command)


def run(arguments: list[str] | None = None) -> int:
    """Run a command line (by default the process's own) and return the exit code."""
    typed = sys.argv[1:] if arguments is None else arguments
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a TextIO that has it
    try:
        code = _invoke(typed)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has enough. What is still buffered goes nowhere, so that the interpreter's last flush succeeds.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except asyncio.CancelledError:  # a second Ctrl-C, where the first lets things finish
        return report_fault(KeyboardInterrupt(), as_json="--json" in typed)
    except (AetherError, OSError, KeyboardInterrupt, click.ClickException) as error:
        return report_fault(error, as_json="--json" in typed)
    return code


def _invoke(typed: list[str]) -> int:
    try:
        with aether.make_context("aether", list(typed)) as context:
            code: int | None = aether.invoke(context)
            return code or 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(f"{error.format_message()}\n")
        return 0
    except click.exceptions.Exit as end:
        return end.exit_code
