use super::*;
use serde_json::json;

fn text_of(message: Value) -> String {
    parse(&message.to_string()).map_or_else(|defect| defect.text, |message| format!("{message:?}"))
}

#[test]
fn what_clients_send_is_read() {
    assert_eq!(
        parse(r#"{"authorization":"t"}"#),
        Ok(Message::Authorization("t".to_owned()))
    );
    assert_eq!(
        parse(r#"{"unsubscribe":"7"}"#),
        Ok(Message::Unsubscribe(MessageId(json!("7"))))
    );
    let call = json!({"messageId": 3, "requestId": "r", "method": "load",
        "params": {"query": {"measures": ["A.b"]}, "queryType": "multi", "cache": "no-cache"}});
    let Ok(Message::Call { id, method, params }) = parse(&call.to_string()) else {
        panic!("{}", text_of(call));
    };
    assert_eq!((id.key().as_str(), method, params.len()), ("3", Method::Load, 3));
    for method in ["meta", "unsubscribe"] {
        assert!(parse(&json!({"messageId": "1", "method": method}).to_string()).is_ok());
    }
    assert!(parse(&json!({"messageId": "1", "method": "meta", "params": {"onlyViews": true}}).to_string()).is_ok());
}

#[test]
fn what_is_no_message_is_told() {
    let cases = [
        (json!({}), "method: Invalid input"),
        (json!({"method": "drop", "messageId": 1}), "method: Invalid input"),
        (json!([]), "Invalid input: expected object"),
        (
            json!({"authorization": 1}),
            "authorization: Invalid input: expected string, received number",
        ),
        (json!({"authorization": "t", "x": 1}), "Unrecognized key: \"x\""),
        (json!({"unsubscribe": null}), "unsubscribe: Invalid input"),
        (
            json!({"unsubscribe": "12345678901234567"}),
            "unsubscribe: Invalid input",
        ),
        (
            json!({"method": "load", "messageId": 1.5, "params": {"query": {}}}),
            "messageId: Invalid input",
        ),
        (
            json!({"method": "load", "messageId": 1}),
            "params: Invalid input: expected object, received undefined",
        ),
        (
            json!({"method": "sql", "messageId": 1, "params": {"query": {}, "queryType": "multi", "b": 1}}),
            "params: Unrecognized keys: \"queryType\", \"b\"",
        ),
        (
            json!({"method": "load", "messageId": 1, "params": {"query": {}, "cache": 5}, "y": 0}),
            "params.cache: Invalid input: expected string, received number, Unrecognized key: \"y\"",
        ),
        (
            json!({"method": "meta", "messageId": 1, "requestId": "r".repeat(65)}),
            "requestId: Too big: expected string to have <=64 characters",
        ),
    ];
    for (message, text) in cases {
        assert_eq!(text_of(message.clone()), text, "{message}");
    }
    let defect = parse("{\"messageId\": ").unwrap_err();
    assert_eq!(defect.id, None);
    assert!(defect.text.contains("JSON"), "{}", defect.text);
    let defect = parse(r#"{"messageId":"9","method":"load","params":1}"#).unwrap_err();
    assert_eq!(defect.id, Some(json!("9")));
}
