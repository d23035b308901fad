//! `time_piece(at, zone, months, micros, edges)` and `rank_in(number, list)`: the place of an instant, or of a number, in an
//! ascending list. Windows of time are made of such pieces, so that rows are cut exactly at their edges.

use super::bucket::ShiftedClock;
use crate::query::plan::{PIECE, RANK};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result as PlanResult, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::sync::Arc;

/// Both functions, for registration.
pub fn udfs() -> [Arc<ScalarUDF>; 2] {
    [false, true].map(|of_instants| {
        Arc::new(ScalarUDF::new_from_impl(Place {
            of_instants,
            signature: Signature::any(if of_instants { 5 } else { 2 }, Volatility::Immutable),
        }))
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Place {
    of_instants: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Place {
    fn name(&self) -> &str {
        if self.of_instants { PIECE } else { RANK }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> PlanResult<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let wrong = || DataFusionError::Internal(format!("{} has wrong arguments", self.name()));
        let Some(ColumnarValue::Scalar(ScalarValue::List(list))) = args.args.last() else {
            return Err(wrong());
        };
        let list = list.values().as_primitive_opt::<Int64Type>().ok_or_else(wrong)?;
        let list = list.values();
        let (one, of) = match args.args.first() {
            Some(ColumnarValue::Array(array)) => (false, Arc::clone(array)),
            Some(ColumnarValue::Scalar(scalar)) => (true, scalar.to_array()?),
            None => return Err(wrong()),
        };
        let mut before = 0_usize;
        // Neighbours mostly lie in one piece.
        let mut rank = |number: i64| {
            let fits = |at: usize| {
                let above = at.checked_sub(1).and_then(|at| list.get(at));
                above.is_none_or(|edge| *edge <= number) && list.get(at).is_none_or(|edge| *edge > number)
            };
            if !fits(before) {
                before = list.partition_point(|edge| *edge <= number);
            }
            i64::try_from(before).unwrap_or(i64::MAX)
        };
        let ranks: Int64Array = if self.of_instants {
            let [_, zone, months, micros, _] = args.args.as_slice() else {
                return Err(wrong());
            };
            let mut clock = ShiftedClock::of(zone, months, micros)?;
            let of = instants(&of)?;
            let of = of.as_primitive::<TimestampMicrosecondType>();
            of.iter()
                .map(|at| at.and_then(|at| clock.local(at)).map(&mut rank))
                .collect()
        } else {
            let of = of.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?;
            of.iter().map(|number| number.map(&mut rank)).collect()
        };
        match one {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&ranks, 0)?)),
            false => Ok(ColumnarValue::Array(Arc::new(ranks))),
        }
    }
}

/// Instants in microseconds.
fn instants(array: &ArrayRef) -> PlanResult<ArrayRef> {
    let wanted = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    match array.data_type() {
        found if *found == wanted => Ok(Arc::clone(array)),
        _ => Ok(arrow::compute::cast(array, &wanted)?),
    }
}
