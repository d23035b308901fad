//! JSON in text. A path is keys and 1-based indexes (from the end when negative; of an object, the nth value); what is not
//! there, of another type, or no JSON at all gives the type's empty value.
//!
//! Nothing but the path is built: other values are skipped while they are read.

mod simple;

pub use simple::*;

use super::scalar::{Args, Given, Ints, Text, wrong};
use super::strings::lists;
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};
use datafusion::common::Result as PlanResult;
use serde::Deserializer;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// One step of a path.
enum Step {
    Key(Text),
    Index(Ints),
}

/// The steps that arguments `from` to `to` spell.
fn path(args: &Args<'_>, from: usize, to: usize) -> PlanResult<Vec<Step>> {
    (from..to)
        .map(|at| match args.text(at) {
            Ok(text) => Ok(Step::Key(text)),
            Err(_) => Ok(Step::Index(args.int(at)?)),
        })
        .collect()
}

/// What is at the end of a path.
fn find<'j>(json: &'j str, path: &[Step], row: usize) -> Option<&'j RawValue> {
    let mut at: &RawValue = serde_json::from_str(json).ok()?;
    for step in path {
        let mut reader = serde_json::Deserializer::from_str(at.get());
        at = match step {
            Step::Key(key) => reader.deserialize_any(Child::Key(key.get(row))),
            Step::Index(index) => match index.get(row) {
                0 => return Some(at),
                index => {
                    let wanted = match usize::try_from(index) {
                        Ok(index) => index - 1,
                        Err(_) => children(at)?
                            .len()
                            .checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?,
                    };
                    reader.deserialize_any(Child::Index(wanted))
                }
            },
        }
        .ok()??;
    }
    Some(at)
}

/// Finds one child of an array or object.
enum Child<'k> {
    Key(&'k str),
    Index(usize),
}

impl<'de> Visitor<'de> for Child<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an array or object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let mut at = 0;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let wanted = match self {
                Self::Key(wanted) => key == wanted,
                Self::Index(wanted) => at == wanted,
            };
            at += 1;
            if wanted && found.is_none() {
                found = Some(map.next_value::<&'de RawValue>()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let mut at = 0;
        while let Some(value) = all.next_element::<&'de RawValue>()? {
            if matches!(self, Self::Index(wanted) if at == wanted) {
                found = Some(value);
            }
            at += 1;
        }
        Ok(found)
    }
}

/// The children of an array or object, with the keys of an object's.
fn children(value: &RawValue) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    struct All;
    impl<'de> Visitor<'de> for All {
        type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("an array or object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(pair) = map.next_entry()? {
                all.push(pair);
            }
            Ok(all)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(value) = seq.next_element()? {
                all.push((Cow::Borrowed(""), value));
            }
            Ok(all)
        }
    }
    serde_json::Deserializer::from_str(value.get())
        .deserialize_any(All)
        .ok()
}

/// A text's characters; none when the value is no text.
fn text_of(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// A value written anew: without spaces, its numbers and texts in their shortest forms.
fn rewritten(value: &RawValue) -> String {
    let mut out = String::with_capacity(value.get().len());
    write(value, &mut out);
    out
}

/// Values nest at most as deep as the reader lets them.
fn write(value: &RawValue, out: &mut String) {
    match kind(value) {
        found @ ("Array" | "Object") => {
            let (open, close) = if found == "Array" { ('[', ']') } else { ('{', '}') };
            out.push(open);
            for (at, (key, child)) in children(value).unwrap_or_default().into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                if found == "Object" {
                    out.push_str(&Value::from(key.as_ref()).to_string());
                    out.push(':');
                }
                write(child, out);
            }
            out.push(close);
        }
        "String" => out.push_str(&Value::from(text_of(value).unwrap_or_default()).to_string()),
        "Double" => super::convert::write_float(out, value.get().parse().unwrap_or_default(), None),
        _ => out.push_str(value.get()),
    }
}

fn kind(value: &RawValue) -> &'static str {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'{') => "Object",
        Some(b'[') => "Array",
        Some(b'"') => "String",
        Some(b't' | b'f') => "Bool",
        Some(b'n') => "Null",
        _ if text.parse::<i64>().is_ok() => "Int64",
        _ if text.parse::<u64>().is_ok() => "UInt64",
        _ => "Double",
    }
}

