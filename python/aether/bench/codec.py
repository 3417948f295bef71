"""The codec beside ormsgpack (Rust, no limits to check) and msgpack (C), on small, nested and long payloads."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from aether import codec
from aether.bench.measure import CPU, Target, compare, repeated
from aether.bench.payloads import PAYLOADS
from aether.bench.setting import check

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.bench.lines import Line
    from aether.bench.setting import Setting

__all__ = ["codecs", "lines"]

OTHERS = ("ormsgpack", "msgpack")
NO_SLOWER, TWICE = Target("faster", 1), Target("faster", 2)
WORK_BYTES = 200_000
"""What a run goes through, about."""


def codecs() -> dict[str, tuple[Callable[[Any], bytes], Callable[[bytes], Any]]]:
    """Return each codec that is installed by its name: encode and decode."""
    found: dict[str, tuple[Callable[[Any], bytes], Callable[[bytes], Any]]] = {"aether": (codec.encode, codec.decode)}
    for name in OTHERS:
        if importlib.util.find_spec(name) is not None:
            library = importlib.import_module(name)
            found[name] = (library.packb, library.unpackb)
    return found


async def lines(setting: Setting) -> list[Line]:
    """Encode and decode every payload."""
    repetitions, operations_max = setting.repetitions(15, 41, 201), setting.count(WORK_BYTES, WORK_BYTES, WORK_BYTES)
    there, found = codecs(), []
    for name in OTHERS:
        if name not in there:
            setting.say(f"codec: {name} is not installed, so it is left out: pip install 'aether-events[bench]'")
    setting.say(f"codec: {len(PAYLOADS)} payloads, {repetitions + 1} times on each side")
    for name, value in PAYLOADS.items():
        encoded = codec.encode(value)
        for library, (encode, decode) in there.items():
            check(holds=encode(value) == encoded and decode(encoded) == value, what=f"{library} writes or reads {name} otherwise")
        operations = max(20, operations_max // len(encoded))
        for verb, place, argument in (("encode", 0, value), ("decode", 1, encoded)):
            ours, *others = (repeated(functions[place], argument, operations, library) for library, functions in there.items())
            twice = [TWICE] if verb == "encode" and name in ("small", "nested") else []
            targets = [{"ormsgpack": [NO_SLOWER], "msgpack": twice}[side.name] for side in others]
            found += await compare(f"{verb} {name}", ours, others, repetitions=repetitions, clock=CPU, targets=targets)
    return found
