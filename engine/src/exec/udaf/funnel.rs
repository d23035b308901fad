//! `funnel(rule, seconds, steps, ts, matched)`: how far each visitor came in a funnel, over the visitor's events.
//!
//! The first three arguments are constants: the rule by its name in YAML, the conversion window in seconds and the number
//! of steps. `ts` is the instant of an event; bit *k − 1* of `matched` is set when the event matches step *k*, and
//! [`NO_ENTRY`] instead of bit 0 when it matches step 1 but may not begin a chain. The result
//! is a struct of [`LEVEL`], the furthest step (0: none), and [`ENTRY`], the instant of step 1 of the visitor's best
//! chain: of all chains of that level the earliest. At level 0 the entry is null under [`FunnelRule::Ordered`], which sees
//! no foreign events, and the visitor's first event under the other rules.
//!
//! Events may come in any order and in any number of parts: the state is the visitor's matching events ([`log`]), and
//! the rule ([`rules`]) runs once over them in order of time. Of input that is already ordered by visitor and time, finished
//! visitors are handed out early, so memory stays that of a batch. [`OnePass`] takes the step out of a plan that would make
//! states only to put them together again.

mod log;
mod one_pass;
mod rules;
#[cfg(test)]
mod tests;

use crate::limits::FUNNEL_STEPS_MAX;
use crate::model::FunnelRule;
use crate::query::funnel::{ENTRY, FUNCTION, LEVEL, NO_ENTRY};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, LargeBinaryArray, LargeBinaryBuilder, StructArray,
    TimestampMicrosecondBuilder, UInt8Builder,
};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Int32Type, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_datafusion_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use datafusion::physical_plan::expressions::Literal;
use log::{EventLog, Row};
pub use one_pass::OnePass;
use rules::Evaluator;
use std::sync::{Arc, LazyLock};

static RESULT_FIELDS: LazyLock<Fields> = LazyLock::new(|| {
    Fields::from(vec![
        Field::new(LEVEL, DataType::UInt8, false),
        Field::new(ENTRY, timestamp_type(), true),
    ])
});

fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The function, to be registered with a session.
pub fn function() -> AggregateUDF {
    let arguments = vec![
        DataType::Utf8,
        DataType::Int64,
        DataType::Int64,
        timestamp_type(),
        DataType::Int32,
    ];
    AggregateUDF::from(Funnel {
        signature: Signature::exact(arguments, Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Funnel {
    signature: Signature,
}

/// The constant arguments.
#[derive(Debug, Clone, Copy)]
struct Constants {
    rule: FunnelRule,
    window_seconds: u32,
    steps: usize,
}

impl Constants {
    fn of(args: &AccumulatorArgs<'_>) -> Result<Self> {
        let constant = |i: usize| {
            let literal = args.exprs.get(i).and_then(|expr| expr.downcast_ref::<Literal>());
            let literal = literal.map(Literal::value);
            literal.ok_or_else(|| plan_datafusion_err!("argument {} of {FUNCTION} must be a constant", i + 1))
        };
        let number = |i: usize| match constant(i)? {
            ScalarValue::Int64(Some(number)) => Ok(*number),
            other => plan_err!("argument {} of {FUNCTION} must be a whole number, not {other}", i + 1),
        };
        let name = constant(0)?.try_as_str().flatten().unwrap_or_default();
        Self::new(name, number(1)?, number(2)?)
    }

    fn new(rule: &str, window_seconds: i64, steps: i64) -> Result<Self> {
        let Some((_, rule)) = FunnelRule::ALL.iter().find(|(name, _)| *name == rule) else {
            let names: Vec<&str> = FunnelRule::ALL.iter().map(|(name, _)| *name).collect();
            return plan_err!("`{rule}` is no funnel rule: write one of {}", names.join(", "));
        };
        let Ok(window_seconds) = u32::try_from(window_seconds) else {
            return plan_err!("a funnel's window has 0 to {} seconds, not {window_seconds}", u32::MAX);
        };
        match usize::try_from(steps) {
            Ok(steps @ 1..=FUNNEL_STEPS_MAX) => Ok(Self {
                rule: *rule,
                window_seconds,
                steps,
            }),
            _ => plan_err!("a funnel has 1 to {FUNNEL_STEPS_MAX} steps, not {steps}"),
        }
    }

    fn groups(self) -> FunnelGroups {
        let steps = u32::MAX >> (u32::BITS as usize - self.steps);
        let (bits, foreign) = match self.rule {
            FunnelRule::Ordered => (steps, false),
            FunnelRule::Strict => (steps | NO_ENTRY, true),
            FunnelRule::Gitlab | FunnelRule::GitlabG2 => (steps, true),
        };
        FunnelGroups {
            selection: Selection { bits, foreign },
            evaluator: Evaluator::new(self.rule, self.window_seconds, self.steps),
            log: EventLog::default(),
            rows: Vec::new(),
        }
    }
}

impl AggregateUDFImpl for Funnel {
    fn name(&self) -> &str {
        FUNCTION
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(RESULT_FIELDS.clone()))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let name = format_state_name(args.name, "events");
        Ok(vec![Arc::new(Field::new(name, DataType::LargeBinary, false))])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(FunnelTotal(Constants::of(&args)?.groups())))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Constants::of(&args)?.groups()))
    }
}

