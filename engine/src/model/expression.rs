//! Small expressions over the security context, as they stand in access policies: `securityContext.team == 'a' and not
//! securityContext.guest`. The operators of Python and of JavaScript are both understood.

use serde_json::{Number, Value};

mod parse;

#[cfg(test)]
mod tests;

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `in`: the right side is a list that has the left one, or a text that contains it.
    In,
    /// `not in`
    NotIn,
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// A constant.
    Constant(Value),
    /// `securityContext.a.b`.
    Claim(Vec<String>),
    /// `[a, b]`.
    List(Vec<Expression>),
    /// A text with values in it.
    Text(Vec<Expression>),
    /// `not`, `!`.
    Not(Box<Expression>),
    /// `and`, `&&`: the first that is not true, else the last.
    And(Box<Expression>, Box<Expression>),
    /// `or`, `||`: the first that is true, else the last.
    Or(Box<Expression>, Box<Expression>),
    /// A comparison.
    Compare(Box<Expression>, Comparison, Box<Expression>),
}

impl Expression {
    /// Reads an expression; braces around it are allowed, as Cube's guides write them.
    ///
    /// # Errors
    /// A message that says what is wrong.
    pub fn parse(text: &str) -> Result<Expression, String> {
        parse::expression(text)
    }

    /// Reads a text in which `{…}` stand for expressions. One that is nothing else is that expression, whose value may be
    /// a list.
    ///
    /// # Errors
    /// A message that says what is wrong.
    pub fn parse_text(text: &str) -> Result<Expression, String> {
        parse::text(text)
    }

    /// The value under `context`; a claim that is not there is null. Nesting is bounded by the parser.
    pub fn value(&self, context: &Value) -> Value {
        match self {
            Expression::Constant(value) => value.clone(),
            Expression::Claim(path) => {
                let found = path.iter().try_fold(context, |value, name| value.get(name));
                found.cloned().unwrap_or(Value::Null)
            }
            Expression::List(items) => items.iter().map(|item| item.value(context)).collect(),
            Expression::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part.value(context) {
                        // A text about somebody who is not known is not known.
                        Value::Null => return Value::Null,
                        Value::String(part) => text.push_str(&part),
                        other => text.push_str(&other.to_string()),
                    }
                }
                Value::String(text)
            }
            Expression::Not(inner) => Value::Bool(!truth(&inner.value(context))),
            Expression::And(left, right) => match left.value(context) {
                value if truth(&value) => right.value(context),
                value => value,
            },
            Expression::Or(left, right) => match left.value(context) {
                value if truth(&value) => value,
                _ => right.value(context),
            },
            Expression::Compare(left, comparison, right) => {
                Value::Bool(compare(&left.value(context), *comparison, &right.value(context)))
            }
        }
    }

    /// Whether it holds under `context`. A claim that is not there makes it not hold.
    ///
    /// # Errors
    /// Cube's text when it gives something else than true or false.
    pub fn holds(&self, context: &Value) -> Result<bool, String> {
        match self.value(context) {
            Value::Bool(truth) => Ok(truth),
            Value::Null => Ok(false),
            other => Err(format!("Access policy condition must return boolean, got {other}")),
        }
    }
}

/// What counts as true, as in JavaScript.
fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

fn equal(left: &Value, right: &Value) -> bool {
    let number = |value: &Number| value.as_f64();
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => a == b || number(a) == number(b),
        (a, b) => a == b,
    }
}

/// Values of different kinds are unequal and have no order.
fn compare(left: &Value, comparison: Comparison, right: &Value) -> bool {
    let order = match (left, right) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    };
    match comparison {
        Comparison::Equal => equal(left, right),
        Comparison::NotEqual => !equal(left, right),
        Comparison::Less => order.is_some_and(|order| order.is_lt()),
        Comparison::LessOrEqual => order.is_some_and(|order| order.is_le()),
        Comparison::Greater => order.is_some_and(|order| order.is_gt()),
        Comparison::GreaterOrEqual => order.is_some_and(|order| order.is_ge()),
        Comparison::In => contains(right, left),
        // Of a list that is not there nobody knows what is not in it.
        Comparison::NotIn => !right.is_null() && !contains(right, left),
    }
}

fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Array(items), part) => items.iter().any(|item| equal(item, part)),
        (Value::String(whole), Value::String(part)) => whole.contains(part.as_str()),
        _ => false,
    }
}
