//! What a model's SQL asks of the request: claims of its token (`SECURITY_CONTEXT`), its filters (`FILTER_PARAMS`,
//! `FILTER_GROUP`) and its time zone (`SQL_UTILS.convertTz`).
//!
//! When a cube is compiled, such a reference becomes a call of a marker function ([`render`]); when a query is planned,
//! [`fill`] puts literals and conditions in the place of the markers. A value never becomes text of SQL.

mod asked;
mod reference;

pub use asked::Asked;
pub use reference::Surroundings;

use crate::error::{Error, Result};
use crate::model::{Piece, SqlTemplate};
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result as PlanResult};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};
use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

#[cfg(test)]
mod tests;

/// A claim's value: `(path)`.
const VALUE: &str = "security_value";
/// The condition that a column has a claim's value: `(path, label, required, column or lambda)`.
const FILTER: &str = "security_filter";
/// The query's filters on members: `(member, column or lambda, …)`.
const GROUP: &str = "filter_params";
/// Marks an expression with values in it instead of a column.
const LAMBDA: &str = "filter_lambda";
/// A filter's value inside a lambda, by its place: an instant.
const TIME: &str = "filter_time";
/// The same: a number.
const NUMBER: &str = "filter_number";
/// The same: true or false.
const TRUTH: &str = "filter_truth";
/// The same: text.
const TEXT: &str = "filter_text";
/// An instant on the wall clock of the query's time zone.
const LOCAL: &str = "convert_tz";

/// A marker; it stands in plans and is never run.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Marker {
    name: &'static str,
    returns: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for Marker {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> PlanResult<DataType> {
        Ok(self.returns.clone())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        Err(DataFusionError::Internal(format!(
            "the marker `{}` was not replaced by what the request says",
            self.name
        )))
    }
}

static MARKERS: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(|| {
    let wall_clock = DataType::Timestamp(TimeUnit::Microsecond, None);
    let kinds = [
        (VALUE, DataType::Utf8),
        (FILTER, DataType::Boolean),
        (GROUP, DataType::Boolean),
        (LAMBDA, DataType::Boolean),
        (TIME, super::filter::instant_type()),
        (NUMBER, DataType::Float64),
        (TRUTH, DataType::Boolean),
        (TEXT, DataType::Utf8),
        (LOCAL, wall_clock),
    ];
    let marker = |(name, returns)| {
        Arc::new(ScalarUDF::new_from_impl(Marker {
            name,
            returns,
            signature: Signature::variadic_any(Volatility::Stable),
        }))
    };
    kinds.into_iter().map(marker).collect()
});

/// The marker functions.
pub fn markers() -> &'static [Arc<ScalarUDF>] {
    &MARKERS
}

/// Whether `reference`, written without its braces, asks something of the request.
pub fn is_reference(reference: &str) -> bool {
    let root = reference.split(['.', '(', '[']).next().unwrap_or_default().trim();
    matches!(
        root,
        "SECURITY_CONTEXT" | "securityContext" | "FILTER_PARAMS" | "FILTER_GROUP" | "SQL_UTILS"
    )
}

/// The SQL for `reference`, written without its braces, to be put where an expression can stand.
///
/// # Errors
/// `Model` when the reference is not written as it must be.
pub fn render(reference: &str, around: &Surroundings<'_>) -> Result<String> {
    reference::render(reference, around)
}

/// The pieces of `template` with every quoted text that has a reference to the request in it taken apart, so that the
/// reference stands where an expression can: `'a{…}b'` becomes `('a' || {…} || 'b')`.
pub fn pieces(template: &SqlTemplate) -> Cow<'_, [Piece]> {
    let has_reference = |piece: &Piece| matches!(piece, Piece::Context(text) if is_reference(text));
    if !template.pieces.iter().any(has_reference) {
        return Cow::Borrowed(&template.pieces);
    }
    let mut quotes = Quotes::default();
    let mut all: Vec<Piece> = Vec::with_capacity(template.pieces.len());
    for piece in &template.pieces {
        match piece {
            Piece::Text(text) => {
                let text = quotes.text(text, all.len());
                all.push(Piece::Text(text));
            }
            Piece::Context(text) if is_reference(text) && quotes.opened.is_some() => {
                quotes.interrupt(&mut all);
                all.push(Piece::Context(text.clone()));
            }
            other => all.push(other.clone()),
        }
    }
    Cow::Owned(all)
}

/// Where the quoted text that the scan is in began.
#[derive(Default)]
struct Quotes {
    /// The piece and the byte of its quote.
    opened: Option<(usize, usize)>,
    /// Whether it is taken apart, which needs a parenthesis at its end.
    apart: bool,
    /// Whether the last piece was a reference inside it.
    resume: bool,
}

