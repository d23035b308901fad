//! Requests that no SDK sends: each is a typed refusal or a stored or rejected event, never a panic.

use super::*;
use engine::event::RejectReason;
use std::io::Write;

/// What must come of a call.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Want {
    /// Refused with this status.
    Status(u16),
    /// Stored events, rejected events.
    Counts(usize, usize),
}
use Want::{Counts, Status};

fn outcome(call: &Call) -> (Want, Vec<RejectReason>) {
    match send(call) {
        Err(failure) => {
            assert!(failure.message.len() < 400, "{}", failure.message);
            serde_json::from_str::<Json>(&failure.body()).unwrap();
            (Status(failure.status.as_u16()), Vec::new())
        }
        Ok((protocol, translated)) => {
            let stored = translated.batches.iter().map(|b| b.events.len()).sum();
            let reasons: Vec<_> = translated.rejected.iter().map(|r| r.reason).collect();
            let all = translated.batches.iter().flat_map(|b| &b.events);
            all.for_each(|event| assert_eq!(event.defect(), None));
            let outcome = Outcome {
                rejected: translated.rejected,
                ..Outcome::default()
            };
            if let Reply::Json(text) = (protocol.reply)(&call.parts, &outcome) {
                serde_json::from_str::<Json>(&text).unwrap();
            }
            (Counts(stored, reasons.len()), reasons)
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    e.write_all(bytes).unwrap();
    e.finish().unwrap()
}

fn nested(depth: usize) -> String {
    format!("{}1{}", "[".repeat(depth), "]".repeat(depth))
}

fn bytes(body: Vec<u8>) -> Call {
    let mut call = native("");
    call.body = body;
    call
}

#[test]
fn hostile_requests_end_in_a_typed_answer() {
    let deep = format!(r#"{{"event":"x","a":{}}}"#, nested(100_000));
    let just = format!(
        r#"[{{"event":"x","a":{}}},{{"event":"x","a":{}}}]"#,
        nested(31),
        nested(32)
    );
    let huge = format!(r#"[{{"event":"{}"}},{{"event":"y"}}]"#, "x".repeat(70_000));
    let many_members: String = (0..1_200).map(|i| format!(",\"k{i}\":{i}")).collect();
    let many_events = format!("[{}1]", "1,".repeat(20_000));
    let long_name = format!(r#"{{"event":"x","{}":1}}"#, "n".repeat(60_000));
    let base64_deep = base64::engine::general_purpose::STANDARD.encode(format!(r#"{{"data":{}}}"#, nested(5_000)));
    let cases: Vec<(&str, Call, Want)> = vec![
        ("empty body", native(""), Status(400)),
        ("space only", native("  \n "), Status(400)),
        ("no JSON", native("hello"), Status(400)),
        ("half JSON", native(r#"{"event":"x""#), Status(400)),
        ("half array", native(r#"[{"event":"x"},"#), Status(400)),
        ("trailing garbage", native(r#"{"event":"x"} oops"#), Status(400)),
        ("two arrays", native(r#"[{"event":"x"}][]"#), Status(400)),
        ("number", native("42"), Status(400)),
        ("array of scalars", native(r#"[1,"a",null,true,[]]"#), Counts(0, 5)),
        ("empty array", native("[]"), Counts(0, 0)),
        ("empty object", native("{}"), Counts(0, 1)),
        ("100,000 deep", native(&deep), Counts(0, 1)),
        ("just deep enough", native(&just), Counts(1, 1)),
        ("deep array at the top", native(&nested(100_000)), Counts(0, 1)),
        ("unclosed depth", native(&"[".repeat(1_000_000)), Status(400)),
        ("huge string, then a good event", native(&huge), Counts(1, 1)),
        (
            "1,200 members",
            native(&format!(r#"{{"event":"x"{many_members}}}"#)),
            Counts(0, 1),
        ),
        (
            "1,200 properties",
            native(&format!(
                r#"{{"event":"x","u":1,"properties":{{{}}}}}"#,
                &many_members[1..]
            )),
            Counts(0, 1),
        ),
        ("20,001 elements", native(&many_events), Status(413)),
        ("long member name", native(&long_name), Counts(1, 0)),
        ("bomb", bytes(gzip(&vec![b' '; 40_000_000])), Status(413)),
        (
            "bomb in JSON",
            bytes(gzip(format!(r#"{{"event":"{}"}}"#, "x".repeat(30_000_000)).as_bytes())),
            Status(413),
        ),
        ("cut gzip", bytes(gzip(br#"{"event":"x"}"#)[..20].to_vec()), Status(400)),
        ("gzip of nothing", bytes(gzip(b"")), Status(400)),
        ("not UTF-8", bytes(b"{\"event\":\"\xff\xfe\"}".to_vec()), Status(400)),
        ("UTF-16", bytes(b"\xff\xfe{\0}\0".to_vec()), Status(400)),
        ("NUL bytes", bytes(vec![0; 1000]), Status(400)),
        ("NUL in text", native(r#"{"event":"a\u0000b"}"#), Counts(1, 0)),
        (
            "NaN",
            native(r#"{"event":"x","value":NaN,"properties":{"a":-Infinity}}"#),
            Counts(1, 0),
        ),
        ("NaN in text", native(r#"{"event":"x","value":"NaN"}"#), Counts(0, 1)),
        ("1e400", native(r#"{"event":"x","value":1e400}"#), Counts(0, 1)),
        (
            "year 275760",
            native(r#"{"event":"x","timestamp":"+275760-09-13T00:00:00.000Z"}"#),
            Counts(1, 0),
        ),
        (
            "number of years",
            native(r#"{"event":"x","timestamp":1e300}"#),
            Counts(0, 1),
        ),
        (
            "day 32",
            native(r#"{"event":"x","timestamp":"2026-01-32"}"#),
            Counts(0, 1),
        ),
        (
            "lone surrogates",
            native(r#"{"event":"\ud800","properties":{"\udc00":"\ud83d"}}"#),
            Counts(1, 0),
        ),
        ("bad escape", native(r#"{"event":"\q"}"#), Status(400)),
        (
            "equal names",
            native(r#"{"event":"x","event":"y","event":5}"#),
            Counts(0, 1),
        ),
        (
            "unknown members",
            native(r#"{"event":"x","__proto__":{"a":1},"constructor":null,"":0}"#),
            Counts(1, 0),
        ),
        (
            "wrong types",
            native(
                r#"[{"event":5},{"event":"x","screen_w":"wide"},{"event":"x","is_bot":"no"},{"event":"x","properties":[1]},{"event":"x","revenue":"much"},{"event":"x","screen_w":4294967296},{"event":"x","origin":"moon"},{"type":"party"}]"#,
            ),
            Counts(0, 8),
        ),
        (
            "server columns from outside",
            native(r#"{"event":"x","visitor_id":"root","received_at":0,"protocol":"evil"}"#),
            Counts(1, 0),
        ),
        (
            "token with control characters",
            call("POST", "/v1/events?key=%00%0a%ff", &[], b"{}"),
            Status(401),
        ),
        (
            "token of 100 kB",
            call("POST", &format!("/v1/events?key={}", "k".repeat(100_000)), &[], b"{}"),
            Status(401),
        ),
        (
            "brotli",
            call(
                "POST",
                "/v1/events?key=key",
                &[("Content-Encoding", "br")],
                b"\x0b\x02\x80",
            ),
            Status(415),
        ),
        (
            "jitsu without a type",
            jitsu(r#"[{"url":"x"},{"event_type":""},{"event_type":"x"}]"#),
            Counts(1, 2),
        ),
        (
            "jitsu context of wrong types",
            jitsu(
                r#"{"event_type":"x","url":5,"user":[],"utm":"a","click_id":1,"ids":2,"utc_time":{},"local_tz_offset":"a","vp_size":"axb","screen_resolution":"99999999999x1","referer":false,"event_id":{}}"#,
            ),
            Counts(1, 0),
        ),
        (
            "jitsu context in itself",
            jitsu(r#"{"eventn_ctx":{"eventn_ctx":{"event_type":"x"}},"event_type":"y"}"#),
            Counts(1, 0),
        ),
        (
            "jitsu template that is deep",
            jitsu(&format!(r#"{{"template":{{"a":{}}},"events":[]}}"#, nested(200))),
            Counts(0, 1),
        ),
        (
            "snowplow without data",
            call("POST", "/com.a/b", &[], br#"{"schema":"x"}"#),
            Status(400),
        ),
        ("snowplow data of scalars", snowplow(r#"[1,"x"]"#), Counts(0, 2)),
        (
            "snowplow unknown kind",
            snowplow(r#"[{"e":"zz"},{"e":5},{}]"#),
            Counts(0, 3),
        ),
        (
            "snowplow bad base64",
            snowplow(r#"[{"e":"ue","ue_px":"%%%"},{"e":"pv","cx":"e30"},{"e":"ue","ue_px":"_w"}]"#),
            Counts(0, 3),
        ),
        (
            "snowplow deep inside base64",
            snowplow(&format!(r#"[{{"e":"pv","cx":"{base64_deep}"}}]"#)),
            Counts(0, 1),
        ),
        (
            "snowplow NaN inside text",
            snowplow(
                r#"[{"e":"ue","ue_pr":"{\"data\":{\"schema\":\"iglu:a/b/jsonschema/1-0-0\",\"data\":{\"x\":NaN}}}"}]"#,
            ),
            Counts(1, 0),
        ),
        (
            "snowplow strange numbers",
            snowplow(
                r#"[{"e":"pv","dtm":"NaN","stm":"-1e999","vid":"1e9","se_va":"inf","res":"x","cd":"-","tz":5,"dtm":"99999999999999999999"}]"#,
            ),
            Counts(1, 0),
        ),
        (
            "pixel with repeated names",
            call("GET", "/i?e=pv&e=pp&aid=shop&url=%ff%fe&page=%", &[], b""),
            Counts(1, 0),
        ),
        ("pixel of nothing", call("GET", "/i", &[], b""), Counts(0, 0)),
        (
            "pixel of 100 kB",
            call(
                "GET",
                &format!("/i?e=pv&aid=shop&page={}", "x".repeat(100_000)),
                &[],
                b"",
            ),
            Status(413),
        ),
    ];
    assert!(cases.len() >= 40);
    for (name, call, want) in cases {
        let (got, reasons) = outcome(&call);
        assert_eq!(got, want, "{name}: {reasons:?}");
    }
}

#[test]
fn strange_values_end_where_they_do_no_harm() {
    let event = &events(&native(r#"{"event":"x","timestamp":"+275760-09-13T00:00:00.000Z"}"#))[0];
    assert_eq!(event.micros(Column::Ts), Some(NOW));
    assert_eq!(event.micros(Column::ClientTs), None, "no reader can print that year");
    let event = &events(&native(r#"{"event":"x","timestamp":"2031-01-01T00:00:00Z"}"#))[0];
    assert_eq!(event.micros(Column::Ts), Some(NOW));
    assert_eq!(
        event.micros(Column::ClientTs).map(time),
        Some("2031-01-01T00:00:00.000000".to_owned())
    );
    let event = &events(&native(
        r#"{"event":"x","visitor_id":"root","received_at":0,"user_id":"u"}"#,
    ))[0];
    assert_eq!(event.text(Column::VisitorId), Some("u"));
    assert_eq!(event.micros(Column::ReceivedAt), Some(NOW));
    assert_eq!(
        event.text(Column::Extra),
        Some(r#"{"visitor_id":"root","received_at":0}"#)
    );
    let event = &events(&native(r#"{"event":"\ud800","properties":{"a":NaN}}"#))[0];
    assert_eq!(event.text(Column::EventName), Some("\u{fffd}"));
    assert_eq!(event.text(Column::Properties), Some(r#"{"a":null}"#));
    let event = &events(&native(r#"{"event":"x","a":1,"properties":{"a":2,"b":3},"c":4}"#))[0];
    assert_eq!(event.text(Column::Properties), Some(r#"{"a":2,"b":3,"c":4}"#));
    let event = &events(&jitsu(
        r#"{"event_type":"x","url":5,"utm":{"source":1,"medium":"m"},"user":{"id":7,"anonymous_id":{}}}"#,
    ))[0];
    assert_eq!(event.text(Column::Properties), Some(r#"{"url":5}"#));
    assert_eq!(event.text(Column::UserId), Some("7"));
    assert_eq!(event.text(Column::UserTraits), Some(r#"{"anonymous_id":{}}"#));
    assert_eq!(event.text(Column::Extra), Some(r#"{"utm":{"source":1}}"#));
}

#[test]
fn what_is_rejected_is_kept_in_part() {
    let big = format!(r#"[{{"event":"{}"}}]"#, "é".repeat(60_000));
    let translated = send(&native(&big)).unwrap().1;
    let rejected = &translated.batches[0].rejected[0];
    assert_eq!(rejected.reason, RejectReason::TooLarge);
    assert!(rejected.raw.len() <= engine::limits::REJECTED_RAW_BYTES_MAX);
    assert!(std::str::from_utf8(&rejected.raw).is_ok());
    assert_eq!(rejected.received_at, NOW);
    assert_eq!(rejected.protocol, "native");
}

#[test]
fn ids_follow_the_content_only_where_a_time_is_given() {
    let ids = |body: &str| -> Vec<String> {
        let all = events(&native(body));
        all.iter()
            .map(|e| e.text(Column::EventId).unwrap().to_owned())
            .collect()
    };
    let timed = r#"{"event":"x","timestamp":"2026-11-23T03:00:00Z","a":1}"#;
    assert_eq!(ids(timed), ids(&timed.replace('}', r#","sent_at":1795403600}"#)));
    assert_ne!(ids(timed), ids(&timed.replace(":1}", ":2}")));
    assert_ne!(ids(r#"{"event":"x"}"#), ids(r#"{"event":"x"}"#));
    let twice = format!("{timed}\n{timed}\n");
    let first = ids(&twice);
    assert_ne!(first[0], first[1], "two equal events of one request are two");
    assert_eq!(first, ids(&twice), "and the same two when the request is repeated");
    assert_eq!(ids(r#"{"event":"x","event_id":"e1"}"#), ["e1"]);
}
