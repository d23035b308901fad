//! `EXTRACT(EPOCH FROM …)` as PostgreSQL means it: seconds with their fraction, of differences of instants too.

use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Field, Int64Type, TimeUnit};
use datafusion::common::{Result as PlanResult, ScalarValue};
use datafusion::functions::datetime::date_part;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::{Arc, LazyLock};

const PART: &str = "epoch";

/// Plans `EXTRACT(EPOCH FROM x)`; other parts are left to the query engine.
#[derive(Debug)]
pub(super) struct EpochPlanner;

impl ExprPlanner for EpochPlanner {
    fn plan_extract(&self, mut args: Vec<Expr>) -> PlanResult<PlannerResult<Vec<Expr>>> {
        let is_epoch = match args.as_slice() {
            [Expr::Literal(part, _), _] => part
                .try_as_str()
                .flatten()
                .is_some_and(|p| p.eq_ignore_ascii_case(PART)),
            _ => false,
        };
        if !is_epoch {
            return Ok(PlannerResult::Original(args));
        }
        args.remove(0);
        Ok(PlannerResult::Planned(FUNCTION.call(args)))
    }
}

static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    Arc::new(ScalarUDF::new_from_impl(Epoch {
        signature: Signature::any(1, Volatility::Immutable),
    }))
});

#[derive(Debug, PartialEq, Eq, Hash)]
struct Epoch {
    signature: Signature,
}

impl ScalarUDFImpl for Epoch {
    fn name(&self) -> &str {
        PART
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> PlanResult<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let duration = args.args.first().map(ColumnarValue::data_type);
        if let Some(DataType::Duration(unit)) = duration {
            let arrays = ColumnarValue::values_to_arrays(&args.args)?;
            let seconds: PlanResult<Vec<ArrayRef>> = arrays.iter().map(|array| seconds(array, unit)).collect();
            return match seconds?.into_iter().next() {
                Some(array) => Ok(ColumnarValue::Array(array)),
                None => Ok(ColumnarValue::Scalar(ScalarValue::Float64(None))),
            };
        }
        args.args.insert(0, ColumnarValue::Scalar(ScalarValue::from(PART)));
        args.arg_fields
            .insert(0, Arc::new(Field::new("part", DataType::Utf8, false)));
        date_part().invoke_with_args(args)
    }
}

fn seconds(array: &ArrayRef, unit: TimeUnit) -> PlanResult<ArrayRef> {
    let per_second = match unit {
        TimeUnit::Second => 1.0,
        TimeUnit::Millisecond => 1e3,
        TimeUnit::Microsecond => 1e6,
        TimeUnit::Nanosecond => 1e9,
    };
    let raw = arrow::compute::cast(array, &DataType::Int64)?;
    let seconds: Float64Array = raw.as_primitive::<Int64Type>().unary(|count| count as f64 / per_second);
    Ok(Arc::new(seconds))
}