impl Quotes {
    /// Follows the quotes of `text`, which will be the piece `at`.
    fn text(&mut self, text: &str, at: usize) -> String {
        let mut out = String::with_capacity(text.len() + 8);
        if std::mem::take(&mut self.resume) {
            out.push_str(" || '");
        }
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let begins = out.len();
            out.push(c);
            if c != '\'' {
                continue;
            }
            if self.opened.is_some() && chars.next_if_eq(&'\'').is_some() {
                // Two quotes are one in the text.
                out.push('\'');
                continue;
            }
            match self.opened.take() {
                None => self.opened = Some((at, begins)),
                Some(_) if std::mem::take(&mut self.apart) => out.push(')'),
                Some(_) => {}
            }
        }
        out
    }

    /// Ends the quoted text for a reference.
    fn interrupt(&mut self, all: &mut Vec<Piece>) {
        let Some((piece, byte)) = self.opened else { return };
        if !std::mem::replace(&mut self.apart, true)
            && let Some(Piece::Text(text)) = all.get_mut(piece)
        {
            text.insert(byte, '(');
        }
        match all.last_mut() {
            _ if std::mem::replace(&mut self.resume, true) => all.push(Piece::Text(" || ".to_owned())),
            Some(Piece::Text(text)) => text.push_str("' || "),
            _ => all.push(Piece::Text("' || ".to_owned())),
        }
    }
}

/// The name and the arguments of a marker.
fn call(expr: &Expr) -> Option<(&'static str, &[Expr])> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let marker = call.func.inner().downcast_ref::<Marker>()?;
    Some((marker.name, &call.args))
}

fn has_marker(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(call(expr).is_some())).unwrap_or(true)
}

/// Replaces every marker of `plan` by what the request says.
///
/// # Errors
/// `Invalid` when a required claim is missing or a claim cannot be compared, `Execution` when a value does not fit.
pub fn fill(plan: LogicalPlan, asked: &Asked<'_>) -> Result<LogicalPlan> {
    let mut values = false;
    let filled = plan.transform_up_with_subqueries(|node| {
        let mut marked = false;
        node.apply_expressions(|expr| {
            marked |= has_marker(expr);
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
        })?;
        if !marked {
            return Ok(Transformed::no(node));
        }
        values = true;
        let schema = merge_schema(&node.inputs());
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let filled = filled(expr, &schema, asked).map_err(|error| DataFusionError::External(error.into()))?;
            Ok(Transformed::yes(name.restore(filled)))
        })
    });
    let plan = filled.map_err(ours)?.data;
    if !values {
        return Ok(plan);
    }
    // A claim has the type of its value, which need not be the marker's.
    let plan = plan.transform_up_with_subqueries(|node| node.recompute_schema().map(Transformed::yes));
    Ok(plan.map_err(ours)?.data)
}

/// [`fill`] for one expression over the columns of `schema`.
///
/// # Errors
/// As [`fill`].
pub fn fill_expression(expr: Expr, schema: &DFSchema, asked: &Asked<'_>) -> Result<Expr> {
    match has_marker(&expr) {
        true => filled(expr, schema, asked),
        false => Ok(expr),
    }
}

/// An error that passed through the planner, as it was.
pub(crate) fn ours(error: DataFusionError) -> Error {
    if let DataFusionError::External(inner) = error.find_root()
        && let Some(ours) = inner.downcast_ref::<Error>()
    {
        return Error::new(ours.kind(), ours.message());
    }
    error.into()
}

/// `expr` with its markers replaced. `schema` has the columns it can name.
fn filled(expr: Expr, schema: &DFSchema, asked: &Asked<'_>) -> Result<Expr> {
    // From the outside in, because a marker decides what becomes of the markers in it.
    let done = expr.transform_down(|expr| {
        if let Expr::InList(list) = &expr {
            let listed = in_list(list, asked).map_err(|error| DataFusionError::External(error.into()))?;
            return Ok(listed.map_or_else(|| Transformed::no(expr), Transformed::yes));
        }
        let Some((name, arguments)) = call(&expr) else {
            return Ok(Transformed::no(expr));
        };
        let replaced = match name {
            VALUE => asked.value(arguments),
            FILTER => asked.claim_filter(arguments, schema),
            GROUP => asked.group(arguments, schema),
            LOCAL => asked.local(arguments, schema),
            other => Err(Error::internal(format!("the marker `{other}` stands alone"))),
        };
        let replaced = replaced.map_err(|error| DataFusionError::External(error.into()))?;
        Ok(Transformed::yes(replaced))
    });
    Ok(done.map_err(ours)?.data)
}

/// `column IN ({claim})` with the elements of a claim that is a list in its place; `None` when no claim is in the list.
fn in_list(list: &InList, asked: &Asked<'_>) -> Result<Option<Expr>> {
    let is_value = |expr: &Expr| call(expr).is_some_and(|(name, _)| name == VALUE);
    if !list.list.iter().any(is_value) {
        return Ok(None);
    }
    let mut elements = Vec::with_capacity(list.list.len());
    for element in &list.list {
        match call(element) {
            Some((VALUE, arguments)) => elements.extend(asked.elements(arguments)?),
            _ => elements.push(element.clone()),
        }
    }
    Ok(Some(match elements.is_empty() {
        true => lit(list.negated),
        false => list.expr.as_ref().clone().in_list(elements, list.negated),
    }))
}
