//! JSON read lazily: members as slices of the request's text, decoded only where a column wants them.
//!
//! Events are mostly passed through, so nothing here builds a tree. Scanning a member is iterative, whatever its depth.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Elements of an array that are read; a body of `[1,1,1,…]` must not cost eight times its size. One more than any request
/// may have, so that it shows.
pub(crate) const ELEMENTS_MAX: usize = super::REQUEST_EVENTS_MAX + 1;
/// Members of an object that are read; one more than any event may have.
const MEMBERS_MAX: usize = super::EVENT_PROPERTIES_MAX + 1;

/// One JSON value as it stands in the request: valid JSON without surrounding space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// Checks that `text` is one JSON value.
    pub(crate) fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<&RawValue>(text).map(|raw| Json(raw.get()))
    }

    /// The elements of the JSON array that `text` is, and of a long one the first [`ELEMENTS_MAX`] only.
    pub(crate) fn parse_array(text: &'a str) -> Result<Vec<Self>, serde_json::Error> {
        serde_json::from_str::<Elements<'a>>(text).map(|elements| elements.0)
    }

    /// The text as sent.
    pub(crate) fn raw(self) -> &'a str {
        self.0
    }

    fn first(self) -> u8 {
        self.0.as_bytes().first().copied().unwrap_or(b' ')
    }

    pub(crate) fn is_null(self) -> bool {
        self.first() == b'n'
    }

    pub(crate) fn is_object(self) -> bool {
        self.first() == b'{'
    }

    pub(crate) fn is_array(self) -> bool {
        self.first() == b'['
    }

    pub(crate) fn is_number(self) -> bool {
        matches!(self.first(), b'-' | b'0'..=b'9')
    }

    /// Whether nothing is in it: `null`, `""`, `{}` or `[]`.
    pub(crate) fn is_empty(self) -> bool {
        match self.first() {
            b'n' => true,
            b'"' => self.0.len() == 2,
            b'{' | b'[' => self.0[1..self.0.len() - 1].trim_ascii().is_empty(),
            _ => false,
        }
    }

    /// The string, if it is one. Borrowed when it has no escapes.
    pub(crate) fn text(self) -> Option<Cow<'a, str>> {
        if self.first() != b'"' {
            return None;
        }
        let inner = self.0.get(1..self.0.len() - 1)?;
        if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
            return Some(Cow::Borrowed(inner));
        }
        serde_json::from_str::<String>(self.0).ok().map(Cow::Owned)
    }

    /// The text of a string or a number: ids are sent as either.
    pub(crate) fn id(self) -> Option<Cow<'a, str>> {
        if self.is_number() {
            return Some(Cow::Borrowed(self.0));
        }
        self.text()
    }

    /// A boolean.
    pub(crate) fn bool(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// A finite number, from a number or a string that holds one.
    pub(crate) fn f64(self) -> Option<f64> {
        let number = if self.is_number() {
            self.0.parse::<f64>().ok()
        } else {
            self.text()?.trim().parse::<f64>().ok()
        };
        number.filter(|n| n.is_finite())
    }

    /// A whole number, from a number (`3.0` counts) or a string that holds one.
    pub(crate) fn i64(self) -> Option<i64> {
        let text = if self.is_number() {
            Cow::Borrowed(self.0)
        } else {
            self.text()?
        };
        if let Ok(whole) = text.trim().parse::<i64>() {
            return Some(whole);
        }
        let number = text.trim().parse::<f64>().ok()?;
        // Above 2^53 a float no longer says which whole number was meant.
        let whole = number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0;
        whole.then_some(number as i64)
    }

    /// The members of an object.
    pub(crate) fn object(self) -> Option<Object<'a>> {
        if !self.is_object() {
            return None;
        }
        serde_json::from_str(self.0).ok()
    }

    /// The elements of an array.
    pub(crate) fn array(self) -> Option<Vec<Json<'a>>> {
        if !self.is_array() {
            return None;
        }
        Self::parse_array(self.0).ok()
    }
}

impl<'a> From<&'a RawValue> for Json<'a> {
    fn from(raw: &'a RawValue) -> Self {
        Json(raw.get())
    }
}

