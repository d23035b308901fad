//! Choices and NULL: all of them forms of the engine's own `CASE` and `coalesce`.

use super::{Call, build};
use crate::error::{Error, Result};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result as PlanResult;
use datafusion::functions::core::coalesce as engine_coalesce;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr as PlanExpr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr};

const COALESCE: &str = "ch_coalesce";

/// The function that `ifNull` and `coalesce` become.
pub fn coalesce_udf() -> ScalarUDF {
    ScalarUDF::new_from_impl(Coalesce {
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

/// The engine's `coalesce`, for arguments of which some are conditions and some numbers, as in `ifNull(is_bot, 0)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Coalesce {
    signature: Signature,
}

impl ScalarUDFImpl for Coalesce {
    fn name(&self) -> &str {
        COALESCE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> PlanResult<Vec<DataType>> {
        let mixed = types.iter().any(DataType::is_numeric);
        let types: Vec<DataType> = types
            .iter()
            .map(|found| {
                if mixed && *found == DataType::Boolean {
                    DataType::UInt8
                } else {
                    found.clone()
                }
            })
            .collect();
        engine_coalesce().coerce_types(&types)
    }

    fn return_type(&self, types: &[DataType]) -> PlanResult<DataType> {
        engine_coalesce().return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> PlanResult<FieldRef> {
        engine_coalesce().return_field_from_args(args)
    }

    fn simplify(&self, args: Vec<PlanExpr>, _: &SimplifyContext) -> PlanResult<ExprSimplifyResult> {
        Ok(ExprSimplifyResult::Simplified(engine_coalesce().call(args)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        engine_coalesce().invoke_with_args(args)
    }
}

/// `if(condition, then, else)`.
pub fn choose(call: Call) -> Result<Expr> {
    let [condition, then, otherwise] = call.exactly()?;
    Ok(build::case(vec![(condition, then)], Some(otherwise)))
}

/// `multiIf(condition, then, …, else)`.
pub fn multi_if(call: Call) -> Result<Expr> {
    call.count(3, usize::MAX)?;
    if call.args.len().is_multiple_of(2) {
        return Err(Error::model(
            "`multiIf` takes pairs of a condition and a value, and one value more",
        ));
    }
    let mut args = call.args;
    let otherwise = args.pop();
    let mut branches = Vec::with_capacity(args.len() / 2);
    let mut args = args.into_iter();
    while let (Some(condition), Some(then)) = (args.next(), args.next()) {
        branches.push((condition, then));
    }
    Ok(build::case(branches, otherwise))
}

/// `ifNull(value, otherwise)` and `coalesce(…)`.
pub fn coalesce(call: Call) -> Result<Expr> {
    call.count(1, usize::MAX)?;
    Ok(build::function(COALESCE, call.args))
}

/// `nullIf(a, b)`: `a`, or NULL when they are equal.
pub fn null_if(call: Call) -> Result<Expr> {
    let [left, right] = call.exactly()?;
    let equal = build::binary(left.clone(), BinaryOperator::Eq, right);
    Ok(build::case(vec![(equal, build::null())], Some(left)))
}

/// `isNull(x)`.
pub fn is_null(call: Call) -> Result<Expr> {
    let [value] = call.exactly()?;
    Ok(build::is_null(value))
}

/// `isNotNull(x)`.
pub fn is_not_null(call: Call) -> Result<Expr> {
    let [value] = call.exactly()?;
    Ok(build::is_not_null(value))
}

/// `isZeroOrNull(x)`.
pub fn is_zero_or_null(call: Call) -> Result<Expr> {
    let [value] = call.exactly()?;
    let zero = build::binary(value.clone(), BinaryOperator::Eq, build::number(0));
    Ok(build::function("coalesce", vec![zero, build::boolean(true)]))
}

/// `toNullable(x)`, `materialize(x)`, `identity(x)`: the value.
pub fn itself(call: Call) -> Result<Expr> {
    let [value] = call.exactly()?;
    Ok(build::nested(value))
}

/// `and(a, b, …)`.
pub fn and(call: Call) -> Result<Expr> {
    call.count(2, usize::MAX)?;
    let all = call.args.into_iter().map(build::truth);
    all.reduce(build::and).ok_or_else(|| Error::internal("no argument"))
}

/// `or(a, b, …)`.
pub fn or(call: Call) -> Result<Expr> {
    call.count(2, usize::MAX)?;
    let all = call.args.into_iter().map(build::truth);
    all.reduce(build::or).ok_or_else(|| Error::internal("no argument"))
}

/// `xor(a, b)`.
pub fn xor(call: Call) -> Result<Expr> {
    let [left, right] = call.exactly()?;
    Ok(build::binary(
        build::truth(left),
        BinaryOperator::NotEq,
        build::truth(right),
    ))
}

/// `not(x)`.
pub fn not(call: Call) -> Result<Expr> {
    let [value] = call.exactly()?;
    Ok(build::not(build::truth(value)))
}

macro_rules! operator {
    ($($(#[$doc:meta])* $name:ident $op:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name(call: Call) -> Result<Expr> {
            let [left, right] = call.exactly()?;
            Ok(build::binary(left, BinaryOperator::$op, right))
        }
    )*};
}

operator! {
    /// `equals(a, b)`.
    equals Eq;
    /// `notEquals(a, b)`.
    not_equals NotEq;
    /// `less(a, b)`.
    less Lt;
    /// `lessOrEquals(a, b)`.
    less_or_equals LtEq;
    /// `greater(a, b)`.
    greater Gt;
    /// `greaterOrEquals(a, b)`.
    greater_or_equals GtEq;
    /// `plus(a, b)`.
    plus Plus;
    /// `minus(a, b)`.
    minus Minus;
    /// `multiply(a, b)`.
    multiply Multiply;
    /// `divide(a, b)`.
    divide Divide;
    /// `modulo(a, b)`.
    modulo Modulo;
}

/// `in(x, (1, 2))`.
pub fn in_list(call: Call) -> Result<Expr> {
    among(call, false)
}

/// `notIn(x, (1, 2))`.
pub fn not_in_list(call: Call) -> Result<Expr> {
    among(call, true)
}

fn among(call: Call, negated: bool) -> Result<Expr> {
    let [value, list] = call.exactly()?;
    let list = match list {
        Expr::Tuple(list) => list,
        one => vec![one],
    };
    Ok(Expr::InList {
        expr: Box::new(value),
        list,
        negated,
    })
}
