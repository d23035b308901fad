use super::*;

/// Texts printed by `JSON.parse` of Node 20.
const DEFECTS: &[(&str, &str)] = &[
    ("{", "Expected property name or '}' in JSON at position 1"),
    ("{\"a\"", "Expected ':' after property name in JSON at position 4"),
    ("{\"a\":", "Unexpected end of JSON input"),
    (
        "{\"a\":1",
        "Expected ',' or '}' after property value in JSON at position 6",
    ),
    (
        "{\"a\":1,",
        "Expected double-quoted property name in JSON at position 7",
    ),
    ("[", "Unexpected end of JSON input"),
    ("[1", "Expected ',' or ']' after array element in JSON at position 2"),
    ("", "Unexpected end of JSON input"),
    ("nope", "Unexpected token 'o', \"nope\" is not valid JSON"),
    (
        "{\"a\":1}x",
        "Unexpected non-whitespace character after JSON at position 7",
    ),
    ("\"ab", "Unterminated string in JSON at position 3"),
    ("-", "No number after minus sign in JSON at position 1"),
    ("01", "Unexpected number in JSON at position 1"),
    ("1.", "Unterminated fractional number in JSON at position 2"),
    ("1e", "Exponent part is missing a number in JSON at position 2"),
    ("[\"a\\q\"]", "Bad escaped character in JSON at position 4"),
    ("{\"a\":NaN}", "Unexpected token 'N', \"{\"a\":NaN}\" is not valid JSON"),
    (
        "[undefined,1,2,3,4,5,6,7,8,9,10,11]",
        "Unexpected token 'u', \"[undefined,\"... is not valid JSON",
    ),
    (
        "{\"measures\":[\"T.c\"],\"x\":1,\"limit\":NaN,\"y\":22222222222222222}",
        "Unexpected token 'N', ...\"1,\"limit\":NaN,\"y\":22\"... is not valid JSON",
    ),
];

#[test]
fn defects_are_worded_as_javascript_words_them() {
    for (text, message) in DEFECTS {
        assert_eq!(parse(text).unwrap_err(), *message, "{text}");
    }
}

#[test]
fn deep_nesting_is_refused_without_recursion() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(parse(&deep).unwrap_err().contains("nested deeper"));
}

#[test]
fn valid_json_is_parsed_in_order() {
    assert_eq!(
        parse(" {\"b\": [1, null], \"a\": \"é\"} ").unwrap().to_string(),
        "{\"b\":[1,null],\"a\":\"é\"}"
    );
}
