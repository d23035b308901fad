//! `windowFunnel`: the longest chain of conditions met in order within a window from its first, with ClickHouse's rules.
//!
//! The rules are those of its source as its documentation describes them, ties and repeated steps included; they are not the
//! product's own funnels, whose default differs where ClickHouse's is surprising.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, UInt8Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, TimeUnit, UInt8Type};
use datafusion::common::{Result as PlanResult, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use std::sync::Arc;

const NAME: &str = "ch_windowFunnel";
/// Microseconds of a second.
const SECOND: i64 = 1_000_000;

/// The functions of this file.
pub fn udafs() -> Vec<AggregateUDF> {
    vec![AggregateUDF::new_from_impl(WindowFunnel {
        signature: Signature::variadic_any(Volatility::Immutable),
    })]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WindowFunnel {
    signature: Signature,
}

/// The modes after the window.
#[derive(Debug, Clone, Copy, Default)]
struct Modes {
    deduplication: bool,
    order: bool,
    increase: bool,
}

impl Modes {
    fn parse(text: &str) -> PlanResult<Self> {
        let mut modes = Self::default();
        for mode in text.split(',').map(str::trim).filter(|mode| !mode.is_empty()) {
            match mode.to_ascii_lowercase().as_str() {
                "strict" | "strict_deduplication" => modes.deduplication = true,
                "strict_order" => modes.order = true,
                "strict_increase" => modes.increase = true,
                "strict_once" | "allow_reentry" => {
                    return Err(plan(format!(
                        "windowFunnel: mode `{mode}` is not answered; leave it out or use a funnel"
                    )));
                }
                other => return Err(plan(format!("windowFunnel: mode `{other}` is not known"))),
            }
        }
        Ok(modes)
    }
}

fn plan(message: impl Into<String>) -> DataFusionError {
    DataFusionError::Plan(message.into())
}

impl AggregateUDFImpl for WindowFunnel {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> PlanResult<DataType> {
        let fine = |data_type: &DataType| {
            data_type.is_integer() || matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Null)
        };
        match types.get(2) {
            Some(at) if fine(at) => Ok(DataType::UInt8),
            Some(other) => Err(plan(format!("windowFunnel takes a DateTime first, not {other}"))),
            None => Err(plan("windowFunnel takes a time and conditions")),
        }
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> PlanResult<Vec<FieldRef>> {
        let list = |name: &str, item: DataType| {
            let name = format_state_name(args.name, name);
            Arc::new(Field::new_list(name, Field::new_list_field(item, true), true))
        };
        Ok(vec![list("at", DataType::Int64), list("step", DataType::UInt8)])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> PlanResult<Box<dyn Accumulator>> {
        let literal = |at: usize| -> PlanResult<ScalarValue> {
            let expr = args
                .exprs
                .get(at)
                .ok_or_else(|| plan("windowFunnel lacks its window"))?;
            let empty = arrow::record_batch::RecordBatch::new_empty(Arc::new(args.schema.clone()));
            match expr.evaluate(&empty)? {
                datafusion::logical_expr::ColumnarValue::Scalar(scalar) => Ok(scalar),
                _ => Err(plan("the window of windowFunnel must be a constant")),
            }
        };
        let ScalarValue::Int64(Some(window)) = literal(0)?.cast_to(&DataType::Int64)? else {
            return Err(plan("the window of windowFunnel must be a whole number"));
        };
        let modes = Modes::parse(literal(1)?.try_as_str().flatten().unwrap_or_default())?;
        let is_time = matches!(
            args.expr_fields.get(2).map(|field| field.data_type().clone()),
            Some(DataType::Timestamp(..))
        );
        Ok(Box::new(Steps {
            window: if is_time { window.saturating_mul(SECOND) } else { window },
            modes,
            steps: args.exprs.len().saturating_sub(3),
            found: Vec::new(),
        }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// The steps met by one group: when, and which, counted from 1; 0 is a row that met none.
#[derive(Debug)]
struct Steps {
    /// In the unit of `found`.
    window: i64,
    modes: Modes,
    steps: usize,
    found: Vec<(i64, u8)>,
}

/// Times as numbers: instants in microseconds, days and whole numbers as they are.
fn numbers(array: &ArrayRef) -> PlanResult<Int64Array> {
    let whole = match array.data_type() {
        DataType::Timestamp(_, zone) => cast(
            &cast(array, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?,
            &DataType::Int64,
        )?,
        DataType::Date32 => cast(&cast(array, &DataType::Int32)?, &DataType::Int64)?,
        _ => cast(array, &DataType::Int64)?,
    };
    Ok(whole.as_primitive::<Int64Type>().clone())
}

impl Accumulator for Steps {
    fn update_batch(&mut self, values: &[ArrayRef]) -> PlanResult<()> {
        let [_, _, at, conditions @ ..] = values else {
            return Err(plan("windowFunnel lacks its arguments"));
        };
        let at = numbers(at)?;
        let conditions: Vec<BooleanArray> = conditions
            .iter()
            .map(|condition| Ok(cast(condition, &DataType::Boolean)?.as_boolean().clone()))
            .collect::<PlanResult<_>>()?;
        for row in (0..at.len()).filter(|row| at.is_valid(*row)) {
            // An unknown condition is not met. (Of columns that can be NULL, ClickHouse leaves out the whole row; but the
            // columns that its models were written for cannot, and were empty where ours are NULL.)
            let mut any = false;
            for (index, condition) in conditions.iter().enumerate().rev() {
                if condition.is_valid(row) && condition.value(row) {
                    any = true;
                    self.found
                        .push((at.value(row), u8::try_from(index + 1).unwrap_or(u8::MAX)));
                }
            }
            if !any && self.modes.order {
                self.found.push((at.value(row), 0));
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> PlanResult<ScalarValue> {
        self.found.sort_by_key(|(at, step)| (*at, *step));
        let level = level(&self.found, self.steps, self.window, self.modes);
        Ok(ScalarValue::UInt8(Some(u8::try_from(level).unwrap_or(u8::MAX))))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.found.capacity() * size_of::<(i64, u8)>()
    }

    fn state(&mut self) -> PlanResult<Vec<ScalarValue>> {
        let at: Int64Array = self.found.iter().map(|(at, _)| Some(*at)).collect();
        let steps: UInt8Array = self.found.iter().map(|(_, step)| Some(*step)).collect();
        let list = |values: ArrayRef| {
            let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
            let offsets = OffsetBuffer::from_lengths([values.len()]);
            ScalarValue::List(Arc::new(ListArray::new(field, offsets, values, None)))
        };
        Ok(vec![list(Arc::new(at)), list(Arc::new(steps))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> PlanResult<()> {
        let [at, steps] = states else {
            return Err(plan("windowFunnel has two states"));
        };
        let (at, steps) = (at.as_list::<i32>(), steps.as_list::<i32>());
        for row in (0..at.len()).filter(|row| at.is_valid(*row)) {
            let (at, steps) = (at.value(row), steps.value(row));
            let (at, steps) = (at.as_primitive::<Int64Type>(), steps.as_primitive::<UInt8Type>());
            self.found
                .extend(at.values().iter().copied().zip(steps.values().iter().copied()));
        }
        Ok(())
    }
}

/// The deepest step that a chain reached.
fn level(found: &[(i64, u8)], steps: usize, window: i64, modes: Modes) -> usize {
    if found.is_empty() {
        return 0;
    }
    if !modes.order && steps == 1 {
        return 1;
    }
    // For each step reached: when its chain began, and when it was reached.
    let mut reached: Vec<Option<(i64, i64)>> = vec![None; steps];
    let mut begun = false;
    for (row, (at, step)) in found.iter().enumerate() {
        let Some(step) = usize::from(*step).checked_sub(1) else {
            if begun {
                break;
            }
            continue;
        };
        if step == 0 {
            reached[0] = Some((*at, *at));
            begun = true;
        } else if modes.deduplication && reached[step].is_some() {
            return usize::from(found[row - 1].1);
        } else if modes.order && begun && reached[step - 1].is_none() {
            return reached.iter().position(Option::is_none).unwrap_or(steps);
        } else if let Some((began, last)) = reached[step - 1] {
            let in_time = *at <= began.saturating_add(window);
            if in_time && (!modes.increase || last < *at) {
                reached[step] = Some((began, *at));
                if step + 1 == steps {
                    return steps;
                }
            }
        }
    }
    (0..steps)
        .rev()
        .find(|step| reached[*step].is_some())
        .map_or(0, |step| step + 1)
}
