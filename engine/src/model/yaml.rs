//! The shapes of the files: a YAML tree that knows its lines, and the tables of keys.
//!
//! The tree is read whole and checked afterwards by hand, so that one run reports every error. Parsing is bounded by
//! [`serde_saphyr`]'s budget: nesting, nodes and alias replay of a hostile file are limited.

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

/// What is done with a key that Cube knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It has its meaning.
    Answered,
    /// It is accepted; it has nothing to do here or answers are right without it.
    Accepted,
    /// It is accepted with a warning that it is not answered yet; answers that do not ask for it are right.
    Noted,
    /// Answers would be wrong without it, so the member (or the cube's every member) says that it is not answered yet.
    Unanswered,
}

/// The keys of one kind of object, in snake case.
pub(super) struct Keys {
    /// What the object is called in messages.
    pub object: &'static str,
    /// The keys with their use.
    pub keys: &'static [(&'static str, Use)],
}

impl Keys {
    /// The use of a key, in either spelling.
    pub fn find(&self, key: &str) -> Option<(&'static str, Use)> {
        let snake = snake_case(key);
        self.keys.iter().find(|(name, _)| *name == snake).copied()
    }

    /// The known key that is nearest to a misspelled one.
    pub fn nearest(&self, key: &str) -> Option<&'static str> {
        let snake = snake_case(key);
        let snake = snake.trim_matches('_');
        // No key is as long as that; comparing a hostile one with all of them would take its time.
        if snake.chars().count() > 40 {
            return None;
        }
        let near = self
            .keys
            .iter()
            .map(|(name, _)| (strsim::levenshtein(name, snake), *name));
        near.filter(|(far, name)| *far <= 2 && *far < name.len())
            .min()
            .map(|(_, name)| name)
    }
}

use Use::{Accepted, Answered, Noted, Unanswered};

/// Keys of a file of cubes and views.
pub(super) const FILE_KEYS: Keys = Keys {
    object: "file",
    keys: &[
        ("cubes", Answered),
        ("views", Answered),
        ("view_groups", Answered),
        ("funnels", Answered),
    ],
};

/// Keys of a cube.
pub(super) const CUBE_KEYS: Keys = Keys {
    object: "cube",
    keys: &[
        ("name", Answered),
        ("sql", Answered),
        ("sql_table", Answered),
        ("extends", Answered),
        ("aliases", Answered),
        ("title", Answered),
        ("description", Answered),
        ("public", Answered),
        ("shown", Answered),
        ("meta", Answered),
        ("measures", Answered),
        ("dimensions", Answered),
        ("segments", Answered),
        ("joins", Noted),
        ("sql_alias", Accepted),
        ("data_source", Accepted),
        ("refresh_key", Accepted),
        ("pre_aggregations", Noted),
        ("hierarchies", Answered),
        ("rewrite_queries", Accepted),
        ("access_policy", Answered),
        ("calendar", Unanswered),
    ],
};

/// Keys of a measure.
pub(super) const MEASURE_KEYS: Keys = Keys {
    object: "measure",
    keys: &[
        ("name", Answered),
        ("type", Answered),
        ("sql", Answered),
        ("filters", Answered),
        ("title", Answered),
        ("description", Answered),
        ("public", Answered),
        ("shown", Answered),
        ("meta", Answered),
        ("format", Answered),
        ("currency", Answered),
        ("drill_members", Answered),
        ("drill_filters", Accepted),
        ("mask", Answered),
        ("aliases", Accepted),
        ("rolling_window", Answered),
        ("multi_stage", Answered),
        ("group_by", Answered),
        ("reduce_by", Answered),
        ("add_group_by", Answered),
        ("time_shift", Answered),
        ("order_by", Answered),
        ("filter", Answered),
        ("grain", Answered),
        ("case", Unanswered),
    ],
};

/// Keys of a dimension.
pub(super) const DIMENSION_KEYS: Keys = Keys {
    object: "dimension",
    keys: &[
        ("name", Answered),
        ("type", Answered),
        ("sql", Answered),
        ("case", Answered),
        ("latitude", Answered),
        ("longitude", Answered),
        ("title", Answered),
        ("description", Answered),
        ("public", Answered),
        ("shown", Answered),
        ("meta", Answered),
        ("format", Answered),
        ("currency", Answered),
        ("primary_key", Answered),
        ("suggest_filter_values", Answered),
        ("granularities", Answered),
        ("sub_query", Answered),
        ("propagate_filters_to_sub_query", Answered),
        ("values_as_segments", Noted),
        ("mask", Answered),
        ("order", Accepted),
        ("key", Accepted),
        ("links", Accepted),
        ("aliases", Accepted),
        ("multi_stage", Unanswered),
        ("time_shift", Unanswered),
        ("values", Unanswered),
    ],
};

