//! Display formats of members: the names that models use and what clients get.

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
    ("id", None),
];

/// Families of formats with a number of decimals, as in `percent_1`: name, text before and after the decimals.
const WITH_DECIMALS: &[(&str, &str, &str)] = &[
    ("number", ",.", "f"),
    ("percent", ".", "%"),
    ("currency", "$,.", "f"),
    ("accounting", "(,.", "f"),
    ("abbr", ",.", "s"),
];

/// Decimals when a family is named without a number.
const DECIMALS_DEFAULT: u8 = 2;

/// The wire form of a member's `format`.
pub fn wire(format: &Value, is_time: bool) -> Value {
    let Some(name) = format.as_str() else {
        return format.clone();
    };
    if NAMED.iter().any(|(known, _)| *known == name) {
        return format.clone();
    }
    if is_time {
        return json!({"type": "custom-time", "value": name});
    }
    match with_decimals(name) {
        Some(value) => json!({"type": "custom-numeric", "value": value, "alias": name}),
        None => json!({"type": "custom-numeric", "value": name}),
    }
}

/// `formatDescription` of a numeric member.
pub fn description(format: Option<&Value>, currency: Option<&str>) -> Value {
    let name = format.and_then(Value::as_str).unwrap_or("number");
    let named = NAMED.iter().find(|(known, _)| *known == name);
    let (name, specifier) = match named {
        Some((name, Some(specifier))) => (*name, (*specifier).to_owned()),
        Some((_, None)) => ("number", ",.2~f".to_owned()),
        None => match with_decimals(name) {
            Some(value) => (name.split('_').next().unwrap_or(name), value),
            None => ("custom", name.to_owned()),
        },
    };
    let mut description = Map::new();
    description.insert("name".to_owned(), json!(name));
    description.insert("specifier".to_owned(), json!(specifier));
    if let Some(currency) = currency {
        description.insert("currency".to_owned(), json!(currency));
    }
    Value::Object(description)
}

fn with_decimals(name: &str) -> Option<String> {
    let (family, decimals) = match name.rsplit_once('_') {
        Some((family, digits)) => (family, digits.parse::<u8>().ok().filter(|n| *n <= 9)?),
        None => (name, DECIMALS_DEFAULT),
    };
    let (_, before, after) = WITH_DECIMALS.iter().find(|(known, _, _)| *known == family)?;
    Some(format!("{before}{decimals}{after}"))
}
