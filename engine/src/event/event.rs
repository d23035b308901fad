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

/// A [`Value`] that is borrowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueRef<'a> {
    /// Text.
    Text(&'a str),
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

/// Above and below this a number has more digits than a [`Kind::Decimal`] column.
const DECIMAL_END: u128 = 10u128.pow(DECIMAL_PRECISION as u32);

impl ValueRef<'_> {
    /// Whether this value fits a column of `kind`.
    pub fn fits(self, kind: Kind) -> bool {
        match (self, kind) {
            (ValueRef::Text(_), Kind::Text)
            | (ValueRef::Int(_), Kind::Int64)
            | (ValueRef::Float(_), Kind::Float64)
            | (ValueRef::Bool(_), Kind::Bool)
            | (ValueRef::Timestamp(_), Kind::Timestamp) => true,
            (ValueRef::Decimal(n), Kind::Decimal) => n.unsigned_abs() < DECIMAL_END,
            (ValueRef::Int(n), Kind::Int32) => i32::try_from(n).is_ok(),
            _ => false,
        }
    }
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Text(text) => ValueRef::Text(text),
            Value::Int(number) => ValueRef::Int(*number),
            Value::Float(number) => ValueRef::Float(*number),
            Value::Bool(flag) => ValueRef::Bool(*flag),
            Value::Timestamp(micros) => ValueRef::Timestamp(*micros),
            Value::Decimal(number) => ValueRef::Decimal(*number),
        }
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Text(text) => Value::Text(text.to_owned()),
            ValueRef::Int(number) => Value::Int(number),
            ValueRef::Float(number) => Value::Float(number),
            ValueRef::Bool(flag) => Value::Bool(flag),
            ValueRef::Timestamp(micros) => Value::Timestamp(micros),
            ValueRef::Decimal(number) => Value::Decimal(number),
        }
    }
}

impl Value {
    /// Whether this value fits a column of `kind`.
    pub fn fits(&self, kind: Kind) -> bool {
        ValueRef::from(self).fits(kind)
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

/// Some columns, a bit for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ColumnSet(u128);

/// The bit of a column. Ids are below 128.
const fn bit(column: Column) -> u128 {
    1 << (column as u8 % 128)
}

impl ColumnSet {
    /// Adds a column.
    #[inline]
    pub fn insert(&mut self, column: Column) {
        self.0 |= bit(column);
    }

    /// Takes a column out.
    #[inline]
    pub fn remove(&mut self, column: Column) {
        self.0 &= !bit(column);
    }

    /// Whether a column is among them.
    #[inline]
    pub fn contains(self, column: Column) -> bool {
        self.0 & bit(column) != 0
    }

    /// These columns and the others.
    #[must_use]
    pub fn union(self, others: ColumnSet) -> ColumnSet {
        ColumnSet(self.0 | others.0)
    }
}

/// One event: a set of columns with values, each column at most once.
#[derive(Debug, Clone, Default)]
pub struct Event {
    values: Vec<(Column, Value)>,
    /// The columns that have a value: most questions are about those that have none.
    present: ColumnSet,
}

/// The bits of the columns that every event must have.
const REQUIRED: u128 = {
    let (mut bits, mut at) = (0, 0);
    while at < Column::ALL.len() {
        if Column::ALL[at].is_required() {
            bits |= bit(Column::ALL[at]);
        }
        at += 1;
    }
    bits
};

/// Whether both have the same values in the same columns, in whatever order they were set.
impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        let has = |(column, value): &(Column, Value)| other.get(*column) == Some(value);
        self.present == other.present && self.values.iter().all(has)
    }
}

impl Event {
    /// An event without values, with room for `columns` of them.
    pub fn with_capacity(columns: usize) -> Self {
        Self {
            values: Vec::with_capacity(columns),
            present: ColumnSet::default(),
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
        if !self.present.contains(column) {
            self.present.insert(column);
            self.values.push((column, value));
        } else if let Some(slot) = self.values.iter_mut().find(|(c, _)| *c == column) {
            slot.1 = value;
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
        self.present.remove(column);
        Some(self.values.swap_remove(at).1)
    }

    /// The columns that have a value.
    pub fn columns(&self) -> ColumnSet {
        self.present
    }

    /// The value of `column`.
    pub fn get(&self, column: Column) -> Option<&Value> {
        if !self.present.contains(column) {
            return None;
        }
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
        let missing = REQUIRED & !self.present.0;
        if missing != 0 {
            return Column::ALL.iter().copied().find(|column| missing & bit(*column) != 0);
        }
        self.values.iter().find(|(c, v)| !v.fits(c.kind())).map(|(c, _)| *c)
    }

    /// Approximate memory of this event in bytes.
    pub fn memory_bytes(&self) -> usize {
        let slots = self.values.capacity() * std::mem::size_of::<(Column, Value)>();
        slots + self.values.iter().map(|(_, v)| v.heap_bytes()).sum::<usize>()
    }
}
