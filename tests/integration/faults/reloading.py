"""A running server's settings, changed as an operator does it: the file, then a signal."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aether import EmbeddedServer


def reload(server: EmbeddedServer, settings: Mapping[str, Any]) -> None:
    """Let the running server read its configuration anew, with these settings; also after a restart."""
    server.process._settings.update(settings)
    directory = server.store_dir
    assert directory is not None
    file = directory / "nats-server.conf"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    os.kill(server.pid, signal.SIGHUP)