fn int_of(value: &RawValue) -> Option<i64> {
    match kind(value) {
        "Int64" => value.get().parse().ok(),
        "Double" => whole(value.get()).and_then(|number| i64::try_from(number).ok()),
        "String" => text_of(value)?.parse().ok(),
        _ => None,
    }
}

fn uint_of(value: &RawValue) -> Option<u64> {
    match kind(value) {
        "Int64" | "UInt64" => value.get().parse().ok(),
        "Double" => whole(value.get()).and_then(|number| u64::try_from(number).ok()),
        "String" => text_of(value)?.parse().ok(),
        _ => None,
    }
}

/// A condition, or a whole number that is not 0.
fn bool_of(value: &RawValue) -> Option<bool> {
    match kind(value) {
        "Bool" => Some(value.get() == "true"),
        "Int64" | "UInt64" => Some(value.get().bytes().any(|digit| matches!(digit, b'1'..=b'9'))),
        _ => None,
    }
}

/// A float that is a whole number.
fn whole(text: &str) -> Option<i128> {
    let number: f64 = text.parse().ok()?;
    (number.fract() == 0.0 && number.is_finite()).then_some(number as i128)
}

fn float_of(value: &RawValue) -> Option<f64> {
    match kind(value) {
        "Int64" | "UInt64" | "Double" => value.get().parse().ok(),
        "String" => text_of(value)?.parse().ok(),
        _ => None,
    }
}

macro_rules! extracted {
    ($($(#[$doc:meta])* $name:ident numbers $kind:ty, $of:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name(args: &Args<'_>) -> PlanResult<ArrayRef> {
            let (json, path) = (args.text(0)?, path(args, 1, args.len())?);
            args.numbers::<$kind>(|row| Ok(Some(find(json.get(row), &path, row).and_then($of).unwrap_or_default())))
        }
    )*};
}

extracted! {
    /// `JSONExtractInt`.
    extract_int numbers Int64Type, int_of;
    /// `JSONExtractUInt`.
    extract_uint numbers UInt64Type, uint_of;
    /// `JSONExtractFloat`.
    extract_float numbers Float64Type, float_of;
    /// `JSONLength`.
    length_of numbers UInt64Type, |value| children(value).map(|all| all.len() as u64);
}

/// `JSONExtractBool`.
pub fn extract_bool(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (json, path) = (args.text(0)?, path(args, 1, args.len())?);
    args.booleans(|row| {
        let found = find(json.get(row), &path, row);
        Ok(found.and_then(bool_of).unwrap_or_default())
    })
}

/// `JSONHas`.
pub fn has(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (json, path) = (args.text(0)?, path(args, 1, args.len())?);
    args.booleans(|row| Ok(find(json.get(row), &path, row).is_some()))
}

/// `isValidJSON`.
pub fn is_valid(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let json = args.text(0)?;
    args.booleans(|row| Ok(find(json.get(row), &[], row).is_some()))
}

/// `JSONType`.
pub fn type_of(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (json, path) = (args.text(0)?, path(args, 1, args.len())?);
    args.texts(|row, out| {
        out.push_str(find(json.get(row), &path, row).map_or("Null", kind));
        Ok(())
    })
}

/// `JSONExtractString`.
pub fn extract_string(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (json, path) = (args.text(0)?, path(args, 1, args.len())?);
    args.texts(|row, out| {
        if let Some(value) = find(json.get(row), &path, row) {
            out.push_str(&shown(value));
        }
        Ok(())
    })
}

/// A value as text: a text's characters, anything else as it is written; NULL is nothing.
fn shown(value: &RawValue) -> String {
    match kind(value) {
        "String" => text_of(value).unwrap_or_default(),
        "Null" => String::new(),
        _ => rewritten(value),
    }
}

/// `JSONExtractRaw`.
pub fn extract_raw(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (json, path) = (args.text(0)?, path(args, 1, args.len())?);
    args.texts(|row, out| {
        if let Some(value) = find(json.get(row), &path, row) {
            out.push_str(&rewritten(value));
        }
        Ok(())
    })
}

/// `JSONExtractArrayRaw`.
pub fn extract_array(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (json, path) = (args.text(0)?, path(args, 1, args.len())?);
    lists(args, |row, list| {
        let found = find(json.get(row), &path, row).filter(|value| kind(value) == "Array");
        for (_, value) in found.and_then(children).unwrap_or_default() {
            list.append_value(rewritten(value));
        }
        Ok(())
    })
}

