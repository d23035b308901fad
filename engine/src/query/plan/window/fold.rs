//! Aggregates over windows of positions: from rows at positions to one row for each window.
//!
//! Windows are ranges of positions whose both ends never go back, so each group's rows are sorted once and every window
//! costs a constant number of steps, also when it reaches far back: no row is ever repeated for each window it lies in. Sums
//! of floats are never computed by taking away, so that nothing of a large value is left in a window that lacks it.

use crate::limits::{QUERY_WINDOW_ROWS_MAX, QUERY_WINDOW_STEPS_MAX};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, StructArray, TimestampMicrosecondArray};
use arrow::compute::{SortOptions, concat, sort_to_indices, take};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Int64Type, TimeUnit};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, ScalarValue, exec_err, internal_err};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Expr, Signature, Volatility};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::mem::{size_of, size_of_val};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering as AtomicOrdering};

/// Field of a result: the label of the window.
pub const AT: &str = "at";

/// Name of the field of the `index`th value of a result.
pub fn value(index: usize) -> String {
    format!("value {index}")
}

/// Windows over positions, both ends ascending.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Windows {
    /// The wall-clock microseconds that stand for each window in the result.
    pub labels: Vec<i64>,
    /// The first position of each window.
    pub from: Vec<i64>,
    /// The position after the last of each window.
    pub to: Vec<i64>,
    /// Whether a window without rows has a row in the result.
    pub dense: bool,
}

/// How two partial values become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Merge {
    /// Their sum.
    Sum,
    /// The lesser.
    Min,
    /// The greater.
    Max,
}

/// What is made of each window's rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Work {
    /// Arguments: position, then a partial value for each merge.
    Merge(Vec<Merge>),
    /// Arguments: the first window, the window after the last, and whether the row counts. The result is how many count.
    Spans,
}

/// Rows given and buckets looked at so far by one aggregate of one query. No part of what the aggregate is.
#[derive(Debug, Clone, Default)]
struct Given {
    rows: Arc<AtomicUsize>,
    steps: Arc<AtomicUsize>,
}

