"""Commands on their way to an actor's owner, and what became of them: msgpack maps, as between versions of this library."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec

from aether.errors import DecodeError

__all__ = ["FRAME_BYTES_MAX", "Command", "Outcome", "OutcomeKind", "decode_command", "decode_outcome", "encode_frame"]

T = TypeVar("T", "Command", "Outcome")

FRAME_BYTES_MAX = 1_024
"""What a command takes beside its payload, with the longest ids, and a reply beside itself."""

OutcomeKind = Literal["replied", "failed", "moved", "unavailable", "unknown"]


class Command(msgspec.Struct, frozen=True):
    """A command for one actor.

    Attributes:
        actor_id: the actor.
        command_id: names the command, whoever sends it and however often.
        payload: the command itself, encoded.
        timeout_s: for how long whoever asked waits from now on, in seconds. Clocks of machines differ, so no time is sent.
    """

    actor_id: str
    command_id: str
    payload: bytes
    timeout_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)]


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one copy of a command.

    Attributes:
        kind: "replied": it was handled, now or by an earlier copy; "failed": the actor's code raised, nothing was written;
            "moved": the actor is not here, nothing was done; "unavailable": nothing was done, it may go well in a moment;
            "unknown": it may have been stored.
        reply: of "replied", encoded.
        owner: of "moved": where the actor is, as far as is known.
        error: of "failed": the name of the exception's class.
        text: what there is to say of it.
    """

    kind: OutcomeKind
    reply: bytes = b""
    owner: str | None = None
    error: str = ""
    text: str = ""


_ENCODER = msgspec.msgpack.Encoder()
_COMMANDS = msgspec.msgpack.Decoder(Command)
_OUTCOMES = msgspec.msgpack.Decoder(Outcome)


def encode_frame(frame: Command | Outcome) -> bytes:
    """Return a command or an outcome as bytes; keys that a later version adds are not heeded by this one."""
    return _ENCODER.encode(frame)


def decode_command(body: bytes) -> Command:
    """Read a command.

    Raises:
        DecodeError: it is none.
    """
    return _read(_COMMANDS, body, "command")


def decode_outcome(body: bytes) -> Outcome:
    """Read an outcome.

    Raises:
        DecodeError: it is none.
    """
    return _read(_OUTCOMES, body, "outcome of a command")


def _read(decoder: msgspec.msgpack.Decoder[T], body: bytes, what: str) -> T:
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:
        raise DecodeError(-1, f"no {what}: {error}") from error
