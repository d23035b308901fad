//! Aggregates of the engine that give a value where it gives NULL for a group without rows.
//!
//! ClickHouse's `sum` of a column that cannot be NULL is 0 when there are no rows, `avg` is NaN, `max` of texts is the empty
//! one; of a column that can be NULL they are NULL. What stands here asks the engine's aggregate and fills its NULLs.

use crate::functions::arithmetic;
use arrow::array::{ArrayRef, BooleanArray, Scalar, make_array};
use arrow::compute::is_not_null;
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result as PlanResult, ScalarValue};
use datafusion::functions_aggregate as engine;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use std::sync::Arc;

/// The engine's aggregates that are filled, with whether NaN fills them.
fn filled() -> Vec<(Arc<AggregateUDF>, bool)> {
    vec![
        (engine::sum::sum_udaf(), false),
        (engine::min_max::min_udaf(), false),
        (engine::min_max::max_udaf(), false),
        (engine::first_last::first_value_udaf(), false),
        (engine::first_last::last_value_udaf(), false),
        (engine::array_agg::array_agg_udaf(), false),
        (engine::string_agg::string_agg_udaf(), false),
        (engine::bit_and_or_xor::bit_and_udaf(), false),
        (engine::bit_and_or_xor::bit_or_udaf(), false),
        (engine::bit_and_or_xor::bit_xor_udaf(), false),
        (engine::average::avg_udaf(), true),
        (engine::stddev::stddev_pop_udaf(), true),
        (engine::stddev::stddev_udaf(), true),
        (engine::variance::var_pop_udaf(), true),
        (engine::variance::var_samp_udaf(), true),
        (engine::correlation::corr_udaf(), true),
        (engine::covariance::covar_pop_udaf(), true),
        (engine::covariance::covar_samp_udaf(), true),
    ]
}

