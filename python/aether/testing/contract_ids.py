"""Actor ids that break stores: what a server, a file system, a query language or a terminal gives a meaning to."""

from __future__ import annotations

__all__ = ["HOSTILE_IDS", "INVALID_IDS"]

# One theme a group reads better than one id a line.
# fmt: off
HOSTILE_IDS: tuple[str, ...] = (
    # Subjects, wildcards and the server's own names.
    "*", ">", "x", "x.*", "x.>", "x.y", ".", "..", ".x", "x.", "x..y", "$JS.API.STREAM.PURGE.x", "$SYS", "$", "_INBOX.x", "a.b",
    # Our own tokens, reserved or escaped, as raw ids.
    "=epoch", "=", "==", "=2A", "=2a", "=2E", "%2A", "aether.default.1.x", "aether-snap.default.x", "-", "_", "--", "-_-",
    # White space and controls: frames, headers, logs and terminals.
    " ", "  ", "a b", " a", "a ", "\t", "\n", "\r\n", "a\r\nPUB x 1\r\ny", "a: b", "\x00", "a\x00", "a\x00b",
    "\x01", "\x1b[2J", "\x7f",
    # Files, queries, formats.
    "/", "a/b", "../../etc/passwd", "\\", "CON", "'", '"', "'; DROP TABLE events; --", "%", "%s", "%(x)s", "{}", "{0}",
    "a,b", "a;b", "?", "#", "&", "|", "~", "`", "^", "[a]", "(a)", "<a>", "@", "!", "+", "null", "None", "true", "0", "00", "-1",
    "1e3", "NaN",
    # Text: direction, width, case, composed and decomposed, the ends of each length in UTF-8, emoji that are several.
    "\u200f", "\u202egnp", "\u200b", "\ufeff", "\u2028", "\x80", "\x85", "\u07ff", "\u0800", "\uffff", "\U00010000", "\U0010ffff",
    "actor", "Actor", "ACTOR", "\uff41ctor", "\u00e9", "e\u0301", "ß", "ss", "İ", "i", "😀", "👨\u200d👩\u200d👧",
    "日本語", "שלום", "مرحبا",
    # Prefixes of each other, and the longest there are.
    "order", "order-1", "order-10", "order-1.", "order1", "17-17", "a" * 254, "a" * 255, "=" * 255, "*" * 255, "é" * 127 + "a",
)
# fmt: on
"""Every one is a valid actor id of 1 to 255 UTF-8 bytes, and no two are the same actor."""

INVALID_IDS: tuple[str, ...] = ("", "a" * 256, "é" * 128, "😀" * 64, "x" * 100_000, "\ud800", "a\udfff", "\udce9")
"""Empty, longer than 255 UTF-8 bytes, or impossible in UTF-8."""
