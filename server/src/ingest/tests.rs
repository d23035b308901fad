//! Every captured request through the whole translation, and the hostile ones.

mod hostile;
mod samples;

use super::enrich::Enricher;
use super::*;
use base64::Engine as _;
use engine::ProjectId;
use engine::event::{Column, Event, Kind, Value};
use serde_json::Value as Json;
use std::sync::LazyLock;

/// 2026-11-23T03:15:00Z: minutes after the captures.
pub(super) const NOW: i64 = 1_795_403_700_000_000;

pub(super) fn project(key: &str) -> Option<ProjectId> {
    let id = match key {
        "js.p1.key" | "s2s.p1.key" | "shop" | "key" => "p1",
        "app-id-123" | "key2" => "p2",
        _ => return None,
    };
    Some(ProjectId::new(id).unwrap())
}

pub(super) struct Call {
    pub(super) parts: Parts,
    pub(super) body: Vec<u8>,
    pub(super) at: i64,
}

pub(super) fn call(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Call {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = axum::http::HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).unwrap();
        map.append(name, value.parse().unwrap());
    }
    Call {
        parts: Parts {
            method: method.parse().unwrap(),
            path: normal_path(path),
            query: query.to_owned(),
            headers: map,
            client_ip: Some("203.0.113.77".parse().unwrap()),
        },
        body: body.to_vec(),
        at: NOW,
    }
}

pub(super) fn send(call: &Call) -> Result<(&'static Protocol, Translated), Failure> {
    static ENRICHER: LazyLock<Enricher> = LazyLock::new(|| Enricher::new().unwrap());
    send_to(call, &ENRICHER)
}

pub(super) fn send_to(call: &Call, enricher: &Enricher) -> Result<(&'static Protocol, Translated), Failure> {
    let protocol = find(&call.parts.method, &call.parts.path)?;
    let body = if call.parts.method == Method::POST {
        decode::body(&call.body, call.parts.header("content-encoding"))?
    } else {
        Cow::Borrowed("")
    };
    let env = Env {
        received_at: call.at,
        salt: [7; 32],
        enricher,
        kept_from: &|_| None,
        project_of: &project,
    };
    Ok((protocol, translate(protocol, &call.parts, &body, &env)?))
}

/// The events of a call that must be accepted.
pub(super) fn events(call: &Call) -> Vec<Event> {
    let translated = send(call).unwrap().1;
    assert_eq!(translated.rejected, [], "nothing is rejected");
    translated.batches.into_iter().flat_map(|batch| batch.events).collect()
}

/// A POST to the native endpoint with a good key.
pub(super) fn native(body: &str) -> Call {
    call(
        "POST",
        "/v1/events",
        &[("Authorization", "Bearer key")],
        body.as_bytes(),
    )
}

/// A POST to the Jitsu endpoint with a good key.
pub(super) fn jitsu(body: &str) -> Call {
    call(
        "POST",
        "/api/v1/event?token=js.p1.key",
        &[("User-Agent", CHROME)],
        body.as_bytes(),
    )
}

