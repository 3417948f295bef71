"""Plain data to msgpack bytes and back, within limits.

`encode` writes what `msgpack.packb(value, datetime=True)` writes for everything both accept, byte for byte; `decode` reads
what any msgpack library wrote. Limits are checked before Python objects are made.
"""

from __future__ import annotations

from aether._native import Limits, decode, encode, get_default_limits, set_default_limits

__all__ = ["Limits", "decode", "encode", "get_default_limits", "set_default_limits"]