impl PartialEq for Given {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Given {}

impl Hash for Given {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Given {
    /// Counts `rows` more, found in `steps` buckets, unless they are too many.
    fn add(&self, rows: usize, steps: usize) -> Result<()> {
        let sum = |of: &AtomicUsize, more: usize| of.fetch_add(more, AtomicOrdering::Relaxed).saturating_add(more);
        if sum(&self.rows, rows) > QUERY_WINDOW_ROWS_MAX || sum(&self.steps, steps) > QUERY_WINDOW_STEPS_MAX {
            return exec_err!(
                "the query has more than {QUERY_WINDOW_ROWS_MAX} rows of buckets: ask for fewer buckets or dimensions"
            );
        }
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Fold {
    windows: Arc<Windows>,
    work: Work,
    given: Given,
    signature: Signature,
}

/// A list of structs: for each window its label [`AT`] and the merged values of the rows at its positions.
pub fn merged(windows: &Arc<Windows>, position: Expr, values: Vec<(Merge, Expr)>) -> Expr {
    let (merges, values): (Vec<Merge>, Vec<Expr>) = values.into_iter().unzip();
    let mut args = vec![position];
    args.extend(values);
    call(windows, Work::Merge(merges), args)
}

/// A list of structs: for each window its label [`AT`] and how many rows with `counts` span it. Rows that do not count still
/// make the window one that has rows.
pub fn spanned(windows: &Arc<Windows>, first: Expr, after: Expr, counts: Expr) -> Expr {
    call(windows, Work::Spans, vec![first, after, counts])
}

fn call(windows: &Arc<Windows>, work: Work, args: Vec<Expr>) -> Expr {
    let function = AggregateUDF::from(Fold {
        windows: Arc::clone(windows),
        work,
        given: Given::default(),
        signature: Signature::any(args.len(), Volatility::Immutable),
    });
    Expr::AggregateFunction(AggregateFunction::new_udf(
        Arc::new(function),
        args,
        false,
        None,
        Vec::new(),
        None,
    ))
}

impl Fold {
    fn fields(&self, types: &[DataType]) -> Fields {
        let mut fields = vec![Field::new(AT, DataType::Timestamp(TimeUnit::Microsecond, None), true)];
        match &self.work {
            Work::Merge(_) => {
                for (index, data_type) in types.iter().skip(1).enumerate() {
                    fields.push(Field::new(value(index), data_type.clone(), true));
                }
            }
            Work::Spans => fields.push(Field::new(value(0), DataType::Int64, true)),
        }
        fields.into()
    }
}

impl AggregateUDFImpl for Fold {
    fn name(&self) -> &str {
        "over_windows"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let item = Field::new_list_field(DataType::Struct(self.fields(types)), true);
        Ok(DataType::List(Arc::new(item)))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let types: Vec<DataType> = match &self.work {
            Work::Merge(_) => args
                .input_fields
                .iter()
                .map(|field| field.data_type().clone())
                .collect(),
            Work::Spans => vec![DataType::Int64; 3],
        };
        let state = |(index, data_type): (usize, DataType)| {
            let item = Field::new_list_field(data_type, true);
            let name = format_state_name(args.name, &index.to_string());
            Arc::new(Field::new(name, DataType::List(Arc::new(item)), true))
        };
        Ok(types.into_iter().enumerate().map(state).collect())
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let types: Vec<DataType> = args.expr_fields.iter().map(|field| field.data_type().clone()).collect();
        let fields = self.fields(&types);
        let (windows, given) = (Arc::clone(&self.windows), self.given.clone());
        Ok(match &self.work {
            Work::Merge(merges) => Box::new(Merging {
                windows,
                given,
                merges: merges.clone(),
                fields,
                columns: types.iter().map(|_| Vec::new()).collect(),
                types,
            }),
            Work::Spans => Box::new(Spanning {
                windows,
                given,
                fields,
                changes: BTreeMap::new(),
            }),
        })
    }
}

/// One row of a list column for each array.
fn lists(arrays: Vec<ArrayRef>) -> Vec<ScalarValue> {
    let list = |array: ArrayRef| SingleRowListArrayBuilder::new(array).build_list_scalar();
    arrays.into_iter().map(list).collect()
}

/// The elements of all rows of a list column.
fn elements(lists: &ArrayRef) -> Result<ArrayRef> {
    let lists: &ListArray = lists.as_list();
    let parts: Vec<ArrayRef> = lists.iter().flatten().collect();
    if parts.is_empty() {
        return Ok(lists.values().slice(0, 0));
    }
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    Ok(concat(&parts)?)
}

/// The result of windows: labels and values of those that are kept.
fn result(fields: &Fields, labels: Vec<i64>, values: Vec<ArrayRef>) -> Result<ScalarValue> {
    let mut columns: Vec<ArrayRef> = vec![Arc::new(TimestampMicrosecondArray::from(labels))];
    columns.extend(values);
    let structs: ArrayRef = Arc::new(StructArray::try_new(fields.clone(), columns, None)?);
    Ok(SingleRowListArrayBuilder::new(structs).build_list_scalar())
}

/// Rows at positions.
#[derive(Debug)]
struct Merging {
    windows: Arc<Windows>,
    given: Given,
    merges: Vec<Merge>,
    fields: Fields,
    types: Vec<DataType>,
    /// The position and the values, in pieces of the same lengths.
    columns: Vec<Vec<ArrayRef>>,
}

impl Merging {
    fn whole(&self) -> Result<Vec<ArrayRef>> {
        let column = |(pieces, data_type): (&Vec<ArrayRef>, &DataType)| match pieces.as_slice() {
            [] => Ok(arrow::array::new_empty_array(data_type)),
            [one] => Ok(Arc::clone(one)),
            many => {
                let many: Vec<&dyn Array> = many.iter().map(AsRef::as_ref).collect();
                Ok(concat(&many)?)
            }
        };
        self.columns.iter().zip(&self.types).map(column).collect()
    }
}

impl Accumulator for Merging {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for (pieces, array) in self.columns.iter_mut().zip(values) {
            if !array.is_empty() {
                pieces.push(Arc::clone(array));
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let values: Result<Vec<ArrayRef>> = states.iter().map(elements).collect();
        self.update_batch(&values?)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(lists(self.whole()?))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let whole = self.whole()?;
        let Some((positions, values)) = whole.split_first() else {
            return internal_err!("a fold without positions");
        };
        let order = SortOptions {
            descending: false,
            nulls_first: true,
        };
        let order = sort_to_indices(positions, Some(order), None)?;
        let positions = take(positions, &order, None)?;
        let positions = positions.as_primitive::<Int64Type>();
        // Rows without a position lie in no window.
        let known = positions.slice(positions.null_count(), positions.len() - positions.null_count());
        let ranges = ranges(&self.windows, known.values(), positions.null_count());
        let keep = |range: &Range<usize>| self.windows.dense || !range.is_empty();
        let kept = ranges.iter().zip(&self.windows.labels).filter(|(range, _)| keep(range));
        let (ranges, labels): (Vec<Range<usize>>, Vec<i64>) =
            kept.map(|(range, label)| (range.clone(), *label)).unzip();
        self.given.add(labels.len(), self.windows.labels.len())?;
        let mut columns = Vec::with_capacity(values.len());
        for (column, merge) in values.iter().zip(&self.merges) {
            let column = take(column, &order, None)?;
            let folded = folded(&column, *merge, &ranges)?;
            columns.push(match folded.is_empty() {
                true => column.slice(0, 0),
                false => ScalarValue::iter_to_array(folded)?,
            });
        }
        result(&self.fields, labels, columns)
    }

    fn size(&self) -> usize {
        let arrays = self.columns.iter().flatten();
        size_of_val(self) + arrays.map(|array| array.get_array_memory_size()).sum::<usize>()
    }
}

/// The rows of each window, given the positions in ascending order.
fn ranges(windows: &Windows, positions: &[i64], before: usize) -> Vec<Range<usize>> {
    let (mut first, mut after) = (0, 0);
    let mut ranges = Vec::with_capacity(windows.labels.len());
    for (from, to) in windows.from.iter().zip(&windows.to) {
        while positions.get(first).is_some_and(|position| position < from) {
            first += 1;
        }
        after = after.max(first);
        while positions.get(after).is_some_and(|position| position < to) {
            after += 1;
        }
        ranges.push(before + first..before + after);
    }
    ranges
}

/// The merged value of each range; both ends of the ranges never go back. Two stacks make a queue that knows its fold: the
/// front one holds the folds of its elements and all behind them.
fn folded(column: &ArrayRef, merge: Merge, ranges: &[Range<usize>]) -> Result<Vec<ScalarValue>> {
    let nothing = ScalarValue::try_from(column.data_type())?;
    let mut front: Vec<ScalarValue> = Vec::new();
    let (mut back, mut back_from) = (nothing.clone(), 0);
    let (mut head, mut tail) = (0, 0);
    let mut results = Vec::with_capacity(ranges.len());
    for range in ranges {
        while tail < range.end {
            back = merged_pair(merge, &back, &ScalarValue::try_from_array(column, tail)?)?;
            tail += 1;
        }
        while head < range.start {
            if front.is_empty() {
                let mut fold = nothing.clone();
                for row in (back_from.max(head)..tail).rev() {
                    fold = merged_pair(merge, &ScalarValue::try_from_array(column, row)?, &fold)?;
                    front.push(fold.clone());
                }
                (back, back_from) = (nothing.clone(), tail);
            }
            front.pop();
            head += 1;
        }
        results.push(match front.last() {
            Some(fold) => merged_pair(merge, fold, &back)?,
            None => back.clone(),
        });
    }
    Ok(results)
}

/// Null is nothing.
fn merged_pair(merge: Merge, a: &ScalarValue, b: &ScalarValue) -> Result<ScalarValue> {
    if a.is_null() {
        return Ok(b.clone());
    }
    if b.is_null() {
        return Ok(a.clone());
    }
    match merge {
        Merge::Sum => sum(a, b),
        Merge::Min if a.partial_cmp(b) == Some(Ordering::Greater) => Ok(b.clone()),
        Merge::Max if a.partial_cmp(b) == Some(Ordering::Less) => Ok(b.clone()),
        Merge::Min | Merge::Max => Ok(a.clone()),
    }
}

fn sum(a: &ScalarValue, b: &ScalarValue) -> Result<ScalarValue> {
    use ScalarValue::{Decimal128, Decimal256, Float64, Int64, UInt64};
    let total = match (a, b) {
        (Int64(Some(a)), Int64(Some(b))) => a.checked_add(*b).map(|sum| Int64(Some(sum))),
        (UInt64(Some(a)), UInt64(Some(b))) => a.checked_add(*b).map(|sum| UInt64(Some(sum))),
        (Float64(Some(a)), Float64(Some(b))) => Some(Float64(Some(a + b))),
        (Decimal128(Some(a), precision, scale), Decimal128(Some(b), ..)) => {
            a.checked_add(*b).map(|sum| Decimal128(Some(sum), *precision, *scale))
        }
        (Decimal256(Some(a), precision, scale), Decimal256(Some(b), ..)) => {
            a.checked_add(*b).map(|sum| Decimal256(Some(sum), *precision, *scale))
        }
        _ => return internal_err!("values of type {} cannot be summed", a.data_type()),
    };
    match total {
        Some(total) => Ok(total),
        None => exec_err!("a sum over a window is too large"),
    }
}

/// Spans of windows, as changes of how many rows span a window.
#[derive(Debug)]
struct Spanning {
    windows: Arc<Windows>,
    given: Given,
    fields: Fields,
    /// At a window's index: how many rows more, and how many rows that count more, than in the window before.
    changes: BTreeMap<i64, (i64, i64)>,
}

impl Spanning {
    fn change(&mut self, window: i64, rows: i64, counting: i64) {
        let change = self.changes.entry(window).or_default();
        change.0 += rows;
        change.1 += counting;
    }
}

impl Accumulator for Spanning {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [first, after, counts] = values else {
            return internal_err!("a span has a first window, an end and whether it counts");
        };
        let (first, after) = (first.as_primitive::<Int64Type>(), after.as_primitive::<Int64Type>());
        let counts = counts.as_boolean();
        for (row, (first, after)) in first.iter().zip(after).enumerate() {
            if let (Some(first), Some(after)) = (first, after)
                && first < after
            {
                let counting = i64::from(counts.is_valid(row) && counts.value(row));
                self.change(first, 1, counting);
                self.change(after, -1, -counting);
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let columns: Result<Vec<ArrayRef>> = states.iter().map(elements).collect();
        let columns = columns?;
        let [windows, rows, counting] = columns.as_slice() else {
            return internal_err!("the state of spans has three columns");
        };
        let windows = windows.as_primitive::<Int64Type>().values().iter();
        let rows = rows.as_primitive::<Int64Type>().values().iter();
        let counting = counting.as_primitive::<Int64Type>().values().iter();
        for ((window, rows), counting) in windows.zip(rows).zip(counting) {
            self.change(*window, *rows, *counting);
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let column = |of: fn((&i64, &(i64, i64))) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(self.changes.iter().map(of)))
        };
        Ok(lists(vec![
            column(|(window, _)| *window),
            column(|(_, change)| change.0),
            column(|(_, change)| change.1),
        ]))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut changes = self.changes.iter().peekable();
        let (mut rows, mut counting) = (0_i64, 0_i64);
        let (mut labels, mut counts) = (Vec::new(), Vec::new());
        for (window, label) in (0_i64..).zip(&self.windows.labels) {
            while let Some((_, change)) = changes.next_if(|(at, _)| **at <= window) {
                rows += change.0;
                counting += change.1;
            }
            if rows > 0 || self.windows.dense {
                labels.push(*label);
                counts.push(counting);
            }
        }
        self.given.add(labels.len(), self.windows.labels.len())?;
        result(&self.fields, labels, vec![Arc::new(Int64Array::from(counts))])
    }

    fn size(&self) -> usize {
        // A B-tree's nodes are at least half full.
        size_of_val(self) + self.changes.len() * 2 * size_of::<(i64, (i64, i64))>()
    }
}

#[cfg(test)]
mod tests;
