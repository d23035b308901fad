//! The canonical event as a sparse row: only the columns that have a value.

use super::schema::{Column, DECIMAL_PRECISION, Kind};
use crate::clock::Micros;

/// A value of one column.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// An integer, for [`Kind::Int32`] and [`Kind::Int64`].
    Int(i64),
    /// A float.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// An instant in microseconds.
    Timestamp(Micros),
    /// Money in millionths of the unit.
    Decimal(i128),
}

impl Value {
    /// Whether this value fits a column of `kind`.
    pub fn fits(&self, kind: Kind) -> bool {
        match (self, kind) {
            (Value::Text(_), Kind::Text)
            | (Value::Int(_), Kind::Int64)
            | (Value::Float(_), Kind::Float64)
            | (Value::Bool(_), Kind::Bool)
            | (Value::Timestamp(_), Kind::Timestamp) => true,
            (Value::Decimal(n), Kind::Decimal) => n.unsigned_abs() < 10u128.pow(u32::from(DECIMAL_PRECISION)),
            (Value::Int(n), Kind::Int32) => i32::try_from(*n).is_ok(),
            _ => false,
        }
    }

    /// Bytes this value takes on the heap, for memory accounting.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Value::Text(text) => text.capacity(),
            _ => 0,
        }
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}
impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}
impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}
impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Float(value)
    }
}

/// One event: a set of columns with values, each column at most once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Event {
    values: Vec<(Column, Value)>,
}

impl Event {
    /// An event without values, with room for `columns` of them.
    pub fn with_capacity(columns: usize) -> Self {
        Self {
            values: Vec::with_capacity(columns),
        }
    }

    /// Sets `column`, replacing a value it already had.
    ///
    /// # Panics
    /// In debug builds, when the value's type is not the column's: that is a defect in the caller, and
    /// [`Event::defect`] finds such an event in release builds.
    pub fn set(&mut self, column: Column, value: impl Into<Value>) {
        let value = value.into();
        debug_assert!(
            value.fits(column.kind()),
            "{value:?} does not fit column {}",
            column.name()
        );
        match self.values.iter_mut().find(|(c, _)| *c == column) {
            Some(slot) => slot.1 = value,
            None => self.values.push((column, value)),
        }
    }

    /// Sets a text column when `value` is present and not empty.
    pub fn set_text(&mut self, column: Column, value: Option<&str>) {
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            self.set(column, value);
        }
    }

    /// Sets an integer column.
    pub fn set_int(&mut self, column: Column, value: i64) {
        self.set(column, Value::Int(value));
    }

    /// Sets an instant, in microseconds.
    pub fn set_ts(&mut self, column: Column, micros: Micros) {
        self.set(column, Value::Timestamp(micros));
    }

    /// Takes a column's value out.
    pub fn remove(&mut self, column: Column) -> Option<Value> {
        let at = self.values.iter().position(|(c, _)| *c == column)?;
        Some(self.values.swap_remove(at).1)
    }

    /// The value of `column`.
    pub fn get(&self, column: Column) -> Option<&Value> {
        self.values.iter().find(|(c, _)| *c == column).map(|(_, v)| v)
    }

    /// The text of `column`, if it is a text column and set.
    pub fn text(&self, column: Column) -> Option<&str> {
        match self.get(column) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The instant of `column`, if it is a timestamp column and set.
    pub fn micros(&self, column: Column) -> Option<Micros> {
        match self.get(column) {
            Some(Value::Timestamp(micros)) => Some(*micros),
            _ => None,
        }
    }

    /// All columns that have a value, in the order they were set.
    pub fn values(&self) -> &[(Column, Value)] {
        &self.values
    }

    /// The first required column that is missing, or a column whose value has the wrong type; `None` when storable.
    pub fn defect(&self) -> Option<Column> {
        let missing = Column::ALL
            .iter()
            .copied()
            .find(|c| c.is_required() && self.get(*c).is_none());
        missing.or_else(|| self.values.iter().find(|(c, v)| !v.fits(c.kind())).map(|(c, _)| *c))
    }

    /// Approximate memory of this event in bytes.
    pub fn memory_bytes(&self) -> usize {
        let slots = self.values.capacity() * std::mem::size_of::<(Column, Value)>();
        slots + self.values.iter().map(|(_, v)| v.heap_bytes()).sum::<usize>()
    }
}
