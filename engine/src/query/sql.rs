//! SQL of a model's author: parsed in PostgreSQL's dialect or ClickHouse's, planned against the project's tables, able only
//! to read.
//!
//! A cube is written in one dialect: the one its `dialect` names, else ClickHouse's when something in it is only
//! ClickHouse's ([`is_clickhouse`]), else PostgreSQL's.

mod clickhouse;
mod epoch;

use super::tables;
use crate::error::{Error, Result};
use crate::functions;
use crate::model::{Cube, CubeSource, Dialect, DimensionSql, Piece, SqlTemplate};
use arrow::datatypes::DataType;
use datafusion::common::config::{ConfigOptions, Dialect as EngineDialect};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, TableReference};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF};
use datafusion::prelude::SessionConfig;
use datafusion::sql::planner::{NullOrdering, ParserOptions, PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr as SqlExpr, Statement};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use std::sync::{Arc, LazyLock};

/// Bytes of one SQL text after its references are expanded. References to references can multiply.
pub const SQL_BYTES_MAX: usize = 256 * 1024;
/// Nesting of one SQL text. Deeper ones can overflow the parser's stack.
const SQL_DEPTH_MAX: usize = 50;

/// All functions that SQL can call, and the dialect. Without tables and without a place to run in.
static FUNCTIONS: LazyLock<SessionState> = LazyLock::new(|| {
    let mut state = base(SessionConfig::new()).build();
    register(&mut state);
    state
});

/// How operators and special forms are planned: ours first.
static PLANNERS: LazyLock<Vec<Arc<dyn ExprPlanner>>> = LazyLock::new(|| {
    let ours: Arc<dyn ExprPlanner> = Arc::new(epoch::EpochPlanner);
    std::iter::once(ours)
        .chain(functions().expr_planners().iter().map(Arc::clone))
        .collect()
});

/// How operators and special forms are planned.
pub fn planners() -> &'static [Arc<dyn ExprPlanner>] {
    &PLANNERS
}

/// The same for ClickHouse's dialect.
static CLICKHOUSE_PLANNERS: LazyLock<Vec<Arc<dyn ExprPlanner>>> = LazyLock::new(|| {
    let ours: Arc<dyn ExprPlanner> = Arc::new(clickhouse::Operators);
    std::iter::once(ours).chain(PLANNERS.iter().map(Arc::clone)).collect()
});

/// A session's beginning: the functions that come with the query engine, and PostgreSQL's dialect.
pub fn base(mut config: SessionConfig) -> SessionStateBuilder {
    config.options_mut().sql_parser.dialect = EngineDialect::PostgreSQL;
    SessionStateBuilder::new().with_config(config).with_default_features()
}

/// Adds the functions that read JSON, and our own.
pub fn register(state: &mut SessionState) {
    use datafusion::execution::FunctionRegistry;
    let markers = super::params::markers().iter();
    let registered = datafusion_functions_json::register_all(state).and_then(|()| {
        markers
            .map(Arc::clone)
            .try_for_each(|marker| state.register_udf(marker).map(drop))
    });
    if let Err(error) = registered {
        tracing::error!(%error, "functions could not be registered");
    }
}

/// The functions and the dialect that models are compiled with.
pub fn functions() -> &'static SessionState {
    &FUNCTIONS
}

/// Whether something in `sql` is only ClickHouse's: a function, or a form of its grammar.
pub fn is_clickhouse(sql: &str) -> bool {
    sql.len() <= SQL_BYTES_MAX && clickhouse::is_marked(sql, is_known)
}

/// Whether the query engine has a function of this name.
fn is_known(name: &str) -> bool {
    let functions = functions();
    functions.scalar_functions().contains_key(name)
        || functions.aggregate_functions().contains_key(name)
        || functions.window_functions().contains_key(name)
        || functions.higher_order_functions().contains_key(name)
}

