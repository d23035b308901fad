//! SQL of clients over cubes and views.
//!
//! `text → one statement (parse) → plan over virtual tables, a table for each cube (catalog) → parts that are queries of
//! cubes (rewrite, part, aggregate, condition) → typed queries and their plans (close) → the rest on top of them`. The
//! virtual tables have no rows: data comes only through the plan of a typed [`Query`], so that everything that holds for
//! queries holds here too. Clients' values are literals of the plan from the first to the last.

mod aggregate;
mod catalog;
mod close;
mod condition;
mod describe;
mod extend;
mod functions;
mod growth;
mod parse;
mod part;
mod rewrite;

pub use describe::describe;

use super::answer;
use super::compile::CompiledModel;
use super::{Cell, Query};
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::limits;
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use chrono_tz::Tz;
use datafusion::common::ScalarValue;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use parse::Ask;

/// What a client asks in SQL, and who.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The SQL: one statement of PostgreSQL's dialect that reads.
    pub sql: String,
    /// A query that asks nothing, from which every query inside takes who asks, and the time zone of ranges, buckets and
    /// wall clocks.
    pub asker: Query,
    /// What `current_user` is.
    pub user: String,
    /// Rows of the answer at the most, [`limits::QUERY_LIMIT_ROWS_MAX`] at the very most. More are cut off, as Cube does.
    pub rows_max: u64,
}

impl Asked {
    fn timezone(&self) -> Tz {
        self.asker.timezone
    }
}

/// How a statement is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlKind {
    /// It is one query, as the query language can say it.
    Regular,
    /// It is one query with members that the SQL itself makes.
    Pushdown,
    /// It is computed from the rows of queries, or from none.
    PostProcessing,
}

impl SqlKind {
    /// The name in Cube's API.
    pub fn name(self) -> &'static str {
        match self {
            SqlKind::Regular => "regular",
            SqlKind::Pushdown => "pushdown",
            SqlKind::PostProcessing => "post_processing",
        }
    }
}

/// How a statement would be answered.
#[derive(Debug, Clone)]
pub struct SqlPlan {
    /// Of which kind it is.
    pub kind: SqlKind,
    /// The queries inside, in no order. Names of members that begin with `__sql_` are made by the statement.
    pub queries: Vec<Query>,
    /// The plan as SQL where it can be written so, else as an outline.
    pub text: String,
}

/// The type of a column of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlType {
    /// Whole numbers.
    Int64,
    /// Other numbers.
    Double,
    /// Text, and everything that is shown as text.
    String,
    /// Truth values.
    Boolean,
    /// Wall clocks.
    Timestamp,
}

impl SqlType {
    /// The name in Cube's API.
    pub fn name(self) -> &'static str {
        match self {
            SqlType::Int64 => "Int64",
            SqlType::Double => "Double",
            SqlType::String => "String",
            SqlType::Boolean => "Boolean",
            SqlType::Timestamp => "Timestamp",
        }
    }

    fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => SqlType::Boolean,
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => SqlType::Timestamp,
            other if other.is_integer() => SqlType::Int64,
            other if other.is_numeric() => SqlType::Double,
            _ => SqlType::String,
        }
    }
}

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: SqlType,
}

/// The answer to a statement.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlAnswer {
    /// Columns; none for a statement that only sets something.
    pub columns: Vec<SqlColumn>,
    /// Rows of cells, one cell a column; [`Asked::rows_max`] at the most.
    pub rows: Vec<Vec<Cell>>,
    /// The instant whose data the answer shows, microseconds since the epoch.
    pub as_of: Micros,
    /// As in [`super::Answer::reads_clock`]: the statement or the model reads the clock.
    pub reads_clock: bool,
}

/// A statement ready to run over a project that is not bound yet.
#[derive(Debug)]
pub struct PlannedSql {
    /// The rows; `None` for a statement that needs nothing.
    pub plan: Option<LogicalPlan>,
    /// Of which kind it is.
    pub kind: SqlKind,
    /// The queries inside.
    pub queries: Vec<Query>,
    /// Whether the statement or the model reads the clock.
    pub reads_clock: bool,
}

impl PlannedSql {
    /// Columns of the answer.
    pub fn columns(&self) -> Vec<SqlColumn> {
        let fields = self.plan.iter().flat_map(|plan| plan.schema().fields().iter());
        fields
            .map(|field| SqlColumn {
                name: field.name().clone(),
                kind: SqlType::of(field.data_type()),
            })
            .collect()
    }
}

/// Rows of the answer as cells.
///
/// # Errors
/// As [`answer::rows`].
pub fn cells(batches: &[RecordBatch]) -> Result<Vec<Vec<Cell>>> {
    answer::rows(batches)
}

