use super::*;
use std::io::Write;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    e.write_all(bytes).unwrap();
    e.finish().unwrap()
}

fn ok(bytes: &[u8]) -> String {
    body(bytes, None).unwrap().into_owned()
}

fn status(bytes: &[u8], coding: Option<&str>) -> u16 {
    body(bytes, coding).unwrap_err().status.as_u16()
}

#[test]
fn bodies_are_told_apart_by_content() {
    let json = r#"{"a":"é"}"#;
    assert_eq!(ok(json.as_bytes()), json);
    assert_eq!(ok(format!("\u{feff} \n{json} ").as_bytes()), json);
    assert_eq!(ok(&gzip(json.as_bytes())), json);
    assert_eq!(ok(b"data=%7B%22a%22%3A1%7D&ip=1"), r#"{"a":1}"#);
    assert_eq!(ok(b"ip=1&data=eyJhIjoxfQ%3D%3D"), r#"{"a":1}"#);
    assert_eq!(ok(b"eyJhIjoxfQ"), r#"{"a":1}"#);
    assert_eq!(body(json.as_bytes(), Some("gzip")).unwrap(), json);
    assert_eq!(body(json.as_bytes(), Some("br")).unwrap(), json);
}

#[test]
fn what_cannot_be_decoded_is_a_typed_4xx() {
    assert_eq!(status(b"", None), 400);
    assert_eq!(status(b"   ", None), 400);
    assert_eq!(status(b"hello world!", None), 400);
    assert_eq!(status(b"{\"a\":\"\xff\"}", None), 400);
    assert_eq!(status(b"\x28\xb5\x2f\xfd", Some("zstd")), 415);
    assert_eq!(status(&gzip(b"{}")[..12], None), 400);
    assert_eq!(status(b"\x1f\x8b", None), 400);
}

#[test]
fn bombs_stop_at_the_bound() {
    let zeros = vec![b' '; 64 * 1024 * 1024];
    let bomb = gzip(&zeros);
    assert!(bomb.len() < 100_000);
    assert_eq!(status(&bomb, None), 413);
    let mut nested = gzip(b"{}");
    for _ in 0..10 {
        nested = gzip(&nested);
    }
    assert_eq!(status(&nested, None), 400);
}

#[test]
fn lone_surrogates_become_replacement_characters() {
    assert_eq!(ok(br#"{"a":"\ud83d\ude00"}"#), r#"{"a":"\ud83d\ude00"}"#);
    assert_eq!(ok(br#"{"a":"\ud83dx\uDE00"}"#), r#"{"a":"\ufffdx\ufffd"}"#);
    assert_eq!(ok(br#"{"a":"\\ud83d"}"#), r#"{"a":"\\ud83d"}"#);
    assert_eq!(ok(br#"{"a":"\ud83d\ud83d\ude00"}"#), r#"{"a":"\ufffd\ud83d\ude00"}"#);
}

#[test]
fn non_numbers_become_null_outside_text() {
    let cleaned = clean_non_numbers(r#"{"a":NaN,"b":[-Infinity,Infinity],"c":"NaN \" NaN"}"#).unwrap();
    assert_eq!(cleaned, r#"{"a":null,"b":[null,null],"c":"NaN \" NaN"}"#);
    assert_eq!(clean_non_numbers("{}"), None);
}

#[test]
fn base64_in_every_dress() {
    for text in ["eyJhIjoiPz8_In0", "eyJhIjoiPz8/In0=", "eyJhIjoiPz8_In0="] {
        assert_eq!(base64(text).unwrap(), br#"{"a":"???"}"#);
    }
    assert_eq!(base64("%%%"), None);
}
