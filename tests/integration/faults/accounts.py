"""Whether every event put into a pipeline ended as the pipeline says, checked against a raw dump."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aether import AetherError, Event, IngestError, OutcomeUnknownError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aether import IngestPipeline
    from faults.dump import Stored


@dataclass
class Accounts:
    """What was put, and what the pipelines told of it.

    Attributes:
        put: every event that a pipeline took, once for each time.
        failures: each that `on_failure` was called with, and its error.
        errors: what `flush` and `put` raised.
    """

    put: list[Event] = field(default_factory=list)
    failures: list[tuple[Event, AetherError]] = field(default_factory=list)
    errors: list[IngestError] = field(default_factory=list)

    def on_failure(self, event: Event, error: AetherError) -> None:
        """Take a failure."""
        self.failures.append((event, error))

    async def offer(self, pipeline: IngestPipeline, events: Iterable[Event]) -> None:
        """Put events one chunk after another, going on after each error."""
        for event in events:
            before = pipeline.stats().put
            try:
                await pipeline.put(event)
            except IngestError as error:
                self.errors.append(error)
            if pipeline.stats().put > before:
                self.put.append(event)

    async def flush(self, pipeline: IngestPipeline) -> None:
        """Flush, and keep what it tells."""
        try:
            await pipeline.flush()
        except IngestError as error:
            self.errors.append(error)

    def complaints(self, pipelines: Sequence[IngestPipeline], stored: Sequence[Stored]) -> list[str]:
        """Return a sentence for each event that is not accounted for once, or not as the log has it."""
        found = Counter(event_id for message in stored for event_id in message.ids)
        unknown = {event.id for event, error in self.failures if isinstance(error, OutcomeUnknownError)}
        failed = {event.id for event, _ in self.failures} - unknown
        put = {event.id for event in self.put}
        told = [f"{event_id} is stored {count} times" for event_id, count in found.items() if count > 1]
        told += [f"{event_id} was not told of, and is not stored" for event_id in put - failed - unknown if not found[event_id]]
        told += [f"{event_id} is stored, and was told to have failed" for event_id in failed if found[event_id]]
        told += [f"{event_id} is stored, and was never put" for event_id in found if event_id not in put]
        stats = [pipeline.stats() for pipeline in pipelines]
        for each in stats:
            total = each.saved + each.already_stored + each.conflicts + each.failed + each.unknown
            if each.pending or each.in_flight or total != each.put:
                told.append(f"the counters do not add up: {each}")
        if sum(each.put for each in stats) != len(self.put):
            told.append(f"{len(self.put)} events were put, the pipelines took {[each.put for each in stats]}")
        if sum(each.conflicts + each.failed + each.unknown for each in stats) != len(self.failures):
            told.append(f"{len(self.failures)} failures were told, the pipelines counted {stats}")
        return told
