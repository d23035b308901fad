//! Aggregates: each becomes one of the engine's, with a filter, an order or a function of its result where it needs one.
//! What ClickHouse appends to their names (`If`, `Distinct`, `OrNull`, `OrDefault`) is taken off first.

mod bases;
mod defaulted;
mod lists;

pub use bases::*;
pub use lists::{element_type, list_element, list_limit, list_top, list_top_type};

use super::table::Kind;
use super::{Call, build};
use crate::error::{Error, Result};
use datafusion::logical_expr::AggregateUDF;
use datafusion::sql::sqlparser::ast::{Expr, WindowType};

/// What a group without rows gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    /// NULL when an argument can be NULL, else the type's empty value.
    Typed,
    /// NULL.
    Null,
}

/// A call of an aggregate, its combinators taken off.
#[derive(Debug, Clone)]
pub struct Aggregation {
    /// The name as written.
    pub name: String,
    /// The name without combinators, as the table has it.
    pub base: &'static str,
    /// `(0.9)` of `quantile(0.9)(x)`.
    pub params: Vec<Expr>,
    /// The arguments without the condition.
    pub args: Vec<Expr>,
    /// Only distinct values.
    pub distinct: bool,
    /// Only rows that meet this.
    pub filter: Option<Expr>,
    /// As a window function.
    pub over: Option<WindowType>,
    /// What no rows give.
    pub empty: Empty,
}

/// A name taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    base: &'static str,
    /// Combinators in lower case, the last first.
    combinators: Vec<&'static str>,
}

/// Combinators: those that are answered, then those that are refused by name.
const COMBINATORS: &[&str] = &[
    "ornull",
    "ordefault",
    "distinct",
    "if",
    "array",
    "state",
    "mergestate",
    "merge",
    "foreach",
    "resample",
    "map",
    "simplestate",
    "argmin",
    "argmax",
];

impl Parsed {
    /// The parts of a name; none when it is no aggregate's.
    pub fn new(name: &str) -> Option<Self> {
        let mut rest = name.to_ascii_lowercase();
        let mut combinators = Vec::new();
        loop {
            if let Some(base) = base_named(&rest) {
                return Some(Self { base, combinators });
            }
            let found = COMBINATORS
                .iter()
                .find(|suffix| rest.ends_with(**suffix) && rest.len() > suffix.len())?;
            rest.truncate(rest.len() - found.len());
            combinators.push(*found);
        }
    }

    /// Whether there are any.
    pub fn has_combinators(&self) -> bool {
        !self.combinators.is_empty()
    }
}

fn base_named(lower: &str) -> Option<&'static str> {
    let found = super::find(lower)?;
    matches!(found.kind, Kind::Aggregate(_)).then_some(found.name)
}

/// The engine's form of a call of an aggregate.
///
/// # Errors
/// `Model` when there is no such function, or not with these arguments or combinators.
pub fn combined(call: Call) -> Result<Expr> {
    let Some(parsed) = Parsed::new(&call.name) else {
        return Err(unknown(&call.name));
    };
    let Some(Kind::Aggregate(build)) = super::find(parsed.base).map(|found| found.kind) else {
        return Err(unknown(&call.name));
    };
    let mut aggregation = Aggregation {
        name: call.name,
        base: parsed.base,
        params: call.params,
        args: call.args,
        distinct: call.distinct,
        filter: call.filter.map(build::truth),
        over: call.over,
        empty: Empty::Typed,
    };
    for combinator in parsed.combinators {
        match combinator {
            "if" => {
                let condition = aggregation.args.pop();
                let condition = condition.ok_or_else(|| {
                    Error::model(format!("`{}` takes a condition as its last argument", aggregation.name))
                })?;
                aggregation.restrict(build::truth(condition));
            }
            "distinct" => aggregation.distinct = true,
            "ornull" => aggregation.empty = Empty::Null,
            "ordefault" => aggregation.empty = Empty::Typed,
            other => {
                return Err(Error::model(format!(
                    "`{}`: the combinator `-{other}` is not answered, -If, -Distinct, -OrNull and -OrDefault are",
                    aggregation.name
                )));
            }
        }
    }
    build(aggregation)
}

fn unknown(name: &str) -> Error {
    let nearest = super::nearest(name);
    match super::is_clickhouse(name) {
        true => Error::model(format!(
            "the function `{name}` of ClickHouse is not answered; the nearest that is: `{nearest}`"
        )),
        false => Error::model(format!("function `{name}` does not exist; did you mean `{nearest}`?")),
    }
}

impl Aggregation {
    /// One condition more.
    pub fn restrict(&mut self, condition: Expr) {
        self.filter = Some(match self.filter.take() {
            Some(before) => build::and(before, condition),
            None => condition,
        });
    }

    /// Checks the number of arguments.
    pub fn count(&self, least: usize, most: usize) -> Result<()> {
        Call::plain(&self.name, self.args.clone()).count(least, most)
    }

    /// The name of the engine's `function` that gives what is wanted of no rows.
    pub fn filled(&self, function: &str) -> String {
        match self.empty {
            Empty::Typed => format!("{}{function}", super::PREFIX),
            Empty::Null => function.to_owned(),
        }
    }

    /// A call of the engine's aggregate `name` on `args`, with what this one has beside its arguments.
    pub fn call(&self, name: &str, args: Vec<Expr>) -> build::Aggregate {
        let mut call = build::Aggregate::new(name, args);
        call.distinct = self.distinct;
        call.filter = self.filter.clone();
        call.over = self.over.clone();
        call
    }
}

/// The aggregates that the engine does not have, or not with these empty values.
pub fn udafs() -> Vec<AggregateUDF> {
    defaulted::udafs()
}