/// The members of one JSON object in their order; of equal names the last, as `JSON.parse` has it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Object<'a> {
    members: Vec<(Cow<'a, str>, Json<'a>)>,
}

impl<'a> Object<'a> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Json<'a>)> {
        self.members.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn get(&self, name: &str) -> Option<Json<'a>> {
        self.members.iter().find(|(n, _)| n == name).map(|(_, value)| *value)
    }

    /// This object's members over those of `base`.
    pub(crate) fn over(mut self, base: &Object<'a>) -> Object<'a> {
        let mut members = base.members.clone();
        members.append(&mut self.members);
        let mut merged = Object { members };
        merged.keep_last();
        merged
    }

    /// Drops all but the last of equal names.
    fn keep_last(&mut self) {
        const FEW: usize = 48;
        let names = &self.members;
        let distinct = if names.len() <= FEW {
            (1..names.len()).all(|i| names[..i].iter().all(|(n, _)| *n != names[i].0))
        } else {
            let set: std::collections::HashSet<&str> = names.iter().map(|(n, _)| n.as_ref()).collect();
            set.len() == names.len()
        };
        if distinct {
            return;
        }
        let mut seen = std::collections::HashSet::new();
        let mut last: Vec<bool> = names.iter().rev().map(|(n, _)| seen.insert(n.as_ref())).collect();
        last.reverse();
        let mut keep = last.into_iter();
        self.members.retain(|_| keep.next().unwrap_or(true));
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut members = Vec::with_capacity(24);
                while let Some(Name(name)) = map.next_key()? {
                    if members.len() >= MEMBERS_MAX {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let value: &'de RawValue = map.next_value()?;
                    members.push((name, Json(value.get())));
                }
                let mut object = Object { members };
                object.keep_last();
                Ok(object)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// The elements of an array.
struct Elements<'a>(Vec<Json<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Elements<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Elements<'de>, A::Error> {
                let mut elements = Vec::new();
                while elements.len() < ELEMENTS_MAX {
                    match sequence.next_element::<&'de RawValue>()? {
                        Some(raw) => elements.push(Json::from(raw)),
                        None => return Ok(Elements(elements)),
                    }
                }
                while sequence.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(All)
    }
}

/// A member's name, borrowed when it has no escapes (a plain `Cow` never borrows in a map).
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Builds the text of a JSON object from raw values.
#[derive(Debug, Default)]
pub(crate) struct ObjectWriter {
    out: String,
}

impl ObjectWriter {
    /// Adds a member whose value is JSON already.
    pub(crate) fn raw(&mut self, name: &str, value: &str) {
        self.out.push(if self.out.is_empty() { '{' } else { ',' });
        push_text(&mut self.out, name);
        self.out.push(':');
        self.out.push_str(value);
    }

    /// Adds a member with a text value.
    pub(crate) fn text(&mut self, name: &str, value: &str) {
        let mut quoted = String::with_capacity(value.len() + 2);
        push_text(&mut quoted, value);
        self.raw(name, &quoted);
    }

    /// The object, or nothing when it has no members.
    pub(crate) fn finish(mut self) -> Option<String> {
        if self.out.is_empty() {
            return None;
        }
        self.out.push('}');
        Some(self.out)
    }
}

/// Appends `text` as a JSON string.
pub(crate) fn push_text(out: &mut String, text: &str) {
    let plain = |b: u8| b >= 0x20 && b != b'"' && b != b'\\';
    if text.bytes().all(plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(text).to_string());
    }
}

/// The deepest nesting in `json` when it is deeper than `max`.
pub(crate) fn deeper_than(json: &str, max: usize) -> Option<usize> {
    // No deeper than there are opening brackets, which are found many bytes at a time: few events need a second look.
    memchr::memchr2_iter(b'{', b'[', json.as_bytes()).nth(max)?;
    Some(depth(json)).filter(|depth| *depth > max)
}

/// The deepest nesting of arrays and objects in `json`, which must be valid JSON.
pub(crate) fn depth(json: &str) -> usize {
    let (mut now, mut deepest) = (0usize, 0usize);
    let (mut in_text, mut escaped) = (false, false);
    for byte in json.bytes() {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'{' | b'[' => {
                now += 1;
                deepest = deepest.max(now);
            }
            b'}' | b']' => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests;