/// A Snowplow POST of events without `aid`, which is added.
pub(super) fn snowplow(events: &str) -> Call {
    let body =
        format!(r#"{{"schema":"iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4","data":{events}}}"#);
    let headers = [("X-GitLab-AppId", "app-id-123"), ("User-Agent", CHROME)];
    call("POST", "/com.snowplowanalytics.snowplow/tp2", &headers, body.as_bytes())
}

pub(super) const CHROME: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36";

/// An event as JSON by column name, without the columns named, for golden comparisons.
pub(super) fn show(event: &Event, without: &[Column]) -> Json {
    let mut out = serde_json::Map::new();
    for (column, value) in event.values().iter().filter(|(column, _)| !without.contains(column)) {
        let json = match value {
            Value::Text(text) => Json::from(text.as_str()),
            Value::Int(n) => Json::from(*n),
            Value::Float(n) => Json::from(*n),
            Value::Bool(b) => Json::from(*b),
            Value::Timestamp(at) => Json::from(time(*at)),
            Value::Decimal(n) => Json::from(format!("{}.{:06}", n / 1_000_000, n % 1_000_000)),
        };
        out.insert(column.name().to_owned(), json);
    }
    out.sort_keys();
    Json::Object(out)
}

pub(super) fn time(micros: i64) -> String {
    let at = chrono::DateTime::from_timestamp_micros(micros).unwrap();
    at.format("%Y-%m-%dT%H:%M:%S%.6f").to_string()
}

#[test]
fn every_row_of_the_table_is_reached_by_its_routes() {
    for (method, path, name) in [
        ("POST", "/v1/events", "native"),
        ("POST", "/v1/events/", "native"),
        ("POST", "//api//v1/event", "jitsu1"),
        ("POST", "/api/v1/s2s/event/", "jitsu1"),
        ("POST", "/api.2h8l6", "jitsu1"),
        ("GET", "/api/v1/p.gif", "jitsu1"),
        ("GET", "/i", "snowplow"),
        ("HEAD", "/ice.png", "snowplow"),
        ("POST", "/com.snowplowanalytics.snowplow/tp2", "snowplow"),
        ("POST", "/com.acme/track", "snowplow"),
    ] {
        let protocol = find(&method.parse().unwrap(), &normal_path(path)).unwrap();
        assert_eq!(protocol.name, name, "{method} {path}");
    }
    for (method, path, status) in [
        ("GET", "/v1/events", 405),
        ("POST", "/i", 405),
        ("POST", "/", 404),
        ("POST", "/api.", 404),
        ("POST", "/foo/bar", 404),
        ("POST", "/com.acme/a/b", 404),
    ] {
        let failure = find(&method.parse().unwrap(), &normal_path(path)).unwrap_err();
        assert_eq!(failure.status.as_u16(), status, "{method} {path}");
    }
}

#[test]
fn the_schema_of_the_native_event_names_every_column() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/event.schema.json");
    let schema: Json = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let members = schema["$defs"]["event"]["properties"].as_object().unwrap();
    for column in Column::ALL {
        let server_owned = ["visitor_id", "protocol", "received_at", "hashed_anonymous_id"].contains(&column.name());
        let member = members.get(column.name());
        assert_eq!(member.is_some(), !server_owned, "{}", column.name());
        let Some(member) = member else { continue };
        assert!(member["description"].is_string(), "{}", column.name());
        if column.kind() == Kind::Bool {
            assert_eq!(member["type"], "boolean");
        }
    }
    let kinds: Vec<&str> = members["type"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Json::as_str)
        .collect();
    assert_eq!(kinds, native::TYPES);
}