/// Which rows of the input a rule has to see.
#[derive(Debug, Clone, Copy)]
struct Selection {
    /// The bits of a mask that mean something.
    bits: u32,
    /// Whether events that match no step decide anything.
    foreign: bool,
}

impl Selection {
    /// Calls `keep(row, ts, mask)` for every row that the rule has to see.
    fn select(
        self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
        mut keep: impl FnMut(usize, i64, u32),
    ) -> Result<()> {
        let [.., times, masks] = values else {
            return exec_err!(
                "{FUNCTION} needs an instant and the matched steps, got {} arguments",
                values.len()
            );
        };
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let masks = masks.as_primitive::<Int32Type>();
        let plain = opt_filter.is_none() && times.null_count() == 0 && masks.null_count() == 0;
        for (row, (ts, mask)) in times.values().iter().zip(masks.values()).enumerate() {
            let mask = mask.cast_unsigned() & self.bits;
            if mask == 0 && !self.foreign {
                continue;
            }
            let selected = || opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if plain || (times.is_valid(row) && masks.is_valid(row) && selected()) {
                keep(row, *ts, mask);
            }
        }
        Ok(())
    }
}

/// The accumulator of many visitors.
#[derive(Debug)]
struct FunnelGroups {
    selection: Selection,
    evaluator: Evaluator,
    log: EventLog,
    /// The events of the visitor whose outcome is being found.
    rows: Vec<Row>,
}

impl GroupsAccumulator for FunnelGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.log.grow_to(total_num_groups);
        let keep = |row: usize, ts, mask| self.log.push(group_indices[row], ts, mask);
        self.selection.select(values, opt_filter, keep)?;
        self.log.check()
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let groups = self.log.groups_of(emit_to);
        let mut levels = UInt8Builder::with_capacity(groups);
        let mut entries = TimestampMicrosecondBuilder::with_capacity(groups).with_timezone("UTC");
        self.log.take(emit_to, |state| {
            self.rows.clear();
            log::decode(state, |ts, mask| self.rows.push(Row { ts, mask }))?;
            let outcome = self.evaluator.evaluate(&mut self.rows);
            levels.append_value(outcome.level);
            entries.append_option(outcome.entry);
            Ok(())
        })?;
        let columns: Vec<ArrayRef> = vec![Arc::new(levels.finish()), Arc::new(entries.finish())];
        Ok(Arc::new(StructArray::try_new(RESULT_FIELDS.clone(), columns, None)?))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let groups = self.log.groups_of(emit_to);
        let bytes = match emit_to {
            EmitTo::All => self.log.state_bytes(),
            EmitTo::First(_) => 0,
        };
        let mut states = LargeBinaryBuilder::with_capacity(groups, bytes);
        self.log.take(emit_to, |state| {
            states.append_value(state);
            Ok(())
        })?;
        Ok(vec![Arc::new(states.finish())])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.log.grow_to(total_num_groups);
        let states = states_of(values)?;
        for (row, group) in group_indices.iter().enumerate() {
            if states.is_valid(row) {
                log::decode(states.value(row), |ts, mask| self.log.push(*group, ts, mask))?;
            }
        }
        self.log.check()
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, |column| column.len());
        let mut states = LargeBinaryBuilder::with_capacity(rows, rows * log::ENCODED_BYTES_MAX);
        let mut bytes = [0; log::ENCODED_BYTES_MAX];
        let mut done = 0;
        self.selection.select(values, opt_filter, |row, ts, mask| {
            (done..row).for_each(|_| states.append_value([]));
            let len = log::encode(ts, mask, &mut bytes);
            states.append_value(&bytes[..len]);
            done = row + 1;
        })?;
        (done..rows).for_each(|_| states.append_value([]));
        Ok(vec![Arc::new(states.finish())])
    }

    fn size(&self) -> usize {
        let rows = self.rows.capacity() * size_of::<Row>();
        size_of::<Self>() + self.log.memory_bytes() + rows + self.evaluator.memory_bytes()
    }
}

fn states_of(values: &[ArrayRef]) -> Result<&LargeBinaryArray> {
    let state = values.first().and_then(|column| column.as_binary_opt::<i64>());
    state.ok_or_else(|| exec_datafusion_err!("the state of {FUNCTION} is no column of large binaries"))
}

/// The accumulator without groups: one visitor.
#[derive(Debug)]
struct FunnelTotal(FunnelGroups);

impl Accumulator for FunnelTotal {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = values.first().map_or(0, |column| column.len());
        self.0.update_batch(values, &vec![0; rows], None, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.log.grow_to(1);
        ScalarValue::try_from_array(&self.0.evaluate(EmitTo::All)?, 0)
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.log.grow_to(1);
        let columns = self.0.state(EmitTo::All)?;
        columns
            .iter()
            .map(|column| ScalarValue::try_from_array(column, 0))
            .collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = states.first().map_or(0, |column| column.len());
        self.0.merge_batch(states, &vec![0; rows], 1)
    }
}
