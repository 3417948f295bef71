#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::msgpack::read::Reader;

const LIMITS: Limits = Limits { payload_bytes: 10_000, depth: 4, elements: 40 };

fn line(data: &str) -> String {
    format!(r#"{{"id":"i","actor_id":"a","event_type":"T","timestamp":"2013-01-01T10:17:00Z","data":{data}}}"#)
}

fn parse(line: &str) -> Option<Record> {
    Parser::new(LIMITS, 1 << 20).parse(line.as_bytes())
}

fn payload(data: &str) -> Option<Vec<u8>> {
    parse(&line(data)).map(|record| record.event.payload().to_vec())
}

#[test]
fn a_record_becomes_the_event_it_describes() {
    let text = r#" {"version": 3, "metadata": {"b": "2", "a": "1"}, "data": {"x": [1, -1, 0.5, true, null, "\u00e9"]},
        "id": "59679dbb-4e81-5039-952e-0842fb6bc8bf", "actor_id": "\u0061", "event_type": "T", "timestamp": "1970-01-01T00:00:00Z"} "#;
    let record = parse(text).unwrap();
    let parts = record.event.parts();
    assert_eq!((parts.actor, parts.kind, parts.version, parts.time_ns), ("a", "T", 3, 0));
    assert!(matches!(parts.id, Id::Uuid(_)));
    assert_eq!(parts.meta, metadata::encode(&mut [("a", "1"), ("b", "2")]).unwrap());
    assert_eq!(parts.payload, b"\x81\xa1x\x96\x01\xff\xcb\x3f\xe0\0\0\0\0\0\0\xc3\xc0\xa2\xc3\xa9");
    assert!(record.size > parts.payload.len() + parts.meta.len() + 36);
}

#[test]
fn long_containers_get_long_marks() {
    for len in [0, 1, 15, 16, 17, 39] {
        let items: Vec<String> = (0..len).map(|index| format!(r#""{index}":0"#)).collect();
        let bytes = payload(&format!("{{{}}}", items.join(","))).unwrap();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.map().unwrap(), len);
        for index in 0..len {
            assert_eq!(reader.str().unwrap(), index.to_string());
            reader.skip(&LIMITS).unwrap();
        }
        assert_eq!(reader.left(), 0);
        assert_eq!(payload(&format!("[{}]", vec!["0"; len].join(","))).unwrap().len(), len + if len > 15 { 3 } else { 1 });
    }
}

#[test]
fn limits_are_kept() {
    assert!(payload("[[[[]]]]").is_some());
    assert!(payload("[[[[[]]]]]").is_none());
    assert!(payload(&format!("[{}]", vec!["0"; 40].join(","))).is_some());
    assert!(payload(&format!("[{}]", vec!["0"; 41].join(","))).is_none());
    assert!(payload(&format!("\"{}\"", "x".repeat(9_997))).is_some());
    assert!(payload(&format!("\"{}\"", "x".repeat(9_998))).is_none());
    let size = parse(&line("0")).unwrap().size;
    assert!(Parser::new(LIMITS, size + COMMIT_OVERHEAD_BYTES).parse(line("0").as_bytes()).is_some());
    assert!(Parser::new(LIMITS, size + COMMIT_OVERHEAD_BYTES - 1).parse(line("0").as_bytes()).is_none());
}

#[test]
fn what_may_mean_something_else_to_python_is_left_to_it() {
    for data in [
        "-0",
        "-0.0",
        "9223372036854775808.0",
        "18446744073709551616",
        "-9223372036854775809",
        "1e999",
        r#"{"a":1,"a":2}"#,
        r#"[{"b":{"a":1,"\u0061":2}}]"#,
        r#""\ud800""#,
        "\"\u{1}\"",
        "01",
        "1.",
        "NaN",
        "",
        "1,",
        "1}}",
    ] {
        assert!(payload(data).is_none(), "{data}");
    }
    let many: Vec<String> = (0..30).map(|index| format!(r#""{}":0"#, index % 29)).collect();
    assert!(payload(&format!("{{{}}}", many.join(","))).is_none());
    let good = line("0");
    assert!(parse(&good).is_some());
    for (from, to) in [
        (r#""id":"i","#, ""),
        (r#""id":"i","#, r#""id":"","#),
        (r#""id":"i","#, r#""id":"i","id":"i","#),
        (r#""id":"i","#, r#""id":1,"#),
        (r#""id":"i","#, r#""id":null,"#),
        (r#","data":0"#, ""),
        (r#""data":0"#, r#""data":0,"data":0"#),
        (r#""data":0"#, r#""data":0,"payload":"wA==""#),
        (r#""data":0"#, r#""data":0,"other":0"#),
        (r#""data":0"#, r#""data":0,"version":0"#),
        (r#""data":0"#, r#""data":0,"version":9223372036854775808"#),
        (r#""data":0"#, r#""data":0,"version":1.0"#),
        (r#""data":0"#, r#""data":0,"metadata":{"a":"","a":""}"#),
        (r#""data":0"#, r#""data":0,"metadata":{"a":1}"#),
    ] {
        assert!(good.contains(from) && parse(&good.replace(from, to)).is_none(), "{from} {to}");
    }
    for (from, to) in [(r#""data":0"#, r#""data":0,"version":null"#), (r#""data":0"#, r#""data":0,"metadata":null"#)] {
        assert!(parse(&good.replace(from, to)).is_some());
    }
}

#[test]
fn a_walk_numbers_lines_as_an_editor_does() {
    let (good, mut seen) = (line("0"), Vec::new());
    let chunk = format!("{good}\n\n \t\r\nodd\n{good}\r\n\n{good}");
    let mut walk = Walk::new(Parser::new(LIMITS, 1 << 20), 7);
    while let Some((number, line)) = walk.next(chunk.as_bytes()) {
        seen.push((number, matches!(line, Line::Odd(place) if &chunk[place.clone()] == "odd")));
    }
    assert_eq!(seen, [(7, false), (10, true), (11, false), (13, false)]);
    assert!(walk.next(chunk.as_bytes()).is_none());
}

proptest! {
    #[test]
    fn no_line_makes_it_panic(bytes: Vec<u8>, text in ".*", cut in 0..100_usize) {
        let mut parser = Parser::new(LIMITS, 1 << 20);
        parser.parse(&bytes);
        parser.parse(text.as_bytes());
        parser.parse(line(&text).as_bytes());
        let good = line("{\"a\":[1,{}]}");
        parser.parse(&good.as_bytes()[..cut.min(good.len())]);
        prop_assert!(parser.parse(good.as_bytes()).is_some(), "what a refused line leaves behind harms no later one");
    }

    #[test]
    fn numbers_come_through(int: i64, uint: u64, float in -1e18..1e18_f64) {
        let mut out = Vec::new();
        crate::msgpack::write::array(&mut out, 3);
        crate::msgpack::write::int(&mut out, int);
        crate::msgpack::write::uint(&mut out, uint);
        crate::msgpack::write::float(&mut out, float);
        prop_assume!(float != 0.0);
        prop_assert_eq!(payload(&format!("[{int},{uint},{float:?}]")).unwrap(), out);
    }
}