/// Plans a statement; `functions` must have what [`super::plan::plan`] needs. `now` is the engine's clock.
///
/// # Errors
/// `Invalid` for SQL that is wrong, too large, or asks for what cannot be answered; `Model` when the model is wrong.
pub fn plan(asked: &Asked, compiled: &CompiledModel, functions: &SessionState, now: Micros) -> Result<PlannedSql> {
    let asked = &Asked {
        asker: Query {
            now,
            ..asked.asker.clone()
        },
        ..asked.clone()
    };
    let parsed = parse::parse(&asked.sql, compiled.model())?;
    let nothing = |plan| PlannedSql {
        plan,
        kind: SqlKind::PostProcessing,
        queries: Vec::new(),
        reads_clock: false,
    };
    match parsed.ask {
        Ask::Nothing => Ok(nothing(None)),
        Ask::ShowTables => {
            let names = catalog::listed(compiled.model(), &super::policy::asker(&asked.asker));
            let rows: Vec<Vec<&str>> = names.iter().map(|cube| vec![cube.name.as_str()]).collect();
            Ok(nothing(Some(text_rows(&["name"], &rows)?)))
        }
        Ask::Show(name) => {
            let value = setting(&name, asked)
                .ok_or_else(|| Error::invalid(format!("unrecognized configuration parameter \"{name}\"")))?;
            Ok(nothing(Some(text_rows(&[name.as_str()], &[vec![value.as_str()]])?)))
        }
        Ask::Query(statement) => query(*statement, &parsed.words, asked, compiled, functions, now),
        Ask::Explain(statement) => {
            let planned = query(*statement, &parsed.words, asked, compiled, functions, now)?;
            let requests = planned.queries.iter().map(|query| {
                let request = serde_json::to_string_pretty(&describe(query)).unwrap_or_default();
                format!("CubeScan: request={request}")
            });
            let logical = requests.collect::<Vec<_>>().join("\n");
            let rows = [
                vec!["query_type", planned.kind.name()],
                vec!["logical_plan", logical.as_str()],
            ];
            Ok(nothing(Some(text_rows(&["plan_type", "plan"], &rows)?)))
        }
    }
}

fn query(
    statement: datafusion::sql::sqlparser::ast::Statement,
    words: &std::collections::HashSet<String>,
    asked: &Asked,
    compiled: &CompiledModel,
    functions: &SessionState,
    now: Micros,
) -> Result<PlannedSql> {
    let constants = catalog::Constants {
        user: asked.user.clone(),
        wall_micros: wall_clock(now, asked.timezone()),
    };
    let tables = catalog::Tables::new(compiled.model(), super::policy::asker(&asked.asker), &constants);
    let options = ParserOptions {
        enable_ident_normalization: false,
        ..ParserOptions::new()
    };
    let planner = SqlToRel::new_with_options(&tables, options);
    let plan = planner.sql_statement_to_plan(statement).map_err(catalog::planning)?;
    growth::check(&plan)?;
    let mut rewriter = rewrite::Rewriter {
        compiled,
        functions,
        asked,
        words,
        questions: Vec::new(),
    };
    let (plan, kind) = rewriter.rewritten(plan)?;
    let queries = rewriter.questions.into_iter().map(|question| question.query).collect();
    let rows = asked.rows_max.min(limits::QUERY_LIMIT_ROWS_MAX);
    let rows = usize::try_from(rows).unwrap_or(usize::MAX);
    let plan = LogicalPlanBuilder::from(plan).limit(0, Some(rows))?.build()?;
    check(&plan)?;
    let reads_clock = catalog::CLOCK.iter().any(|name| words.contains(*name)) || super::check::reads_clock(&plan)?;
    Ok(PlannedSql {
        plan: Some(plan),
        kind,
        queries,
        reads_clock,
    })
}

/// A second look: nothing is left of the virtual tables, and nothing but unbound tables is scanned.
fn check(plan: &LogicalPlan) -> Result<()> {
    use datafusion::common::tree_node::TreeNodeRecursion;
    super::check::read_only(plan)?;
    let mut left = None;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && scan.source.downcast_ref::<super::tables::UnboundTable>().is_none()
        {
            left = Some(scan.table_name.to_string());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    match left {
        Some(table) => Err(Error::internal(format!(
            "the virtual table `{table}` was left in a plan"
        ))),
        None => Ok(()),
    }
}

/// The wall clock of `tz` at an instant, in microseconds.
fn wall_clock(now: Micros, tz: Tz) -> i64 {
    let instant = chrono::DateTime::from_timestamp_micros(now).unwrap_or_default();
    instant.with_timezone(&tz).naive_local().and_utc().timestamp_micros()
}

/// The settings that clients look at.
fn setting(name: &str, asked: &Asked) -> Option<String> {
    let value = match name.to_ascii_lowercase().as_str() {
        "timezone" | "time zone" => asked.asker.timezone.name(),
        "server_version" => "15.0",
        "server_encoding" | "client_encoding" => "UTF8",
        "transaction isolation level" | "transaction_isolation" => "read committed",
        "default_transaction_read_only" | "transaction_read_only" => "on",
        "standard_conforming_strings" => "on",
        "datestyle" => "ISO, MDY",
        "search_path" => catalog::PUBLIC,
        _ => return None,
    };
    Some(value.to_owned())
}

/// Rows of texts as a plan.
fn text_rows(names: &[&str], rows: &[Vec<&str>]) -> Result<LogicalPlan> {
    let text = |text: &&str| lit(ScalarValue::Utf8(Some((*text).to_owned())));
    let values = match rows {
        [] => vec![vec![lit(ScalarValue::Utf8(None)); names.len()]],
        rows => rows.iter().map(|row| row.iter().map(text).collect()).collect(),
    };
    let columns = names.iter().enumerate();
    let columns: Vec<_> = columns
        .map(|(at, name)| super::plan::named(format!("column{}", at + 1)).alias(*name))
        .collect();
    let plan = LogicalPlanBuilder::values(values)?.filter(lit(!rows.is_empty()))?;
    Ok(plan.project(columns)?.build()?)
}

#[cfg(test)]
mod tests;