/// `JSONExtractKeys`.
pub fn extract_keys(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (json, path) = (args.text(0)?, path(args, 1, args.len())?);
    lists(args, |row, list| {
        let found = find(json.get(row), &path, row).filter(|value| kind(value) == "Object");
        for (key, _) in found.and_then(children).unwrap_or_default() {
            list.append_value(key);
        }
        Ok(())
    })
}

/// The types that `JSONExtract(json, …, 'Type')` answers.
#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    Text,
    Int,
    UInt,
    Float,
    Bool,
    Texts,
    Nullable(Box<Wanted>),
}

impl Wanted {
    fn named(name: &str) -> Option<Self> {
        let inside = |prefix: &str| name.strip_prefix(prefix)?.strip_suffix(')');
        if let Some(inner) = inside("Nullable(") {
            return Some(Self::Nullable(Box::new(Self::named(inner)?)));
        }
        if let Some(inner) = inside("LowCardinality(") {
            return Self::named(inner);
        }
        Some(match name {
            "String" => Self::Text,
            "Int8" | "Int16" | "Int32" | "Int64" => Self::Int,
            "UInt8" | "UInt16" | "UInt32" | "UInt64" => Self::UInt,
            "Float32" | "Float64" => Self::Float,
            "Bool" => Self::Bool,
            "Array(String)" => Self::Texts,
            _ => return None,
        })
    }
}

fn wanted(name: &str) -> PlanResult<Wanted> {
    Wanted::named(name).ok_or_else(|| {
        wrong(format!(
            "type `{name}` is not answered: String, Int8…Int64, UInt8…UInt64, Float32, Float64, Bool, Array(String) and \
             Nullable of them are"
        ))
    })
}

/// The type that the last argument names.
pub fn named_type(given: &Given<'_>) -> PlanResult<DataType> {
    let name = given.text(given.types.len().saturating_sub(1));
    let mut found = wanted(name.ok_or_else(|| wrong("the last argument must be a type's name"))?)?;
    if let Wanted::Nullable(inner) = found {
        found = *inner;
    }
    Ok(match found {
        Wanted::Text => DataType::Utf8View,
        Wanted::Int => DataType::Int64,
        Wanted::UInt => DataType::UInt64,
        Wanted::Float => DataType::Float64,
        Wanted::Bool => DataType::Boolean,
        _ => return super::scalar::texts(given),
    })
}

/// `JSONExtract(json, path…, 'Type')`.
pub fn extract(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let last = args.len() - 1;
    let (nullable, wanted) = match wanted(&args.constant_text(last)?)? {
        Wanted::Nullable(inner) => (true, *inner),
        plain => (false, plain),
    };
    let (json, path) = (args.text(0)?, path(args, 1, last)?);
    let found = |row: usize| find(json.get(row), &path, row);
    let or_none = |present: bool| present || !nullable;
    match wanted {
        Wanted::Int => args.numbers::<Int64Type>(|row| {
            let number = found(row).and_then(int_of);
            Ok(if or_none(number.is_some()) {
                Some(number.unwrap_or_default())
            } else {
                None
            })
        }),
        Wanted::UInt => args.numbers::<UInt64Type>(|row| {
            let number = found(row).and_then(uint_of);
            Ok(if or_none(number.is_some()) {
                Some(number.unwrap_or_default())
            } else {
                None
            })
        }),
        Wanted::Float => args.numbers::<Float64Type>(|row| {
            let number = found(row).and_then(float_of);
            Ok(if or_none(number.is_some()) {
                Some(number.unwrap_or_default())
            } else {
                None
            })
        }),
        Wanted::Text => args.maybe_texts(|row, out| {
            let value = found(row).filter(|value| kind(value) != "Null");
            out.push_str(&value.map(shown).unwrap_or_default());
            Ok(or_none(value.is_some()))
        }),
        Wanted::Bool => {
            let mut all = Vec::with_capacity(args.rows);
            for row in 0..args.rows {
                let truth = found(row).and_then(bool_of);
                all.push(if or_none(truth.is_some()) {
                    Some(truth.unwrap_or_default())
                } else {
                    None
                });
            }
            Ok(std::sync::Arc::new(arrow::array::BooleanArray::from(all)))
        }
        _ => lists(args, |row, list| {
            let value = found(row).filter(|value| kind(value) == "Array");
            for (_, value) in value.and_then(children).unwrap_or_default() {
                list.append_value(shown(value));
            }
            Ok(())
        }),
    }
}
