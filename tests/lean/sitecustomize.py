"""Python runs this first in every process that a test starts.

nats-py imports aiohttp where it is installed, for WebSocket alone, and that takes as long as all the rest. So processes that
are given no WebSocket URL do without, as users do who have not installed that extra.
"""

import sys

if not any("ws://" in argument or "wss://" in argument for argument in sys.orig_argv):
    sys.modules["aiohttp"] = None