/// Keys of a segment.
pub(super) const SEGMENT_KEYS: Keys = Keys {
    object: "segment",
    keys: &[
        ("name", Answered),
        ("sql", Answered),
        ("title", Answered),
        ("description", Answered),
        ("public", Answered),
        ("shown", Answered),
        ("meta", Answered),
        ("aliases", Accepted),
    ],
};

/// Keys of a join.
pub(super) const JOIN_KEYS: Keys = Keys {
    object: "join",
    keys: &[("name", Answered), ("sql", Answered), ("relationship", Answered)],
};

/// Keys of a custom granularity.
pub(super) const GRANULARITY_KEYS: Keys = Keys {
    object: "granularity",
    keys: &[
        ("name", Answered),
        ("title", Answered),
        ("interval", Answered),
        ("origin", Answered),
        ("offset", Answered),
        ("sql", Unanswered),
    ],
};

/// Keys of a view.
pub(super) const VIEW_KEYS: Keys = Keys {
    object: "view",
    keys: &[
        ("name", Answered),
        ("title", Answered),
        ("description", Answered),
        ("public", Answered),
        ("shown", Answered),
        ("meta", Answered),
        ("extends", Answered),
        ("cubes", Answered),
        ("measures", Answered),
        ("dimensions", Answered),
        ("segments", Answered),
        ("folders", Answered),
        ("default_filters", Answered),
        ("access_policy", Answered),
        ("view_group", Answered),
        ("view_groups", Answered),
    ],
};

/// Keys of an element of a view's `cubes`.
pub(super) const VIEW_CUBE_KEYS: Keys = Keys {
    object: "cubes",
    keys: &[
        ("join_path", Answered),
        ("includes", Answered),
        ("excludes", Answered),
        ("prefix", Answered),
        ("alias", Answered),
        ("split", Answered),
    ],
};

/// Keys of an element of a view's `includes`.
pub(super) const INCLUDED_MEMBER_KEYS: Keys = Keys {
    object: "includes",
    keys: &[
        ("name", Answered),
        ("alias", Answered),
        ("title", Answered),
        ("description", Answered),
        ("format", Answered),
        ("currency", Answered),
        ("meta", Answered),
    ],
};

/// Keys of a folder.
pub(super) const FOLDER_KEYS: Keys = Keys {
    object: "folder",
    keys: &[("name", Answered), ("includes", Answered)],
};

/// Keys of a condition that holds by default.
pub(super) const DEFAULT_FILTER_KEYS: Keys = Keys {
    object: "default_filters",
    keys: &[
        ("member", Answered),
        ("operator", Answered),
        ("values", Answered),
        ("unless", Answered),
    ],
};

/// Keys of a view group.
pub(super) const VIEW_GROUP_KEYS: Keys = Keys {
    object: "view group",
    keys: &[
        ("name", Answered),
        ("title", Answered),
        ("description", Answered),
        ("views", Answered),
        ("includes", Answered),
    ],
};

/// Keys of a hierarchy.
pub(super) const HIERARCHY_KEYS: Keys = Keys {
    object: "hierarchy",
    keys: &[
        ("name", Answered),
        ("title", Answered),
        ("public", Answered),
        ("levels", Answered),
    ],
};

/// Keys of an access policy.
pub(super) const POLICY_KEYS: Keys = Keys {
    object: "accessPolicy",
    keys: &[
        ("group", Answered),
        ("groups", Answered),
        ("role", Answered),
        ("conditions", Answered),
        ("member_level", Answered),
        ("member_masking", Answered),
        ("row_level", Answered),
    ],
};

/// Keys of a condition of an access policy.
pub(super) const POLICY_CONDITION_KEYS: Keys = Keys {
    object: "condition",
    keys: &[("if", Answered)],
};

/// Keys of `member_level` and `member_masking`.
pub(super) const MEMBER_RULE_KEYS: Keys = Keys {
    object: "memberLevel",
    keys: &[("includes", Answered), ("excludes", Answered)],
};

/// Keys of `row_level`.
pub(super) const ROW_LEVEL_KEYS: Keys = Keys {
    object: "rowLevel",
    keys: &[("filters", Answered), ("allow_all", Answered)],
};

/// Keys of a filter of `row_level`.
pub(super) const POLICY_FILTER_KEYS: Keys = Keys {
    object: "filter",
    keys: &[
        ("member", Answered),
        ("operator", Answered),
        ("values", Answered),
        ("and", Answered),
        ("or", Answered),
    ],
};

/// Keys of a funnel.
pub(super) const FUNNEL_KEYS: Keys = Keys {
    object: "funnel",
    keys: &[
        ("name", Answered),
        ("seconds_to_convert", Answered),
        ("steps", Answered),
        ("rule", Answered),
    ],
};

/// Keys of a funnel's step.
pub(super) const STEP_KEYS: Keys = Keys {
    object: "step",
    keys: &[("name", Answered), ("target", Answered), ("action", Answered)],
};

#[cfg(test)]
mod tests;
