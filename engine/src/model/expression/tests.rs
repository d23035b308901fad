use super::*;
use serde_json::json;

fn value(text: &str) -> Value {
    let context =
        json!({"a": {"b": "x", "n": 5, "list": ["x", "y"]}, "yes": true, "no": false, "empty": "", "zero": 0});
    Expression::parse(text)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .value(&context)
}

#[test]
fn expressions_have_the_values_that_python_and_javascript_give_them() {
    let cases = [
        ("securityContext.a.b", json!("x")),
        ("{ securityContext.a.b }", json!("x")),
        ("SECURITY_CONTEXT['a'].n", json!(5)),
        ("securityContext.a.none.deeper", Value::Null),
        ("securityContext.a.b == 'x'", json!(true)),
        ("securityContext.a.b === \"y\"", json!(false)),
        ("securityContext.a.b != 'y' and securityContext.yes", json!(true)),
        ("securityContext.no || securityContext.a.n >= 5", json!(true)),
        ("not securityContext.no && !securityContext.yes", json!(false)),
        ("not not securityContext.a.b", json!(true)),
        ("not securityContext.a.b == 'x'", json!(false)),
        ("securityContext.a.n == 5.0", json!(true)),
        ("securityContext.a.n < '6'", json!(false)),
        ("securityContext.a.n == '5'", json!(false)),
        ("'x' in securityContext.a.list", json!(true)),
        ("'z' not in securityContext.a.list", json!(true)),
        ("'z' not in securityContext.missing", json!(false)),
        ("securityContext.a.list.includes('y')", json!(true)),
        ("securityContext.a.b in ['x', 'z']", json!(true)),
        ("securityContext.missing is None", json!(true)),
        ("securityContext.a is not None", json!(true)),
        (
            "(securityContext.yes or securityContext.no) and securityContext.no",
            json!(false),
        ),
        ("securityContext.empty or securityContext.zero", json!(0)),
        ("true", json!(true)),
        ("groups", Value::Null),
        ("-3 < 2", json!(true)),
    ];
    for (text, expected) in cases {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn texts_hold_expressions() {
    let context = json!({"country": "DE", "list": ["a", "b"]});
    let value = |text: &str| Expression::parse_text(text).unwrap().value(&context);
    assert_eq!(value("plain"), json!("plain"));
    assert_eq!(value("{ securityContext.country }"), json!("DE"));
    assert_eq!(value("{securityContext.list}"), json!(["a", "b"]));
    assert_eq!(value("c-{securityContext.country}!"), json!("c-DE!"));
    assert_eq!(value("c-{securityContext.nothing}!"), Value::Null);
    assert_eq!(value(""), json!(""));
}

#[test]
fn what_is_no_expression_is_refused() {
    let deep = format!("{}1{}", "(".repeat(100), ")".repeat(100));
    let long = vec!["securityContext.a"; 100].join(" and ");
    for text in [
        "",
        "{",
        "country == 'x'",
        "securityContext.a ==",
        "securityContext.",
        "securityContext.a b",
        "'open",
        "1 + 2",
        "__import__('os')",
        "securityContext.a.toString()",
        &deep,
        &long,
    ] {
        assert!(Expression::parse(text).is_err(), "{text}");
    }
    assert!(Expression::parse_text("a {securityContext.b").is_err());
}

#[test]
fn only_true_and_false_are_conditions() {
    let holds = |text: &str| Expression::parse(text).unwrap().holds(&json!({"a": "x", "t": true}));
    assert_eq!(holds("securityContext.t"), Ok(true));
    assert_eq!(holds("securityContext.missing"), Ok(false));
    assert_eq!(
        holds("securityContext.a"),
        Err("Access policy condition must return boolean, got \"x\"".to_owned())
    );
}