#[test]
fn keys_are_found_in_every_documented_place() {
    let body = br#"{"event_type":"x"}"#;
    let basic = format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode("js.p1.key:")
    );
    for (target, headers) in [
        ("/api/v1/event?token=js.p1.key", vec![]),
        ("/api/v1/event", vec![("X-Auth-Token", "js.p1.key")]),
        ("/api/v1/event", vec![("api_key", "js.p1.key")]),
        ("/api.zzz?p_abc=js.p1.key", vec![]),
        ("/api/v1/event", vec![("Authorization", basic.as_str())]),
    ] {
        assert_eq!(
            events(&call("POST", target, &headers, body)).len(),
            1,
            "{target} {headers:?}"
        );
    }
    let inside = br#"[{"event_type":"x","api_key":"js.p1.key"}]"#;
    assert_eq!(events(&call("POST", "/api/v1/events", &[], inside)).len(), 1);
    for (target, headers) in [
        ("/v1/events", vec![("Authorization", "bearer key")]),
        ("/v1/events", vec![("X-Write-Key", "key")]),
        ("/v1/events?key=key", vec![]),
    ] {
        assert_eq!(
            events(&call("POST", target, &headers, br#"{"event":"x"}"#)).len(),
            1,
            "{target}"
        );
    }
}

#[test]
fn unknown_keys_are_401_with_a_text_that_helps() {
    for call in [
        call("POST", "/api/v1/event?token=nope", &[], b"[]"),
        call("POST", "/api/v1/event", &[], br#"{"event_type":"x"}"#),
        call("POST", "/v1/events", &[], b"{}"),
        call("GET", "/i?e=pv&aid=nope", &[], b""),
        call("GET", "/i?e=pv", &[], b""),
        call("POST", "/com.acme/track", &[], br#"{"data":[{"e":"pv","aid":"nope"}]}"#),
    ] {
        let failure = send(&call).unwrap_err();
        assert_eq!(failure.status, 401, "{}", call.parts.path);
        let body: Json = serde_json::from_str(&failure.body()).unwrap();
        assert!(body["error"].as_str().unwrap().contains("write key"), "{body}");
    }
}

#[test]
fn a_snowplow_batch_may_hold_several_keys() {
    let body = br#"{"data":[{"e":"pv","aid":"shop","eid":"1"},{"e":"pv","aid":"app-id-123","eid":"2"},{"e":"pv","aid":"no","eid":"3"}]}"#;
    let translated = send(&call("POST", "/com.acme/track", &[], body)).unwrap().1;
    let stored: Vec<_> = translated
        .batches
        .iter()
        .map(|b| (b.project.as_str(), b.events.len(), b.rejected.len()))
        .collect();
    assert_eq!(stored, [("p1", 1, 1), ("p2", 1, 0)]);
    assert_eq!(translated.rejected[0].index, 2);
}

#[test]
fn anonymous_visitors_share_an_id_for_a_day_and_servers_do_not() {
    let enricher = Enricher::new().unwrap();
    let visitor = |call: &Call, at: usize| {
        let translated = send_to(call, &enricher).unwrap().1;
        translated.batches[0].events[at]
            .text(Column::VisitorId)
            .unwrap()
            .to_owned()
    };
    let page = r#"[{"e":"pv","p":"web","url":"https://a.example/1"},{"e":"pv","p":"web","url":"https://A.example/2"},
        {"e":"pv","p":"web","url":"https://b.example/1"},{"e":"se","p":"srv"},{"e":"se","p":"srv"},
        {"e":"se","p":"srv","ip":"198.51.100.7"},{"e":"se","p":"srv","ip":"198.51.100.7"}]"#;
    let mut one = snowplow(page);
    assert_eq!(visitor(&one, 0), visitor(&one, 1));
    assert_ne!(visitor(&one, 0), visitor(&one, 2), "another site");
    assert_ne!(visitor(&one, 3), visitor(&one, 4), "a backend's events name nobody");
    assert_eq!(
        visitor(&one, 5),
        visitor(&one, 6),
        "a backend may state its user's address"
    );
    let first = visitor(&one, 0);
    one.parts.client_ip = Some("203.0.113.78".parse().unwrap());
    assert_ne!(
        first,
        visitor(&one, 0),
        "the whole address counts, not its stored beginning"
    );
    assert!(visitor(&one, 3).starts_with("event:"));
}

#[test]
fn without_consent_no_network_data_is_stored() {
    let mut anonymous = snowplow(r#"[{"e":"pv","p":"web","nuid":"n","ip":"198.51.100.7"}]"#);
    anonymous.parts.headers.insert("sp-anonymous", "*".parse().unwrap());
    anonymous.parts.headers.insert("cookie", "sp=network".parse().unwrap());
    let event = &events(&anonymous)[0];
    assert_eq!((event.get(Column::Ip), event.get(Column::NetworkUserId)), (None, None));
    assert!(event.text(Column::HashedAnonymousId).is_some());

    let mut consenting = snowplow(r#"[{"e":"pv","p":"web"}]"#);
    consenting
        .parts
        .headers
        .insert("cookie", "a=b; sp=network".parse().unwrap());
    let event = &events(&consenting)[0];
    assert_eq!(event.text(Column::Ip), Some("203.0.113.0"));
    assert_eq!(event.text(Column::VisitorId), Some("network"));
    assert_eq!(event.get(Column::HashedAnonymousId), None);
}

#[test]
fn replies_are_what_each_sdk_takes_as_delivered() {
    let reply = |call: &Call, outcome: &Outcome| {
        let protocol = find(&call.parts.method, &call.parts.path).unwrap();
        (protocol.reply)(&call.parts, outcome)
    };
    let none = Outcome::default();
    assert_eq!(reply(&jitsu(""), &none), Reply::Json(r#"{"status":"ok"}"#.to_owned()));
    let comply = call("POST", "/api/v1/event?token=k&cookie_policy=comply", &[], b"");
    assert_eq!(
        reply(&comply, &none),
        Reply::Json(r#"{"status":"ok","delete_cookie":true}"#.to_owned())
    );
    assert_eq!(reply(&snowplow("[]"), &none), Reply::Text("ok"));
    assert_eq!(reply(&call("GET", "/i", &[], b""), &none), Reply::Pixel);
    let outcome = Outcome {
        stored: 2,
        duplicate: 1,
        rejected: vec![Rejection {
            index: 3,
            reason: engine::event::RejectReason::TooDeep,
            detail: "a \"b\"".to_owned(),
        }],
    };
    let expected =
        r#"{"status":"ok","stored":2,"duplicate":1,"rejected":[{"index":3,"reason":"too_deep","detail":"a \"b\""}]}"#;
    assert_eq!(reply(&native(""), &outcome), Reply::Json(expected.to_owned()));
}
