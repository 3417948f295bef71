"""The form of an input: NDJSON, CSV, CloudEvents, Parquet, Arrow; as it is said, or as the file's name tells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from aether.errors import AetherError
from aether.ingest.cloudevents import CloudEventSource
from aether.ingest.csv_rows import CsvSource
from aether.ingest.lines import LineSource
from aether.ingest.reading import Reading
from aether.ingest.tables import TableSource

if TYPE_CHECKING:
    from aether.ingest.chunks import Source
    from aether.ingest.mapping import Mapping

__all__ = ["FORMS", "Form", "form_of", "open_source"]

Form = Literal["ndjson", "csv", "cloudevents", "parquet", "arrow"]
FORMS: tuple[Form, ...] = ("ndjson", "csv", "cloudevents", "parquet", "arrow")
SUFFIXES: dict[str, Form] = {".csv": "csv", ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow"}
PACKED = (".gz", ".zst")


def form_of(name: str) -> Form:
    """Return the form that a file's name tells; NDJSON where it tells none."""
    path = Path(name)
    return SUFFIXES.get((path.with_suffix("") if path.suffix in PACKED else path).suffix, "ndjson")


def open_source(descriptor: int, name: str, form: Form, mapping: Mapping, delimiter: str = ",") -> Source:
    """Return the source of an open file.

    Args:
        descriptor: the open file's descriptor; it stays the caller's, who closes it.
        name: the file's name, or what to call it in messages.
        form: its form.
        mapping: which columns make which fields, where it has columns.
        delimiter: what stands between the cells of CSV.

    Raises:
        AetherError: this form cannot be read here.
    """
    if form in ("parquet", "arrow"):
        if not Path(name).is_file():
            raise AetherError(f"{name}: {form} is read from a file, not from a pipe")
        return TableSource(name, form, mapping)
    reading = Reading(descriptor, name)
    if form == "csv":
        return CsvSource(reading, mapping, name, delimiter)
    lines = LineSource(reading)
    return CloudEventSource(lines) if form == "cloudevents" else lines