/// The dialect of a cube: the one it names, else ClickHouse's when any of its SQL is only ClickHouse's.
pub fn dialect_of_cube(cube: &Cube) -> Dialect {
    if let Some(named) = cube.dialect {
        return named;
    }
    let own = match &cube.source {
        CubeSource::Sql(template) => Some(template),
        _ => None,
    };
    let dimensions = cube.dimensions.iter().flat_map(|dimension| match &dimension.sql {
        DimensionSql::Expr(template) => vec![template],
        DimensionSql::Case { when, .. } => when.iter().map(|(condition, _)| condition).collect(),
        _ => Vec::new(),
    });
    let measures = cube
        .measures
        .iter()
        .flat_map(|measure| measure.sql.iter().chain(&measure.filters));
    let segments = cube.segments.iter().map(|segment| &segment.sql);
    let mut all = own.into_iter().chain(dimensions).chain(measures).chain(segments);
    match all.any(|template| is_clickhouse(&template.source)) {
        true => Dialect::ClickHouse,
        false => Dialect::PostgreSql,
    }
}

/// The dialect of a text that no cube says the dialect of.
fn dialect_of(sql: &str) -> Dialect {
    if is_clickhouse(sql) {
        Dialect::ClickHouse
    } else {
        Dialect::PostgreSql
    }
}

/// Parses an expression against the columns of `schema`, in the dialect that it shows to be written in.
///
/// # Errors
/// `Model` with what is wrong.
pub fn expression(sql: &str, schema: &DFSchema) -> Result<Expr> {
    expression_in(dialect_of(sql), sql, schema)
}

/// Parses an expression against the columns of `schema`.
///
/// # Errors
/// `Model` with what is wrong.
pub fn expression_in(dialect: Dialect, sql: &str, schema: &DFSchema) -> Result<Expr> {
    let expr = match dialect {
        Dialect::PostgreSql => postgres_expression(checked(sql)?)?,
        Dialect::ClickHouse => clickhouse::expression(checked(sql)?, SQL_DEPTH_MAX)?,
    };
    let tables = Tables { dialect };
    let planner = SqlToRel::new_with_options(&tables, options(dialect));
    let planned = planner
        .sql_to_expr(expr, schema, &mut PlannerContext::new())
        .map_err(model_error)?;
    if planned.exists(|expr| Ok(matches!(expr, Expr::Unnest(_))))? {
        return Err(Error::model(
            "`arrayJoin` makes rows, so it belongs into the select list of the `sql` of a cube",
        ));
    }
    Ok(planned)
}

fn postgres_expression(sql: &str) -> Result<SqlExpr> {
    let parser = Parser::new(&PostgreSqlDialect {})
        .with_recursion_limit(SQL_DEPTH_MAX)
        .try_with_sql(sql);
    let parsed = parser.and_then(|mut parser| {
        let expr = parser.parse_expr()?;
        parser.expect_token(&Token::EOF)?;
        Ok(expr)
    });
    parsed.map_err(|error| Error::model(error.to_string()))
}

/// Whether the outermost operator of an author's condition is a comparison (`=`, `<`, …). PostgreSQL's grammar does not
/// take another comparison behind one.
pub fn is_comparison(condition: &SqlTemplate) -> bool {
    let name = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        _ => "x".to_owned(),
    };
    let text: String = condition.pieces.iter().map(name).collect();
    let parsed = checked(&text).and_then(postgres_expression);
    let Ok(SqlExpr::BinaryOp { op, .. }) = parsed else {
        return false;
    };
    use BinaryOperator as Op;
    matches!(op, Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq)
}

/// Plans a query over the project's tables, in the dialect that it shows to be written in.
///
/// # Errors
/// `Model` with what is wrong: bad SQL, several statements, anything that is not a query.
pub fn query(sql: &str) -> Result<LogicalPlan> {
    query_in(dialect_of(sql), sql)
}

