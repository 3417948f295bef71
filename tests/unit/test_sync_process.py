"""The portal and its process: a fork has to begin anew, and the interpreter ends without a wait or a word."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def python(script: str, *options: str) -> subprocess.CompletedProcess:
    """Run a script in a process of its own."""
    command = [sys.executable, *options, "-c", textwrap.dedent(script)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def test_a_fork_is_refused():
    """A forked child may not use what its parent made, is told so, and can make its own."""
    done = python(
        """
        import asyncio, os, sys
        from aether import AetherError
        from aether.sync._runner import Portal, _loop_thread

        portal = Portal("JetStreamEventStore")
        portal.run(asyncio.sleep(0))
        child = os.fork()
        if child == 0:
            try:
                portal.run(asyncio.sleep(0))
            except AetherError as error:
                print(error, flush=True)
            print(Portal("JetStreamEventStore").run(asyncio.sleep(0, "new one works")), flush=True)
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        print(portal.run(asyncio.sleep(0, "parent goes on")))
        """,
        "-Wignore::DeprecationWarning",
    )
    assert (done.returncode, done.stderr) == (0, "")
    refused, new, parent = done.stdout.splitlines()
    assert refused.startswith("this JetStreamEventStore was made in process ")
    assert "make a new one in process" in refused
    assert (new, parent) == ("new one works", "parent goes on")


def test_the_interpreter_ends_quietly():
    """At exit the loop still serves exit handlers, then cancels what is left, and nothing is printed or waits."""
    done = python(
        """
        import asyncio, atexit, threading
        from aether.sync._runner import Portal, _loop_thread

        portal = Portal("JetStreamEventStore")
        atexit.register(lambda: print(portal.run(asyncio.sleep(0, "exit handler served"))))
        began = threading.Event()

        async def forever():
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                print("cancelled")

        async def numbers():
            try:
                yield 1
                yield 2
            finally:
                print("generator closed")

        def wait():
            try:
                portal.run(forever())
            except asyncio.CancelledError:
                pass

        threading.Thread(target=wait, daemon=True).start()
        left = portal.iterate(numbers())
        next(left)
        began.wait(100)
        """,
        "-Werror",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == ["cancelled", "exit handler served", "generator closed"]


def test_a_call_after_the_end_is_refused():
    """A call that comes when the interpreter has ended the loop is an AetherError, and waits for nothing."""
    done = python(
        """
        import asyncio, atexit
        from aether import AetherError

        def late():
            try:
                portal.run(asyncio.sleep(0))
            except AetherError as error:
                print(error)

        atexit.register(late)  # before the portal, so it runs after the portal's end
        from aether.sync._runner import Portal, _loop_thread
        portal = Portal("JetStreamEventStore")
        portal.run(asyncio.sleep(0))
        """
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "the interpreter is shutting down" in done.stdout
