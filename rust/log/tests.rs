#![allow(clippy::unwrap_used)]

use super::*;
use crate::event::{Id, Parts};

fn event(actor: &str, version: u64, id: &str) -> Arc<EventData> {
    Arc::new(EventData::new(&Parts { id: Id::Text(id), actor, version, ..Parts::EXAMPLE }))
}

#[test]
fn versions_increase_and_equal_events_are_recognised() {
    let mut log = Log::new(usize::MAX, 1 << 20);
    assert_eq!(log.save(&[event("a", 1, "x")]), Ok(1));
    assert_eq!(log.save(&[event("a", 5, "y"), event("a", 7, "z")]), Ok(2));
    assert_eq!(log.save(&[event("a", 1, "x")]), Ok(1));
    assert_eq!(log.save(&[event("a", 7, "z")]), Ok(2));
    assert_eq!(log.save(&[event("a", 7, "other")]), Err(Error::Conflict { expected: 6, actual: 7 }));
    assert_eq!(log.save(&[event("a", 6, "z")]), Err(Error::Conflict { expected: 5, actual: 7 }));
    assert_eq!(log.save(&[event("a", 7, "z"), event("a", 8, "new")]), Err(Error::Conflict { expected: 6, actual: 7 }));
    assert_eq!(log.append("a", &[event("", 0, "w")], Some(7)), Ok((8, 3)));
    assert_eq!(log.append("a", &[event("", 0, "w")], Some(7)), Err(Error::Conflict { expected: 7, actual: 8 }));
    assert_eq!(log.events("a", 5, 2).iter().map(|event| event.version()).collect::<Vec<_>>(), [5, 7]);
}

#[test]
fn an_append_never_numbers_past_the_last_version() {
    let mut log = Log::new(usize::MAX, 1 << 20);
    log.save(&[event("a", u64::MAX - 1, "x")]).unwrap();
    let draft = || event("", 0, "w");
    assert!(matches!(log.append("a", &[draft(), draft()], None), Err(Error::VersionsUsedUp)));
    assert_eq!(log.append("a", &[draft()], None), Ok((u64::MAX, 2)));
    assert!(matches!(log.append("a", &[draft()], None), Err(Error::VersionsUsedUp)));
    assert_eq!(log.latest("a"), u64::MAX);
}

#[test]
fn bounds_refuse_and_leave_everything_as_it_was() {
    let mut log = Log::new(2, 600);
    log.save(&[event("a", 1, "x")]).unwrap();
    assert_eq!(log.save(&[event("a", 2, "y"), event("a", 3, "z")]), Err(Error::Full { max_events: 2 }));
    let large = Arc::new(EventData::new(&Parts { payload: &[0; 600], ..event("b", 1, "x").parts() }));
    assert!(matches!(log.save(&[large]), Err(Error::TooLarge { limit: 600, .. })));
    assert_eq!((log.len(), log.latest("a"), log.latest("b")), (1, 1, 0));
}

/// Versions by page, each page with its position.
fn pages(log: &Log, after: u64, limit: usize, filter: &Filter) -> Vec<(u64, Vec<u64>)> {
    let (mut after, mut pages, through) = (after, Vec::new(), log.position());
    while after < through {
        let page = log.page(after, through, limit, filter);
        assert!(page.position > after && page.position <= through);
        after = page.position;
        pages.push((after, page.events.iter().map(|event| event.version()).collect()));
    }
    pages
}

#[test]
fn pages_are_whole_commits_in_position_order() {
    let mut log = Log::new(usize::MAX, 1 << 20);
    log.save(&[event("a", 1, "x")]).unwrap();
    log.save(&[event("b", 11, "x"), event("b", 12, "x"), event("b", 13, "x")]).unwrap();
    log.save(&[event("a", 2, "x"), event("a", 3, "x")]).unwrap();
    let all = Filter::default();
    assert_eq!(pages(&log, 0, 1, &all), [(1, vec![1]), (2, vec![11, 12, 13]), (3, vec![2, 3])]);
    assert_eq!(pages(&log, 0, 4, &all), [(2, vec![1, 11, 12, 13]), (3, vec![2, 3])]);
    assert_eq!(pages(&log, 1, 9, &all), [(3, vec![11, 12, 13, 2, 3])]);
    assert_eq!(pages(&log, u64::MAX, 9, &all), []);
    assert_eq!(log.page(u64::MAX, 3, 9, &all).events, []);
    assert_eq!(log.page(0, 1, 9, &all).events.len(), 1);
    let of = |actor: &str| Filter::new(Some(actor.to_owned()), None, None, None);
    assert_eq!(pages(&log, 0, 1, &of("a")), [(1, vec![1]), (3, vec![2, 3])]);
    assert_eq!(pages(&log, 1, 9, &of("a")), [(3, vec![2, 3])]);
    assert_eq!(pages(&log, 0, 9, &of("none")), [(3, vec![])]);
    let of = |prefix: &str| Filter::new(None, Some(prefix.to_owned()), None, None);
    assert_eq!(pages(&log, 0, 1, &of("b")), [(2, vec![11, 12, 13]), (3, vec![])]);
    let of = |kind: &str| Filter::new(None, None, None, Some(vec![kind.to_owned()]));
    assert_eq!(pages(&log, 0, 9, &of("none")), [(3, vec![])]);
    assert_eq!(pages(&log, 0, 9, &of("T")), [(3, vec![1, 11, 12, 13, 2, 3])]);
}