/// Plans a query over the project's tables.
///
/// # Errors
/// `Model` with what is wrong: bad SQL, several statements, anything that is not a query.
pub fn query_in(dialect: Dialect, sql: &str) -> Result<LogicalPlan> {
    let statement = match dialect {
        Dialect::PostgreSql => statement(checked(sql)?)?,
        Dialect::ClickHouse => clickhouse::statement(checked(sql)?, SQL_DEPTH_MAX)?,
    };
    if !matches!(statement, Statement::Query(_)) {
        return Err(Error::model("`sql` of a cube must be one SELECT query"));
    }
    let tables = Tables { dialect };
    let planner = SqlToRel::new_with_options(&tables, options(dialect));
    let plan = planner.sql_statement_to_plan(statement).map_err(model_error)?;
    super::check::read_only(&plan)?;
    Ok(plan)
}

fn checked(sql: &str) -> Result<&str> {
    if sql.len() > SQL_BYTES_MAX {
        return Err(Error::model(format!(
            "SQL of {} bytes after expanding its references; at most {SQL_BYTES_MAX} are allowed",
            sql.len()
        )));
    }
    Ok(sql)
}

fn statement(sql: &str) -> Result<Statement> {
    let parser = Parser::new(&PostgreSqlDialect {})
        .with_recursion_limit(SQL_DEPTH_MAX)
        .try_with_sql(sql);
    let statements = parser.and_then(|mut parser| parser.parse_statements());
    let mut statements = statements.map_err(|error| Error::model(error.to_string()))?.into_iter();
    match (statements.next(), statements.next()) {
        (Some(statement), None) => Ok(statement),
        _ => Err(Error::model("exactly one statement is allowed")),
    }
}

fn options(dialect: Dialect) -> ParserOptions {
    match dialect {
        Dialect::PostgreSql => ParserOptions::new(),
        // Names keep their case, and NULL comes last in both orders.
        Dialect::ClickHouse => ParserOptions::new()
            .with_enable_ident_normalization(false)
            .with_default_null_ordering(NullOrdering::NullsLast),
    }
}

/// An error of planning as an error of the model, without the planner's prefixes.
pub fn model_error(error: DataFusionError) -> Error {
    if let DataFusionError::External(inner) = error.find_root()
        && let Some(ours) = inner.downcast_ref::<Error>()
    {
        return Error::new(ours.kind(), ours.message());
    }
    let message = error.strip_backtrace();
    let plain = message
        .rsplit_once("Error: ")
        .map_or(message.as_str(), |(_, last)| last);
    let plain = plain.rsplit_once("error: ").map_or(plain, |(_, last)| last).to_owned();
    Error::model(plain)
}

/// What SQL can name: the tables of the project and the registered functions. There are no table functions, so nothing
/// outside the project can be read.
struct Tables {
    dialect: Dialect,
}

impl ContextProvider for Tables {
    fn get_table_source(&self, name: TableReference) -> datafusion::error::Result<Arc<dyn TableSource>> {
        let known_schema = name.catalog().is_none() && name.schema().is_none_or(|schema| schema == "public");
        if !known_schema {
            return Err(DataFusionError::Plan(format!(
                "table `{name}` does not exist: SQL can read `{}`",
                tables::ALL.join("` and `")
            )));
        }
        tables::source(name.table()).map_err(|error| DataFusionError::Plan(error.message().to_owned()))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        match self.dialect {
            Dialect::PostgreSql => &PLANNERS,
            Dialect::ClickHouse => &CLICKHOUSE_PLANNERS,
        }
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        None
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        let ours = functions::scalar(name).filter(|_| self.dialect == Dialect::ClickHouse);
        ours.or_else(|| functions().scalar_functions().get(name)).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        functions().higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        let ours = functions::aggregate(name).filter(|_| self.dialect == Dialect::ClickHouse);
        ours.or_else(|| functions().aggregate_functions().get(name)).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        functions().window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        functions().config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        functions().scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        functions().higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        functions().aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        functions().window_functions().keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests;
