//! The shapes of the files: a YAML tree that knows its lines, and the tables of keys.
//!
//! The tree is read whole and checked afterwards by hand, so that one run reports every error. Parsing is bounded by
//! [`serde_saphyr`]'s budget: nesting, nodes and alias replay of a hostile file are limited.

mod keys;

pub(super) use keys::*;

use crate::limits;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use std::fmt;

/// A node of a YAML document with its line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// One-based line.
    pub line: u32,
    /// What stands there.
    pub value: Value,
}

/// The content of a [`Node`].
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Nothing, `null` or `~`.
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(serde_json::Number),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping in the order of the file; a key may occur twice.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping with its line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    /// One-based line.
    pub line: u32,
    /// As written.
    pub text: String,
}

impl Node {
    /// The text of a scalar; `None` for null, an empty text, lists and mappings.
    pub fn text(&self) -> Option<String> {
        match &self.value {
            Value::Text(text) if text.trim().is_empty() => None,
            Value::Text(text) => Some(text.clone()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Number(number) => Some(number.to_string()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The text of the entry `name` of a mapping.
    pub fn named(&self) -> Option<String> {
        match &self.value {
            Value::Map(entries) => entries
                .iter()
                .find(|(key, _)| key.text == "name")
                .and_then(|(_, name)| name.text()),
            _ => None,
        }
    }

    /// Gives every node the line that `lines` has for it. Recursion is bounded by the nesting of the YAML.
    pub fn move_lines(&mut self, lines: &[u32]) {
        self.line = moved(self.line, lines);
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.move_lines(lines)),
            Value::Map(entries) => {
                for (key, value) in entries {
                    key.line = moved(key.line, lines);
                    value.move_lines(lines);
                }
            }
            _ => {}
        }
    }

    /// The node as JSON, keys as written.
    pub fn json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Number(number) => Json::Number(number.clone()),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Node::json).collect()),
            Value::Map(entries) => Json::Object(entries.iter().map(|(k, v)| (k.text.clone(), v.json())).collect()),
        }
    }
}

/// The line that `lines` has for the one-based `line`; the line itself when there is none.
pub(super) fn moved(line: u32, lines: &[u32]) -> u32 {
    let at = usize::try_from(line).ok().and_then(|line| line.checked_sub(1));
    at.and_then(|at| lines.get(at)).copied().unwrap_or(line)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        let line = u32::try_from(spanned.referenced.line()).unwrap_or(u32::MAX);
        Ok(Node {
            line,
            value: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        let number = serde_json::Number::from_f64(value);
        Ok(number.map_or_else(|| Value::Text(value.to_string()), Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Node>()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let value = entries.next_value::<Node>()?;
            let line = u32::try_from(key.referenced.line()).unwrap_or(u32::MAX);
            let key = Key { line, text: key.value };
            map.push((key, value));
        }
        Ok(Value::Map(map))
    }
}

/// Reads one YAML document.
///
/// # Errors
/// The line and what is wrong there.
pub(super) fn parse(text: &str) -> Result<Node, (u32, String)> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: limits::MODEL_YAML_DEPTH_MAX,
            flow_nesting_limit: limits::MODEL_YAML_DEPTH_MAX,
            max_nodes: limits::MODEL_YAML_NODES_MAX,
            max_events: limits::MODEL_YAML_NODES_MAX * 3,
            max_documents: 2,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: limits::MODEL_YAML_NODES_MAX,
        },
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::PassThrough,
        // As YAML 1.2 and Cube: a measure may be called `n` or `on`.
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Node>(text, options).map_err(|error| {
        let line = error.location().map_or(1, |location| location.line());
        let message = error.without_snippet().to_string();
        let first = message.lines().next().unwrap_or("is no YAML").to_owned();
        (u32::try_from(line).unwrap_or(u32::MAX), first)
    })
}

/// `sqlTable` and `sql_table` as `sql_table`: Cube takes both.
pub(super) fn snake_case(key: &str) -> String {
    let mut snake = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// `sql_table` as `sqlTable`, as Cube's messages write keys.
pub(super) fn camel_case(key: &str) -> String {
    let mut camel = String::with_capacity(key.len());
    let mut upper = false;
    for c in key.chars() {
        if c == '_' {
            upper = true;
        } else if upper {
            camel.push(c.to_ascii_uppercase());
            upper = false;
        } else {
            camel.push(c);
        }
    }
    camel
}

#[cfg(test)]
mod tests;
