//! What clients of the WebSocket send: three kinds of strict messages, and the texts for those that are none.
//!
//! The forms and the texts are those of Cube 1.7, whose schemas are checked by zod: a path, a colon and the reason.

use super::super::json_text;
use serde_json::{Map, Value};

/// Characters of a message's id at the most.
const ID_CHARS_MAX: usize = 16;
/// Characters of a request's id at the most.
const REQUEST_ID_CHARS_MAX: usize = 64;

/// What a method does, and the parameters it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Answer once.
    Load,
    /// The SQL of a query.
    Sql,
    /// The query in normal form.
    DryRun,
    /// The cubes.
    Meta,
    /// Answer, and again when the data changes.
    Subscribe,
    /// No more answers.
    Unsubscribe,
}

/// Name, meaning, parameters, and whether they must be there.
const METHODS: &[(&str, Method, &[&str], bool)] = &[
    ("load", Method::Load, &["query", "queryType", "cache"], true),
    ("sql", Method::Sql, &["query"], true),
    ("dry-run", Method::DryRun, &["query"], true),
    ("meta", Method::Meta, &["onlyViews"], false),
    ("subscribe", Method::Subscribe, &["query", "queryType", "cache"], true),
    ("unsubscribe", Method::Unsubscribe, &[], false),
];

/// A message's id as the client wrote it: text or a whole number. It goes back in the same form.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageId(Value);

impl MessageId {
    /// The id as JSON.
    pub fn json(&self) -> &Value {
        &self.0
    }

    /// What subscriptions are known by: `1` and `"1"` are the same.
    pub fn key(&self) -> String {
        match &self.0 {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

/// A message that is well formed.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The token; the first message.
    Authorization(String),
    /// No more answers to this message.
    Unsubscribe(MessageId),
    /// A call.
    Call {
        /// Its id.
        id: MessageId,
        /// What to do.
        method: Method,
        /// With what.
        params: Map<String, Value>,
    },
}

/// Why a frame is no message.
#[derive(Debug, Clone, PartialEq)]
pub struct Defect {
    /// The id, if it could be read.
    pub id: Option<Value>,
    /// The text.
    pub text: String,
}

/// Reads a text frame.
///
/// # Errors
/// The first defects, worded as Cube words them.
pub fn parse(text: &str) -> Result<Message, Defect> {
    let without_id = |text: String| Defect { id: None, text };
    let value = json_text::parse(text).map_err(without_id)?;
    let Value::Object(fields) = value else {
        return Err(without_id("Invalid input: expected object".to_owned()));
    };
    let id = fields.get("messageId").cloned();
    let defect = |issues: Vec<String>| Defect {
        id,
        text: issues.join(", "),
    };
    let mut issues = Vec::new();
    let message = if fields.contains_key("authorization") {
        authorization(&fields, &mut issues)
    } else if fields.contains_key("unsubscribe") {
        unsubscribe(&fields, &mut issues)
    } else {
        call(&fields, &mut issues)
    };
    match message {
        Some(message) if issues.is_empty() => Ok(message),
        _ => Err(defect(issues)),
    }
}

fn authorization(fields: &Map<String, Value>, issues: &mut Vec<String>) -> Option<Message> {
    let token = text(fields, "authorization", "authorization", issues);
    unknown_keys(fields, &["authorization"], "", issues);
    token.map(Message::Authorization)
}

fn unsubscribe(fields: &Map<String, Value>, issues: &mut Vec<String>) -> Option<Message> {
    let id = id(fields, "unsubscribe", issues);
    unknown_keys(fields, &["unsubscribe"], "", issues);
    id.map(Message::Unsubscribe)
}

fn call(fields: &Map<String, Value>, issues: &mut Vec<String>) -> Option<Message> {
    let name = fields.get("method").and_then(Value::as_str);
    let Some((_, method, allowed, required)) = METHODS.iter().find(|(known, ..)| Some(*known) == name) else {
        issues.push("method: Invalid input".to_owned());
        return None;
    };
    let id = id(fields, "messageId", issues);
    if fields.contains_key("requestId")
        && let Some(request) = text(fields, "requestId", "requestId", issues)
        && request.chars().count() > REQUEST_ID_CHARS_MAX
    {
        issues.push(format!(
            "requestId: Too big: expected string to have <={REQUEST_ID_CHARS_MAX} characters"
        ));
    }
    let params = match fields.get("params") {
        Some(Value::Object(params)) => {
            check_params(params, allowed, issues);
            params.clone()
        }
        None if !required => Map::new(),
        other => {
            let received = other.map_or("undefined", kind);
            issues.push(format!("params: Invalid input: expected object, received {received}"));
            Map::new()
        }
    };
    unknown_keys(fields, &["method", "messageId", "requestId", "params"], "", issues);
    Some(Message::Call {
        id: id?,
        method: *method,
        params,
    })
}

fn check_params(params: &Map<String, Value>, allowed: &[&str], issues: &mut Vec<String>) {
    for key in ["queryType", "cache"] {
        if allowed.contains(&key) && params.contains_key(key) {
            text(params, key, &format!("params.{key}"), issues);
        }
    }
    if let Some(only_views) = params.get("onlyViews")
        && allowed.contains(&"onlyViews")
        && !only_views.is_boolean()
    {
        issues.push(format!(
            "params.onlyViews: Invalid input: expected boolean, received {}",
            kind(only_views)
        ));
    }
    unknown_keys(params, allowed, "params", issues);
}

fn text(fields: &Map<String, Value>, key: &str, path: &str, issues: &mut Vec<String>) -> Option<String> {
    match fields.get(key) {
        Some(Value::String(text)) => Some(text.clone()),
        other => {
            let received = other.map_or("undefined", kind);
            issues.push(format!("{path}: Invalid input: expected string, received {received}"));
            None
        }
    }
}

fn id(fields: &Map<String, Value>, key: &str, issues: &mut Vec<String>) -> Option<MessageId> {
    let value = fields.get(key);
    let fits = match value {
        Some(Value::String(text)) => text.chars().count() <= ID_CHARS_MAX,
        Some(Value::Number(number)) => number.is_i64() || number.is_u64(),
        _ => false,
    };
    if !fits {
        issues.push(format!("{key}: Invalid input"));
        return None;
    }
    value.cloned().map(MessageId)
}

fn unknown_keys(fields: &Map<String, Value>, known: &[&str], path: &str, issues: &mut Vec<String>) {
    let unknown: Vec<String> = fields
        .keys()
        .filter(|key| !known.contains(&key.as_str()))
        // A client's own words go back to it; there is no need to send back many.
        .take(10)
        .map(|key| format!("\"{}\"", key.chars().take(64).collect::<String>()))
        .collect();
    if unknown.is_empty() {
        return;
    }
    let colon = if path.is_empty() { "" } else { ": " };
    let plural = if unknown.len() > 1 { "s" } else { "" };
    issues.push(format!("{path}{colon}Unrecognized key{plural}: {}", unknown.join(", ")));
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests;
