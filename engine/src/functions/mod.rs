//! ClickHouse's functions, for models that were written for it.
//!
//! [`table`] lists every function once. A call in a model's SQL is rewritten while its text is planned ([`rewrite`]): to a
//! form of the query engine where one means the same (`countIf(c)` is `count(1) FILTER (WHERE c)`), else to a function of
//! ours, one file for each family. The meaning is ClickHouse's, measured on a real one: `data/clickhouse/functions.jsonl`.
//!
//! What all share: instants are exact, in UTC unless a zone is named; a NULL argument gives NULL unless the function is
//! about NULL; conditions are booleans where ClickHouse has 0 and 1; text is UTF-8, and what cuts inside of a character
//! gives U+FFFD.

mod aggregate;
mod arithmetic;
mod arrays;
pub mod build;
mod call;
mod conditional;
mod convert;
mod dates;
mod funnel;
mod hashes;
mod json;
mod names;
mod scalar;
mod strings;
mod table;
mod url;

pub use call::Call;
pub use names::{is_clickhouse, nearest};
pub use table::{Function, Kind, TABLE};

use crate::error::{Error, Result};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::sql::sqlparser::ast::Expr;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// Makes a condition of a number.
pub const TRUTH: &str = "ch_truth";
/// Bytes that one text may be padded or repeated to.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// What the engine's own functions of the same names do not begin with.
const PREFIX: &str = "ch_";

static BY_NAME: LazyLock<HashMap<String, &'static Function>> = LazyLock::new(|| {
    let rows = TABLE.iter().flat_map(|function| {
        let names = std::iter::once(&function.name).chain(function.aliases);
        names.map(move |name| (name.to_ascii_lowercase(), function))
    });
    rows.collect()
});

static SCALARS: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let rows = TABLE.iter().filter_map(|function| match function.kind {
        Kind::Scalar(scalar) => Some((function.name, scalar)),
        _ => None,
    });
    let rows = rows.chain(table::INTERNAL.iter().copied());
    let mut all: HashMap<String, Arc<ScalarUDF>> = rows
        .map(|(name, row)| {
            let name = format!("{PREFIX}{name}");
            (name.clone(), Arc::new(scalar::udf(name, row)))
        })
        .collect();
    let coalesce = conditional::coalesce_udf();
    all.insert(coalesce.name().to_owned(), Arc::new(coalesce));
    all
});

static AGGREGATES: LazyLock<HashMap<String, Arc<AggregateUDF>>> = LazyLock::new(|| {
    let all = aggregate::udafs().into_iter().chain(funnel::udafs());
    all.map(|function| (function.name().to_owned(), Arc::new(function)))
        .collect()
});

/// The function of this name, in any case.
pub fn find(name: &str) -> Option<&'static Function> {
    BY_NAME.get(&name.to_ascii_lowercase()).copied()
}

/// A function of ours by the name it has in plans.
pub fn scalar(name: &str) -> Option<&'static Arc<ScalarUDF>> {
    SCALARS.get(name)
}

/// An aggregate of ours by the name it has in plans.
pub fn aggregate(name: &str) -> Option<&'static Arc<AggregateUDF>> {
    AGGREGATES.get(name)
}

/// What takes the place of a call.
///
/// # Errors
/// `Model` when there is no such function, with the nearest one, or when its arguments are wrong.
pub fn rewrite(call: Call) -> Result<Expr> {
    let Some(function) = find(&call.name) else {
        return aggregate::combined(call);
    };
    if !matches!(function.kind, Kind::Aggregate(_) | Kind::Window(_)) {
        let extra = [
            (!call.params.is_empty(), "parameters before its arguments"),
            (call.distinct, "DISTINCT"),
            (call.filter.is_some(), "FILTER"),
            (call.over.is_some(), "OVER"),
            (!call.order_by.is_empty(), "ORDER BY"),
        ];
        if let Some((_, what)) = extra.iter().find(|(found, _)| *found) {
            return Err(Error::model(format!("`{}` takes no {what}", call.name)));
        }
    }
    match function.kind {
        Kind::Engine(name, least, most) => {
            call.count(least, most)?;
            Ok(build::function(name, call.args))
        }
        Kind::Scalar(row) => {
            call.count(row.least, row.most)?;
            Ok(build::function(&format!("{PREFIX}{}", function.name), call.args))
        }
        Kind::Rewrite(rewrite) => rewrite(call),
        Kind::Aggregate(_) => aggregate::combined(call),
        Kind::Window(name) => {
            let mut window = build::Aggregate::new(name, call.args);
            (window.over, window.null_treatment) = (call.over, call.null_treatment);
            Ok(window.build())
        }
    }
}

#[cfg(test)]
mod tests;