/// Each of them twice: filled where no argument can be NULL, and always.
pub(super) fn udafs() -> Vec<AggregateUDF> {
    let mut all = Vec::new();
    for (inner, nan) in filled() {
        for (always, suffix) in [(false, ""), (true, "_or_default")] {
            let name = format!("{}{}{suffix}", crate::functions::PREFIX, inner.name());
            all.push(AggregateUDF::new_from_impl(Defaulted {
                name,
                inner: Arc::clone(&inner),
                signature: Signature::user_defined(Volatility::Immutable),
                always,
                nan,
            }));
        }
    }
    all
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Defaulted {
    name: String,
    inner: Arc<AggregateUDF>,
    signature: Signature,
    always: bool,
    nan: bool,
}

impl Defaulted {
    /// What fills NULLs, when something does.
    fn filler(&self, fields: &[FieldRef], returned: &DataType) -> PlanResult<Option<ScalarValue>> {
        // A literal beside the values, such as a quantile's level, says nothing.
        let never_null = fields.first().is_some_and(|field| !field.is_nullable());
        if !(self.always || never_null) {
            return Ok(None);
        }
        Ok(Some(match (self.nan, returned) {
            (true, DataType::Float64) => ScalarValue::Float64(Some(f64::NAN)),
            (true, DataType::Float32) => ScalarValue::Float32(Some(f32::NAN)),
            _ => arithmetic::empty_of(returned)?,
        }))
    }
}

impl AggregateUDFImpl for Defaulted {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> PlanResult<Vec<DataType>> {
        // Conditions are numbers to ClickHouse: their sum is their count.
        let numbers = matches!(self.inner.name(), "sum" | "avg" | "bit_and" | "bit_or" | "bit_xor");
        let fields = types.iter().map(|found| {
            let found = match found {
                DataType::Boolean if numbers => DataType::UInt8,
                other => other.clone(),
            };
            Arc::new(Field::new("argument", found, true))
        });
        let fields: Vec<FieldRef> = fields.collect();
        let coerced = fields_with_udf(&fields, self.inner.as_ref())?;
        Ok(coerced.iter().map(|field| field.data_type().clone()).collect())
    }

    fn return_type(&self, types: &[DataType]) -> PlanResult<DataType> {
        self.inner.return_type(types)
    }

    fn return_field(&self, fields: &[FieldRef]) -> PlanResult<FieldRef> {
        let field = self.inner.return_field(fields)?;
        let filled = self.filler(fields, field.data_type())?.is_some();
        Ok(Arc::new(
            field.as_ref().clone().with_name(&self.name).with_nullable(!filled),
        ))
    }

    fn is_nullable(&self) -> bool {
        !self.always
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> PlanResult<Box<dyn Accumulator>> {
        let filler = self.filler(args.expr_fields, args.return_field.data_type())?;
        let inner = self.inner.accumulator(args)?;
        Ok(match filler {
            Some(filler) => Box::new(Filled { inner, filler }),
            None => inner,
        })
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> PlanResult<Vec<FieldRef>> {
        // What is filled says that it is never NULL, but its state is until a row comes.
        let fields = self.inner.state_fields(args)?.into_iter();
        Ok(fields
            .map(|field| Arc::new(field.as_ref().clone().with_nullable(true)))
            .collect())
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> PlanResult<Box<dyn GroupsAccumulator>> {
        let filler = self.filler(args.expr_fields, args.return_field.data_type())?;
        let inner = self.inner.create_groups_accumulator(args)?;
        Ok(match filler {
            Some(filler) => Box::new(FilledGroups { inner, filler }),
            None => inner,
        })
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> PlanResult<Box<dyn Accumulator>> {
        let filler = self.filler(args.expr_fields, args.return_field.data_type())?;
        let inner = self.inner.create_sliding_accumulator(args)?;
        Ok(match filler {
            Some(filler) => Box::new(Filled { inner, filler }),
            None => inner,
        })
    }

    fn with_beneficial_ordering(self: Arc<Self>, ordered: bool) -> PlanResult<Option<Arc<dyn AggregateUDFImpl>>> {
        let updated = self.inner.as_ref().clone().with_beneficial_ordering(ordered)?;
        Ok(updated.map(|inner| {
            let updated: Arc<dyn AggregateUDFImpl> = Arc::new(Self {
                inner: Arc::new(inner),
                ..self.as_ref().clone()
            });
            updated
        }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.inner.supports_null_handling_clause()
    }

    fn default_value(&self, data_type: &DataType) -> PlanResult<ScalarValue> {
        self.inner.default_value(data_type)
    }
}

#[derive(Debug)]
struct Filled {
    inner: Box<dyn Accumulator>,
    filler: ScalarValue,
}

impl Accumulator for Filled {
    fn update_batch(&mut self, values: &[ArrayRef]) -> PlanResult<()> {
        self.inner.update_batch(values)
    }

    fn evaluate(&mut self) -> PlanResult<ScalarValue> {
        let value = self.inner.evaluate()?;
        Ok(if value.is_null() { self.filler.clone() } else { value })
    }

    fn size(&self) -> usize {
        self.inner.size() + self.filler.size()
    }

    fn state(&mut self) -> PlanResult<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> PlanResult<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> PlanResult<()> {
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

struct FilledGroups {
    inner: Box<dyn GroupsAccumulator>,
    filler: ScalarValue,
}

impl GroupsAccumulator for FilledGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> PlanResult<()> {
        self.inner.update_batch(values, groups, filter, total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> PlanResult<ArrayRef> {
        let found = self.inner.evaluate(emit_to)?;
        if found.null_count() == 0 {
            return Ok(found);
        }
        let filler = Scalar::new(self.filler.to_array()?);
        let filled = zip(&is_not_null(&found)?, &found, &filler)?;
        // The type may carry a precision that the filler has not.
        let data = filled
            .to_data()
            .into_builder()
            .data_type(found.data_type().clone())
            .build()?;
        Ok(make_array(data))
    }

    fn state(&mut self, emit_to: EmitTo) -> PlanResult<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> PlanResult<()> {
        self.inner.merge_batch(values, groups, total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> PlanResult<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        self.inner.size() + self.filler.size()
    }
}
