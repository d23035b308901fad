//! `FILTER_PARAMS` in the SQL of a cube: the place where a query's own filters on a member go.
//!
//! When the cube is compiled, `{FILTER_PARAMS.Cube.member.filter('expression')}` becomes a call of a marker function on
//! that expression; when a query is planned, the marker becomes the query's conditions on the member, or true.

use crate::error::{Error, Result};
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result as PlanResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::{Arc, LazyLock};

/// The marker's name in plans.
const NAME: &str = "filter_params";

/// The marker; it stands in plans and is never run.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Marker {
    signature: Signature,
}

impl ScalarUDFImpl for Marker {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> PlanResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        Err(datafusion::error::DataFusionError::Internal(
            "the place of a query's filters was not filled".to_owned(),
        ))
    }
}

static MARKER: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    Arc::new(ScalarUDF::new_from_impl(Marker {
        signature: Signature::any(2, Volatility::Stable),
    }))
});

/// The marker function.
pub fn marker() -> Arc<ScalarUDF> {
    Arc::clone(&MARKER)
}

/// The SQL for `{FILTER_PARAMS.Cube.member.filter('expression')}`, given without the braces.
///
/// # Errors
/// `Invalid` when the reference is written in a way that is not answered yet.
pub fn render(reference: &str, cube: &str) -> Result<String> {
    let wrong = || {
        Error::invalid(format!(
            "`{{{reference}}}` is not answered: write `{{FILTER_PARAMS.{cube}.member.filter('column')}}`"
        ))
    };
    let path = reference.trim().strip_prefix("FILTER_PARAMS.").ok_or_else(wrong)?;
    let (path, argument) = path.split_once(".filter(").ok_or_else(wrong)?;
    let (named, member) = path.split_once('.').ok_or_else(wrong)?;
    let argument = argument.trim_end().strip_suffix(')').ok_or_else(wrong)?.trim();
    let quoted = ['\'', '"']
        .iter()
        .find_map(|quote| argument.strip_prefix(*quote)?.strip_suffix(*quote));
    let plain = |name: &str| name.chars().all(|c| c.is_alphanumeric() || c == '_');
    match quoted {
        Some(column) if (named == cube || named == "CUBE") && plain(member) => {
            Ok(format!("{NAME}('{member}', ({column}))"))
        }
        _ => Err(wrong()),
    }
}

/// Fills every marker of `plan` with what `condition` makes of its member's name and expression.
///
/// # Errors
/// What `condition` gives.
pub fn fill(plan: LogicalPlan, condition: impl Fn(&str, &Expr) -> Result<Option<Expr>>) -> Result<LogicalPlan> {
    let filled = plan.transform_down_with_subqueries(|node| {
        node.map_expressions(|expr| {
            expr.transform_down(|expr| {
                let Expr::ScalarFunction(call) = &expr else {
                    return Ok(Transformed::no(expr));
                };
                let (NAME, [Expr::Literal(name, _), column]) = (call.name(), call.args.as_slice()) else {
                    return Ok(Transformed::no(expr));
                };
                let name = name.try_as_str().flatten().unwrap_or_default();
                let filled = condition(name, column)
                    .map_err(|error| datafusion::error::DataFusionError::External(error.into()))?;
                let always = Expr::Literal(ScalarValue::Boolean(Some(true)), None);
                Ok(Transformed::yes(filled.unwrap_or(always)))
            })
        })
    })?;
    Ok(filled.data)
}
