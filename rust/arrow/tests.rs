use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampNanosecondType, UInt64Type};
use proptest::prelude::*;

use super::*;
use crate::event::Parts;
use crate::msgpack::write;

const LIMITS: Limits = Limits { depth: 64, elements: 1000, payload_bytes: 1 << 20 };

fn event(version: u64, payload: &[u8]) -> Arc<EventData> {
    let (id, meta) = (Id::Text("id"), &[0x81, 0xa1, b'k', 0xa1, b'v'][..]);
    let parts = Parts { id, version, time_ns: -1, payload, meta, ..Parts::EXAMPLE };
    Arc::new(EventData::new(&parts))
}

fn batches(rows: &mut Rows) -> Vec<RecordBatch> {
    std::iter::from_fn(|| rows.rest().unwrap()).collect()
}

fn positions(batch: &RecordBatch) -> Vec<u64> {
    batch.column(0).as_primitive::<UInt64Type>().values().to_vec()
}

proptest! {
    #[test]
    fn batches_have_every_event_once_in_whole_commits_within_their_bounds(
        commits in prop::collection::vec((1_usize..6, 0_usize..300), 1..40),
        rows_max in 1_usize..12,
        bytes_max in 1_usize..4000,
        cut in 1_usize..40,
    ) {
        let placed: Vec<_> = (1_u64..).zip(&commits).flat_map(|(position, &(events, size))| {
            let mut payload = Vec::new();
            write::str(&mut payload, &"x".repeat(size));
            (0..events).map(move |_| (position, event(position, &payload)))
        }).collect();
        let mut rows = Rows::new(rows_max, bytes_max, LIMITS);
        // Runs as reads hand them out: commits are never cut.
        let border = placed.iter().position(|(position, _)| *position > cut as u64).unwrap_or(placed.len());
        rows.push(&placed[..border]).unwrap();
        rows.push(&placed[border..]).unwrap();
        let batches = batches(&mut rows);
        let all: Vec<u64> = batches.iter().flat_map(positions).collect();
        prop_assert_eq!(all, placed.iter().map(|(position, _)| *position).collect::<Vec<_>>());
        for pair in batches.windows(2) {
            prop_assert!(positions(&pair[0]).last() < positions(&pair[1]).first());
        }
        for batch in &batches {
            let places = positions(batch);
            let one_commit = places.first() == places.last();
            prop_assert!(batch.num_rows() <= rows_max || one_commit);
            let bytes: usize = placed.iter().filter(|(position, _)| places.contains(position) && Some(position) != places.last())
                .map(|(_, event)| event.payload().len()).sum();
            prop_assert!(bytes < bytes_max);
        }
    }
}

#[test]
fn a_row_has_the_event() {
    let mut rows = Rows::new(10, 1 << 20, LIMITS);
    let mut payload = Vec::new();
    write::float(&mut payload, 1e300);
    rows.push(&[(7, event(3, &payload)), (7, event(4, &[0xc4, 1, 0]))]).unwrap();
    assert!(rows.full().is_none());
    let batch = rows.rest().unwrap().unwrap();
    assert_eq!(batch.schema(), schema());
    assert_eq!(positions(&batch), [7, 7]);
    assert_eq!(batch.column(3).as_primitive::<UInt64Type>().values(), &[3, 4]);
    assert_eq!(batch.column(4).as_string::<i64>().value(0), "id");
    assert_eq!(batch.column(5).as_primitive::<TimestampNanosecondType>().value(0), -1);
    assert_eq!(batch.column(6).as_binary::<i64>().value(0), payload);
    assert_eq!(batch.column(7).as_string::<i64>().iter().collect::<Vec<_>>(), [Some("1e+300"), None]);
    assert_eq!(batch.column(8).as_string::<i64>().value(1), r#"{"k":"v"}"#);
    assert!(rows.rest().unwrap().is_none());
}
