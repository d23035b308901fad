//! ClickHouse's meaning of operators: `/` gives a float, integers grow instead of overflowing, conditions are numbers, and
//! an integer added to a day or an instant counts days or seconds.

use crate::functions;
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result as PlanResult, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, Operator};
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Plans binary operators; those that mean the same are left to the engine.
#[derive(Debug)]
pub(in crate::query::sql) struct Operators;

impl ExprPlanner for Operators {
    fn plan_binary_op(&self, raw: RawBinaryExpr, schema: &DFSchema) -> PlanResult<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, left, right } = raw;
        let types = (type_of(&left, schema)?, type_of(&right, schema)?);
        match op {
            BinaryOperator::Divide => {
                let (left, right) = (cast(left, DataType::Float64), cast(right, DataType::Float64));
                Ok(PlannerResult::Planned(binary(left, Operator::Divide, right)))
            }
            BinaryOperator::And | BinaryOperator::Or => {
                let op = if op == BinaryOperator::And {
                    Operator::And
                } else {
                    Operator::Or
                };
                Ok(PlannerResult::Planned(binary(
                    truth(left, &types.0)?,
                    op,
                    truth(right, &types.1)?,
                )))
            }
            BinaryOperator::Plus | BinaryOperator::Minus | BinaryOperator::Multiply | BinaryOperator::Modulo => {
                arithmetic(op, left, right, types)
            }
            BinaryOperator::MyIntegerDivide => Ok(PlannerResult::Planned(call("ch_intDiv", vec![left, right])?)),
            BinaryOperator::StringConcat => Ok(PlannerResult::Planned(call("ch_concat", vec![left, right])?)),
            BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq => Ok(PlannerResult::Original(comparison(op, left, right, types))),
            op => Ok(PlannerResult::Original(RawBinaryExpr { op, left, right })),
        }
    }
}

fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

fn cast(expr: Expr, to: DataType) -> Expr {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), metadata) if to == DataType::Float64 => {
            Expr::Literal(ScalarValue::Float64(Some(value as f64)), metadata)
        }
        expr => Expr::Cast(Cast::new(Box::new(expr), to)),
    }
}

fn call(name: &str, args: Vec<Expr>) -> PlanResult<Expr> {
    let function = functions::scalar(name);
    let function = function.ok_or_else(|| DataFusionError::Internal(format!("there is no function `{name}`")))?;
    Ok(function.call(args))
}

/// The type; that of a whole number written out is the smallest that holds it, as in ClickHouse.
fn type_of(expr: &Expr, schema: &DFSchema) -> PlanResult<DataType> {
    if let Expr::Literal(ScalarValue::Int64(Some(value)), _) = expr {
        return Ok(match *value {
            0..=0xff => DataType::UInt8,
            0x100..=0xffff => DataType::UInt16,
            0x1_0000..=0xffff_ffff => DataType::UInt32,
            0x1_0000_0000.. => DataType::UInt64,
            -0x80..=-1 => DataType::Int8,
            -0x8000..=-0x81 => DataType::Int16,
            -0x8000_0000..=-0x8001 => DataType::Int32,
            _ => DataType::Int64,
        });
    }
    expr.get_type(schema)
}

fn truth(expr: Expr, data_type: &DataType) -> PlanResult<Expr> {
    match data_type {
        DataType::Boolean | DataType::Null => Ok(expr),
        _ => call(functions::TRUTH, vec![expr]),
    }
}

fn is_instant(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..))
}

fn is_temporal(data_type: &DataType) -> bool {
    is_instant(data_type) || matches!(data_type, DataType::Date32 | DataType::Date64)
}

fn arithmetic(
    op: BinaryOperator,
    left: Expr,
    right: Expr,
    types: (DataType, DataType),
) -> PlanResult<PlannerResult<RawBinaryExpr>> {
    let number = |expr: Expr, data_type: DataType| match data_type {
        DataType::Boolean => (cast(expr, DataType::UInt8), DataType::UInt8),
        data_type => (expr, data_type),
    };
    let ((left, left_type), (right, right_type)) = (number(left, types.0), number(right, types.1));
    let shifted = |what: Expr, data_type: &DataType, by: Expr| {
        let name = if is_instant(data_type) {
            "ch_addSeconds"
        } else {
            "ch_addDays"
        };
        call(name, vec![what, by]).map(PlannerResult::Planned)
    };
    match op {
        BinaryOperator::Plus if is_temporal(&left_type) && right_type.is_integer() => {
            return shifted(left, &left_type, right);
        }
        BinaryOperator::Plus if is_temporal(&right_type) && left_type.is_integer() => {
            return shifted(right, &right_type, left);
        }
        BinaryOperator::Minus if is_temporal(&left_type) && right_type.is_integer() => {
            return shifted(left, &left_type, Expr::Negative(Box::new(cast(right, DataType::Int64))));
        }
        BinaryOperator::Minus if is_temporal(&left_type) && is_temporal(&right_type) => {
            return call("ch_minus", vec![left, right]).map(PlannerResult::Planned);
        }
        _ => {}
    }
    let (left, right) = match grown(&op, &left_type, &right_type) {
        Some(grown) => {
            let fitted = |expr: Expr, data_type: DataType| match data_type {
                data_type if data_type == grown && !matches!(expr, Expr::Literal(..)) => expr,
                _ => cast(expr, grown.clone()),
            };
            (fitted(left, left_type), fitted(right, right_type))
        }
        None => (left, right),
    };
    Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
}

/// The type in which integers are added, subtracted and multiplied: one step wider than the wider one, signed when one of
/// them is or for a difference.
fn grown(op: &BinaryOperator, left: &DataType, right: &DataType) -> Option<DataType> {
    if !left.is_integer() || !right.is_integer() {
        return None;
    }
    let widest = left.primitive_width()?.max(right.primitive_width()?);
    let width = if *op == BinaryOperator::Modulo {
        widest
    } else {
        (widest * 2).min(8)
    };
    let signed = left.is_signed_integer() || right.is_signed_integer() || *op == BinaryOperator::Minus;
    Some(match (signed, width) {
        (true, 1) => DataType::Int8,
        (true, 2) => DataType::Int16,
        (true, 4) => DataType::Int32,
        (true, _) => DataType::Int64,
        (false, 1) => DataType::UInt8,
        (false, 2) => DataType::UInt16,
        (false, 4) => DataType::UInt32,
        (false, _) => DataType::UInt64,
    })
}

/// Conditions compared with numbers: `is_bot = 1`.
fn comparison(op: BinaryOperator, left: Expr, right: Expr, types: (DataType, DataType)) -> RawBinaryExpr {
    let of_number = |expr: Expr| match expr {
        Expr::Literal(ScalarValue::Int64(Some(number @ (0 | 1))), metadata) => {
            Expr::Literal(ScalarValue::Boolean(Some(number == 1)), metadata)
        }
        expr => expr,
    };
    let (left, right) = match types {
        (DataType::Boolean, found) if found.is_numeric() => match of_number(right) {
            right @ Expr::Literal(ScalarValue::Boolean(_), _) => (left, right),
            right => (cast(left, DataType::UInt8), right),
        },
        (found, DataType::Boolean) if found.is_numeric() => match of_number(left) {
            left @ Expr::Literal(ScalarValue::Boolean(_), _) => (left, right),
            left => (left, cast(right, DataType::UInt8)),
        },
        _ => (left, right),
    };
    RawBinaryExpr { op, left, right }
}
