"""The demo's domain: aircraft whose state is derived from the flights they made.

`apply` is a pure function, which is all that event sourcing asks of a domain: the same events give the same state, anywhere.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from aether.event import Event

__all__ = ["Aircraft", "apply", "fold", "tell"]


@dataclass(frozen=True)
class Aircraft:
    """What is known of one aircraft.

    Attributes:
        version: the version of the last event that went in.
        flights: how often it took off.
        miles: the miles of its finished flights.
        airports: where it has been.
        flying: the flight it is on, with its destination and miles; None: it is on the ground.
        place: where it is, or where it is going.
        gate: the gate it was given, "" for none.
        seen: the time of the last event.
    """

    version: int = 0
    flights: int = 0
    miles: int = 0
    airports: frozenset[str] = frozenset()
    flying: tuple[str, str, int] | None = None
    place: str = ""
    gate: str = ""
    seen: dt.datetime | None = None

    @property
    def status(self) -> str:
        """Where it is, in words."""
        if self.flying is not None:
            return f"in the air to {self.flying[1]}"
        return f"on the ground at {self.place}" if self.place else "not seen yet"


def apply(aircraft: Aircraft, event: Event) -> Aircraft:
    """Return the aircraft as it is after one more event."""
    data: dict[str, Any] = event.data
    known = replace(aircraft, version=event.version, seen=event.timestamp)
    match event.event_type:
        case "FlightDeparted":
            leg = (data["flight"], data["dest"], data["distance_mi"])
            airports = known.airports | {data["origin"]}
            return replace(known, flights=known.flights + 1, airports=airports, flying=leg, place=data["dest"], gate="")
        case "FlightArrived":
            miles = known.flying[2] if known.flying is not None and known.flying[0] == data["flight"] else 0
            airports = known.airports | {data["dest"]}
            return replace(known, miles=known.miles + miles, airports=airports, flying=None, place=data["dest"])
        case "FlightDiverted":
            return replace(known, flying=None, place=f"another airport than {data['dest']}")
        case "GateAssigned":
            return replace(known, gate=data["gate"])
        case _:
            return known


def fold(events: Iterable[Event]) -> Aircraft:
    """Return the aircraft after these events."""
    return functools.reduce(apply, events, Aircraft())


def tell(event: Event) -> str:
    """Return one event as a line of an aircraft's story."""
    data: dict[str, Any] = event.data
    match event.event_type:
        case "FlightDeparted":
            what = f"departs {data['origin']} for {data['dest']} as {data['flight']}, {_delay(data['delay_min'])}"
        case "FlightArrived":
            what = f"arrives at {data['dest']}, {_delay(data['delay_min'])}"
        case "FlightCancelled":
            what = f"{data['flight']} from {data['origin']} to {data['dest']} is cancelled"
        case "FlightDiverted":
            what = f"{data['flight']} is diverted, it does not reach {data['dest']}"
        case "GateAssigned":
            what = f"gets gate {data['gate']} from {data['by']}"
        case other:
            what = other
    return f"{event.version:>4}  {event.timestamp:%Y-%m-%d %H:%M}  {what}"


def _delay(minutes: int | None) -> str:
    if minutes is None:
        return "delay unknown"
    if minutes == 0:
        return "on time"
    return f"{minutes} min late" if minutes > 0 else f"{-minutes} min early"
