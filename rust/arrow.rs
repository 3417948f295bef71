//! Events as Arrow record batches, for tools that work on columns.
//!
//! A batch has whole commits, so that its last position is where a later read goes on. It ends before the commit that would pass
//! the bound in rows, and with the commit that reaches the bound in bytes: how long data is as JSON is known only when it is
//! written. Texts and bytes have offsets of 64 bits, so that whoever joins many batches meets no end at 2 GiB.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};

use arrow_array::builder::{ArrayBuilder, LargeBinaryBuilder, LargeStringBuilder, TimestampNanosecondBuilder, UInt64Builder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use uuid::Uuid;

use crate::event::{EventData, Id};
use crate::msgpack::Limits;
use crate::records::format::{Formatter, metadata};

/// A batch ends with the commit that brings it to so many bytes of text and data.
pub const BATCH_BYTES: usize = 32 << 20;
/// What the columns of fixed size, and the offsets of the others, take of a row.
const ROW_BYTES: usize = 72;

const UTC: &str = "UTC";

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let always = |name: &str, kind: DataType| Field::new(name, kind, false);
    let sometimes = |name: &str| Field::new(name, DataType::LargeUtf8, true);
    Arc::new(Schema::new(vec![
        always("position", DataType::UInt64),
        always("actor_id", DataType::LargeUtf8),
        always("event_type", DataType::LargeUtf8),
        always("version", DataType::UInt64),
        always("id", DataType::LargeUtf8),
        always("timestamp", DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into()))),
        always("data", DataType::LargeBinary),
        sometimes("data_json"),
        sometimes("metadata_json"),
    ]))
});

/// The columns, the same for every batch.
pub fn schema() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

#[derive(Debug)]
struct Columns {
    position: UInt64Builder,
    actor: LargeStringBuilder,
    kind: LargeStringBuilder,
    version: UInt64Builder,
    id: LargeStringBuilder,
    time: TimestampNanosecondBuilder,
    data: LargeBinaryBuilder,
    data_json: LargeStringBuilder,
    metadata_json: LargeStringBuilder,
}

impl Columns {
    fn new() -> Self {
        Self {
            position: UInt64Builder::new(),
            actor: LargeStringBuilder::new(),
            kind: LargeStringBuilder::new(),
            version: UInt64Builder::new(),
            id: LargeStringBuilder::new(),
            time: TimestampNanosecondBuilder::new().with_timezone(UTC),
            data: LargeBinaryBuilder::new(),
            data_json: LargeStringBuilder::new(),
            metadata_json: LargeStringBuilder::new(),
        }
    }

    fn len(&self) -> usize {
        self.position.len()
    }

    fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.position.finish()),
            Arc::new(self.actor.finish()),
            Arc::new(self.kind.finish()),
            Arc::new(self.version.finish()),
            Arc::new(self.id.finish()),
            Arc::new(self.time.finish()),
            Arc::new(self.data.finish()),
            Arc::new(self.data_json.finish()),
            Arc::new(self.metadata_json.finish()),
        ];
        RecordBatch::try_new(schema(), columns)
    }
}

/// Takes events in position order, gives out batches.
#[derive(Debug)]
pub struct Rows {
    batch_max: usize,
    bytes_max: usize,
    limits: Limits,
    columns: Columns,
    bytes: usize,
    ready: VecDeque<RecordBatch>,
}

impl Rows {
    /// Batches of at most `batch_max` rows, unless one commit alone has more, that end where they reach `bytes_max`.
    pub fn new(batch_max: usize, bytes_max: usize, limits: Limits) -> Self {
        Self { batch_max, bytes_max, limits, columns: Columns::new(), bytes: 0, ready: VecDeque::new() }
    }

    /// Takes the events of whole commits, each with its position.
    pub fn push(&mut self, events: &[(u64, Arc<EventData>)]) -> Result<(), ArrowError> {
        let mut formatter = Formatter::of_any_float(self.limits);
        let mut text = Vec::new();
        for commit in events.chunk_by(|one, next| one.0 == next.0) {
            if self.columns.len() + commit.len() > self.batch_max {
                self.end_batch()?;
            }
            for (position, event) in commit {
                self.row(*position, event, &mut formatter, &mut text);
            }
            if self.columns.len() >= self.batch_max || self.bytes >= self.bytes_max {
                self.end_batch()?;
            }
        }
        Ok(())
    }

    fn row<'a>(&mut self, position: u64, event: &'a EventData, formatter: &mut Formatter<'a>, text: &mut Vec<u8>) {
        let (parts, columns) = (event.parts(), &mut self.columns);
        columns.position.append_value(position);
        columns.actor.append_value(parts.actor);
        columns.kind.append_value(parts.kind);
        columns.version.append_value(parts.version);
        let mut buffer = Uuid::encode_buffer();
        columns.id.append_value(match parts.id {
            Id::Uuid(bytes) => Uuid::from_bytes(bytes).hyphenated().encode_lower(&mut buffer),
            Id::Text(text) => text,
        });
        columns.time.append_value(parts.time_ns);
        columns.data.append_value(parts.payload);
        text.clear();
        let is_json = formatter.data(parts.payload, text).is_some();
        self.bytes += ROW_BYTES + event.wire_size_bound() + append(&mut columns.data_json, text, is_json);
        text.clear();
        let has_metadata = !parts.meta.is_empty() && metadata(text, parts.meta).is_some();
        self.bytes += append(&mut columns.metadata_json, text, has_metadata);
    }

    fn end_batch(&mut self) -> Result<(), ArrowError> {
        if self.columns.len() > 0 {
            self.ready.push_back(self.columns.finish()?);
            self.bytes = 0;
        }
        Ok(())
    }

    /// A full batch; None: there is none yet.
    pub fn full(&mut self) -> Option<RecordBatch> {
        self.ready.pop_front()
    }

    /// A batch, full or not; None: nothing is left.
    pub fn rest(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        if self.ready.is_empty() {
            self.end_batch()?;
        }
        Ok(self.full())
    }
}

/// Appends what is JSON, and says how many bytes that is.
fn append(column: &mut LargeStringBuilder, text: &[u8], is_json: bool) -> usize {
    // It was written from texts that were checked, so it always is one.
    match simdutf8::basic::from_utf8(text) {
        Ok(text) if is_json => {
            column.append_value(text);
            text.len()
        }
        _ => {
            column.append_null();
            0
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
