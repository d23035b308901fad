//! Display formats of members: the names that models use and what clients get.

use engine::model::DimensionType;
use engine::model::format::named;
use serde_json::{Map, Value, json};

#[cfg(test)]
mod tests;

/// Formats that keep their name on the wire, with the specification that number formatters of clients understand.
const NAMED: &[(&str, Option<&str>)] = &[
    ("number", Some(",.2~f")),
    ("percent", Some(".2~%")),
    ("currency", Some("$,.2~f")),
    ("imageUrl", None),
    ("link", None),
];

/// The wire form of a dimension's `format`.
pub fn of_dimension(format: &Value, kind: DimensionType) -> Value {
    let Some(name) = format.as_str() else {
        return format.clone();
    };
    if let Some(value) = named(name) {
        return json!({"type": "custom-numeric", "value": value, "alias": name});
    }
    let standard = NAMED.iter().any(|(known, _)| *known == name);
    match kind {
        DimensionType::Time if !standard => json!({"type": "custom-time", "value": name}),
        DimensionType::Number if !standard => json!({"type": "custom-numeric", "value": name}),
        _ => format.clone(),
    }
}

/// The wire form of a measure's `format`.
pub fn of_measure(format: &Value) -> Value {
    let Some(name) = format.as_str() else {
        return format.clone();
    };
    match named(name) {
        Some(value) => json!({"type": "custom-numeric", "value": value, "alias": name}),
        None if NAMED.iter().any(|(known, _)| *known == name) => format.clone(),
        None => json!({"type": "custom-numeric", "value": name}),
    }
}

/// `formatDescription` of a numeric member.
pub fn description(format: Option<&Value>, currency: Option<&str>) -> Value {
    let name = format.and_then(Value::as_str).unwrap_or("number");
    let (name, specifier) = match (named(name), NAMED.iter().find(|(known, _)| *known == name)) {
        (Some(value), _) => (name, value),
        (None, Some((name, Some(specifier)))) => (*name, (*specifier).to_owned()),
        (None, Some((_, None))) => ("number", ",.2~f".to_owned()),
        (None, None) => ("custom", name.to_owned()),
    };
    let mut description = Map::new();
    description.insert("name".to_owned(), json!(name));
    description.insert("specifier".to_owned(), json!(specifier));
    if let Some(currency) = currency {
        description.insert("currency".to_owned(), json!(currency));
    }
    Value::Object(description)
}
