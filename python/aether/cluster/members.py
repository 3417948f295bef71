"""Who is in a cluster: what members say of themselves, and the live view that the entries of their leases make. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from aether.errors import DecodeError
from aether.store.arguments import check_text

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable
    from collections.abc import Set as AbstractSet

__all__ = ["MEMBERS_MAX", "Member", "Members", "Present", "check_labels", "check_node_id"]

MEMBERS_MAX = 1021
"""How many members there may be: more than there are shards would own nothing."""

LEFT_MAX = MEMBERS_MAX
"""Of how many that left it is known for sure. No more of them can have owned a shard."""

NODE_ID_BYTES_MAX = 128
ADDRESS_BYTES_MAX = 255
LABELS_MAX = 32
LABEL_BYTES_MAX = 255
WEIGHT_MAX = 1000


@dataclass(frozen=True, kw_only=True)
class Member:
    """A node of a cluster, as it says of itself.

    Attributes:
        name: its `node_id`.
        incarnation: which life of that name this is: the position of the write by which it joined, so a later one is larger.
        address: where its users reach it, in whatever form they chose; "" where it gave none.
        labels: what its users say of it, as {"zone": "b"}.
        weight: how many shards it gets in proportion to others; 0: none.
        draining: it gives its shards away and gets none, because it is about to leave.
    """

    name: str
    incarnation: int
    address: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    weight: int = 1
    draining: bool = False

    def __hash__(self) -> int:
        return hash((self.name, self.incarnation))

    @property
    def takes_shards(self) -> bool:
        """Whether it is to own shards."""
        return self.weight > 0 and not self.draining

    def facts(self) -> dict[str, Any]:
        """Return what its lease carries beside its name, as JSON's values."""
        state = "draining" if self.draining else "active"
        return {"address": self.address, "labels": dict(self.labels), "weight": self.weight, "state": state}

    @classmethod
    def of(cls, name: str, incarnation: int, facts: object) -> Member:
        """Read what a lease carries.

        Raises:
            DecodeError: it is not what `facts` returns, or breaks a limit.
        """
        if not isinstance(facts, dict):
            raise DecodeError(-1, f"the lease of the member {name!a} carries no map")
        try:
            return cls(
                name=check_node_id(name),
                incarnation=incarnation,
                address=check_address(facts.get("address", "")),
                labels=check_labels(facts.get("labels", {})),
                weight=check_weight(facts.get("weight", 1)),
                draining=_is_draining(facts.get("state", "active")),
            )
        except (TypeError, ValueError) as error:
            raise DecodeError(-1, f"the lease of the member {name!a}: {error}") from error


def _is_draining(state: object) -> bool:
    if state not in ("active", "draining"):
        raise ValueError(f"state {state!a} is neither 'active' nor 'draining'")
    return state == "draining"


def check_node_id(node_id: object) -> str:
    """Return a node's name, or refuse what cannot be one."""
    name = check_text("node_id", node_id, NODE_ID_BYTES_MAX)
    if not name.isprintable():
        raise ValueError(f"node_id {name!a} holds characters that cannot be printed")
    return name


def check_address(address: object) -> str:
    """Return an address, or refuse one that is too long."""
    return check_text("address", address, ADDRESS_BYTES_MAX, least=0)


def check_weight(weight: object) -> int:
    """Return a weight, or refuse what is none."""
    if isinstance(weight, bool) or not isinstance(weight, int):
        raise TypeError(f"weight must be an int, not {type(weight).__name__}")
    if not 0 <= weight <= WEIGHT_MAX:
        raise ValueError(f"weight must be 0 to {WEIGHT_MAX:,}, not {weight}")
    return weight


def check_labels(labels: object) -> Mapping[str, str]:
    """Return labels that nobody changes any more, or refuse what cannot be some."""
    if not isinstance(labels, Mapping):
        raise TypeError(f"labels must be a dict of str, not {type(labels).__name__}")
    if len(labels) > LABELS_MAX:
        raise ValueError(f"at most {LABELS_MAX} labels, not {len(labels)}")
    for name, value in labels.items():
        check_text("a label's name", name, LABEL_BYTES_MAX)
        check_text(f"the label {name!a}", value, LABEL_BYTES_MAX, least=0)
    return MappingProxyType(dict(labels))


class Present(NamedTuple):
    """A member that is there.

    Attributes:
        member: who it is.
        since: since when this life of its name is seen, on the clock of whoever looks.
    """

    member: Member
    since: float


class Members:
    """The live view: who is there, and who left of his own will.

    Attributes:
        present: by name.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.present: dict[str, Present] = {}
        self._left: dict[str, None] = {}

    @property
    def left(self) -> AbstractSet[str]:
        """Names that were given back, so that there is no doubt about them; those that only expired are in neither.

        Of very many the last that left: whoever is forgotten counts as one who only expired.
        """
        return self._left.keys()

    @property
    def is_full(self) -> bool:
        """Whether there are as many as there may be."""
        return len(self.present) >= MEMBERS_MAX

    def by_name(self) -> dict[str, Member]:
        """Return who is there; any thread may ask."""
        # A dict is copied in one go, and changes while it is walked through where another thread has the loop.
        return {name: present.member for name, present in self.present.copy().items()}

    def see(self, member: Member) -> Member | None:
        """Take it that a member is there; return who was there under that name before.

        Raises:
            DecodeError: there are as many as there may be.
        """
        before = self.present.get(member.name)
        if before is None and self.is_full:
            raise DecodeError(-1, f"{member.name!a} is one member more than the {MEMBERS_MAX:,} that there may be")
        self._left.pop(member.name, None)
        same_life = before is not None and before.member.incarnation == member.incarnation
        since = before.since if before is not None and same_life else self._clock()
        self.present[member.name] = Present(member, since)
        return None if before is None else before.member

    def gone(self, name: str, *, left: bool) -> Member | None:
        """Take it that a member is not there any more, of its own will or not; return who it was."""
        before = self.present.pop(name, None)
        self._left.pop(name, None)  # unless it leaves now, what it said when it left has expired: it is forgotten
        if left:
            self._left[name] = None
            if len(self._left) > LEFT_MAX:
                del self._left[next(iter(self._left))]
        return None if before is None else before.member

    def keep_only(self, names: Iterable[str]) -> list[Member]:
        """Take it that nobody else is there; return who was."""
        kept = set(names)
        return [lost for name in [*self.present] if name not in kept and (lost := self.gone(name, left=False)) is not None]

    def forget_left(self, known: Container[str]) -> None:
        """Forget who left so long ago that nothing lies there of it any more; `known` are the names of whom something does."""
        self._left = dict.fromkeys(name for name in self._left if name in known)


def draining(member: Member) -> Member:
    """Return the same member, about to leave."""
    return replace(member, draining=True)
