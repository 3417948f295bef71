"""Every error that Aether raises, under one root.

    AetherError
    ├── InvalidIdError (ValueError)            an id, event type or namespace that cannot be a name
    ├── EncodeError (ValueError)               a value that event data may not hold; names the path
    ├── DecodeError (ValueError)               bytes that are not what they should be; names the offset
    │   └── UnknownFormatError                 a message of a later version of Aether
    ├── CommitTooLargeError (ValueError)       a commit larger than the server or the store takes
    ├── VersionConflictError                   somebody else wrote first; names the version really there
    │   └── IdConflictError                    an id that is stored already, with other content or elsewhere
    ├── VersionsUsedUpError (ValueError)       an actor at the last version there is
    ├── CorruptEventError                      a damaged or foreign message; names stream and position
    ├── StoreFullError                         a stated bound of the store is reached
    ├── NamespaceMismatchError                 the stream differs from what this store needs
    ├── NotOwnerError                          a shard that this process does not own (any more); names the owner
    ├── OutcomeUnknownError                    sent, but nobody can say whether it was stored
    │   └── CommandUnknownError                a command of which nobody can say so; asking again is safe
    ├── CommandFailedError                     an actor's own code raised on a command; nothing was written
    ├── IngestError                            events of an ingestion that were not stored; carries each
    ├── DeadlineError (TimeoutError)           nothing was changed, and the time is up
    │   ├── ShardUnavailableError              a shard that was on its way between nodes, or stuck, until the deadline
    │   └── NotDrainedError                    a drained subscription's events were not all handled or read in time
    ├── SubscriptionLaggedError                a subscription fell behind, and events were dropped; says how many
    ├── SubscriptionInterruptedError           a subscription's connection was lost; events may have been missed
    ├── NoSubscriberError                      a request that nobody is subscribed to
    ├── RequestFailedError                     a request whose handler raised
    ├── PublishInterruptedError                published events may not have arrived; says how many at most
    ├── NotPublishedError                      events that are saved, and not published; carries them
    ├── NotLeaderError                         a term of leadership is over; names the leader, as far as known
    ├── ServerUnavailableError (ConnectionError)   no server, or it cannot serve now
    │   ├── UnsupportedServerError             too old, or without JetStream
    │   └── ServersUnreachableError            servers of a cluster that a subscription could not be proven on
    ├── ServerRefusedError                     the server answered no, with a number of its own
    ├── AccessDeniedError (PermissionError)    the server refused these credentials
    ├── StoreDirectoryInUseError               another process owns the embedded server's directory
    ├── LoopInUseError (RuntimeError)          a blocking call inside a running event loop
    └── MissingExtraError (ImportError)        an optional dependency is not installed

Each carries its facts as attributes, in the order of its constructor, and survives pickling. The message says what to do next.
"""

from __future__ import annotations

from aether.errors.base import AetherError, DeadlineError, LoopInUseError, MissingExtraError
from aether.errors.bus import (
    NoSubscriberError,
    NotDrainedError,
    NotPublishedError,
    PublishInterruptedError,
    RequestFailedError,
    SubscriptionInterruptedError,
    SubscriptionLaggedError,
)
from aether.errors.cluster import CommandFailedError, CommandUnknownError, NotLeaderError, NotOwnerError, ShardUnavailableError
from aether.errors.server import (
    AccessDeniedError,
    ServerRefusedError,
    ServersUnreachableError,
    ServerUnavailableError,
    StoreDirectoryInUseError,
    UnsupportedServerError,
)
from aether.errors.store import (
    CommitTooLargeError,
    CorruptEventError,
    IdConflictError,
    IngestError,
    NamespaceMismatchError,
    OutcomeUnknownError,
    StoreFullError,
    VersionConflictError,
    VersionsUsedUpError,
)
from aether.errors.values import DecodeError, EncodeError, InvalidIdError, UnknownFormatError

__all__ = [
    "AccessDeniedError",
    "AetherError",
    "CommandFailedError",
    "CommandUnknownError",
    "CommitTooLargeError",
    "CorruptEventError",
    "DeadlineError",
    "DecodeError",
    "EncodeError",
    "IdConflictError",
    "IngestError",
    "InvalidIdError",
    "LoopInUseError",
    "MissingExtraError",
    "NamespaceMismatchError",
    "NoSubscriberError",
    "NotDrainedError",
    "NotLeaderError",
    "NotOwnerError",
    "NotPublishedError",
    "OutcomeUnknownError",
    "PublishInterruptedError",
    "RequestFailedError",
    "ServerRefusedError",
    "ServerUnavailableError",
    "ServersUnreachableError",
    "ShardUnavailableError",
    "StoreDirectoryInUseError",
    "StoreFullError",
    "SubscriptionInterruptedError",
    "SubscriptionLaggedError",
    "UnknownFormatError",
    "UnsupportedServerError",
    "VersionConflictError",
    "VersionsUsedUpError",
]

for _name in __all__:
    # They are `aether.errors.X` in tracebacks and pickles, whichever file they are written in.
    globals()[_name].__module__ = __name__
del _name
