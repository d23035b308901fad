use super::*;

fn object(text: &str) -> Object<'_> {
    Json::parse(text).unwrap().object().unwrap()
}

#[test]
fn the_last_of_equal_names_wins() {
    let o = object(r#"{"a":1,"b":2,"a":3,"\u0061":4}"#);
    let all: Vec<_> = o.iter().map(|(n, v)| (n.to_owned(), v.raw())).collect();
    assert_eq!(all, [("b".to_owned(), "2"), ("a".to_owned(), "4")]);
    let many: String = (0..200).map(|i| format!("\"k{}\":{i},", i % 100)).collect();
    let text = format!("{{{}}}", many.trim_end_matches(','));
    let o = object(&text);
    assert_eq!(o.len(), 100);
    assert_eq!(o.get("k7").unwrap().raw(), "107");
}

#[test]
fn an_object_lies_over_a_template() {
    let base = object(r#"{"a":1,"b":{"x":1}}"#);
    let o = object(r#"{"b":2}"#).over(&base);
    assert_eq!(o.get("a").unwrap().raw(), "1");
    assert_eq!(o.get("b").unwrap().raw(), "2");
    assert_eq!(o.len(), 2);
}

#[test]
fn values_are_read_as_what_they_are() {
    let json = |t| Json::parse(t).unwrap();
    assert_eq!(json(r#" "a\"b" "#).text().unwrap(), "a\"b");
    assert_eq!(json("42").id().unwrap(), "42");
    assert_eq!(json("42").text(), None);
    assert_eq!(json("3.0").i64(), Some(3));
    assert_eq!(json("3.5").i64(), None);
    assert_eq!(json("\"17\"").i64(), Some(17));
    assert_eq!(json("1e400").f64(), None);
    assert_eq!(json("\"NaN\"").f64(), None);
    assert_eq!(json("true").bool(), Some(true));
    assert!(json("[ ]").is_empty() && json("{}").is_empty() && json("\"\"").is_empty() && json("null").is_empty());
    assert!(!json("0").is_empty());
}

#[test]
fn deep_nesting_is_measured_without_recursion() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
    assert!(Json::parse(&deep).is_ok());
    assert_eq!(depth(&deep), 200_001);
    assert_eq!(depth(r#"{"a":"[[[[\"[","b":[{}]}"#), 3);
    assert_eq!(deeper_than(r#"{"a":[{}]}"#, 3), None);
    assert_eq!(deeper_than(r#"{"a":[{}]}"#, 2), Some(3));
    assert_eq!(deeper_than(r#"{"a":1,"b":[],"c":[]}"#, 2), None);
    assert_eq!(deeper_than(r#"{"a":"[[[[\"[","b":[{}]}"#, 3), None);
    assert_eq!(deeper_than(r#"{"a":"[[[[\"[","b":[{}]}"#, 2), Some(3));
}

#[test]
fn written_objects_are_json() {
    let mut w = ObjectWriter::default();
    w.text("a\"", "x\n");
    w.raw("b", "[1]");
    assert_eq!(w.finish().unwrap(), r#"{"a\"":"x\n","b":[1]}"#);
    assert_eq!(ObjectWriter::default().finish(), None);
}
