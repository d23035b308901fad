//! What is made of a group's values once they are a list.

use crate::functions::scalar::{Args, Given, wrong};
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, ListArray, UInt32Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{sort, take};
use arrow::datatypes::{DataType, Field, Float64Type};
use datafusion::common::{Result as PlanResult, ScalarValue};
use std::collections::HashMap;
use std::sync::Arc;

/// The type of a list's elements.
pub fn element_type(given: &Given<'_>) -> PlanResult<DataType> {
    match given.data_type(0) {
        DataType::List(field) => Ok(field.data_type().clone()),
        other => Err(wrong(format!("{other} is no list"))),
    }
}

fn lists(args: &Args<'_>) -> PlanResult<ListArray> {
    let array = args.array(0)?;
    match array.data_type() {
        DataType::List(_) => Ok(array.as_list::<i32>().clone()),
        other => Err(wrong(format!("{other} is no list"))),
    }
}

/// `ch_listElement(list, level, how)`: the element at a level of the sorted list.
pub fn list_element(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (lists, levels, how) = (lists(args)?, args.float(1)?, args.constant_text(2)?);
    let mut found: Vec<ArrayRef> = Vec::with_capacity(args.rows);
    for row in 0..args.rows {
        if lists.is_null(row) {
            found.push(arrow::array::new_null_array(args.returned, 1));
            continue;
        }
        let values = sort(&lists.value(row), None)?;
        let count = values.len();
        let level = levels.value(row);
        if count == 0 {
            let empty = match args.returned {
                DataType::Float64 => ScalarValue::Float64(Some(f64::NAN)),
                other => crate::functions::arithmetic::empty_of(other)?,
            };
            found.push(empty.to_array()?);
            continue;
        }
        if how == "quantile" {
            found.push(Arc::new(Float64Array::from(vec![interpolated(&values, level)])));
            continue;
        }
        let half = level == 0.5;
        let at = match how.as_str() {
            "quantileExactLow" if half => (count - 1) / 2,
            "quantileExactHigh" if half => count / 2,
            "quantileExactLow" => (level * count as f64).ceil() as usize - usize::from(level > 0.0),
            _ => (level * count as f64) as usize,
        };
        found.push(values.slice(at.min(count - 1), 1));
    }
    let all: Vec<&dyn Array> = found.iter().map(|one| one.as_ref()).collect();
    match all.is_empty() {
        true => Ok(arrow::array::new_empty_array(args.returned)),
        false => Ok(arrow::compute::concat(&all)?),
    }
}

/// Between the two sorted values that a level lies between.
fn interpolated(values: &ArrayRef, level: f64) -> f64 {
    let values = values.as_primitive::<Float64Type>();
    let at = level * (values.len() - 1) as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    let part = at - at.floor();
    values.value(low) * (1.0 - part) + values.value(high) * part
}

/// A list of the elements that `pick` names of each row.
fn picked(
    args: &Args<'_>,
    lists: &ListArray,
    mut pick: impl FnMut(usize) -> PlanResult<Vec<u32>>,
) -> PlanResult<ArrayRef> {
    let mut indices: Vec<u32> = Vec::new();
    let mut lengths = Vec::with_capacity(args.rows);
    for row in 0..args.rows {
        let before = indices.len();
        if lists.is_valid(row) {
            let start = lists.value_offsets()[row].unsigned_abs();
            indices.extend(pick(row)?.into_iter().map(|at| at + start));
        }
        lengths.push(indices.len() - before);
    }
    let values = take(lists.values(), &UInt32Array::from(indices), None)?;
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    let nulls = lists.nulls().map(|nulls| NullBuffer::new(nulls.inner().clone()));
    Ok(Arc::new(ListArray::new(
        field,
        OffsetBuffer::from_lengths(lengths),
        values,
        nulls,
    )))
}

/// `ch_listLimit(list, n)`: the first n.
pub fn list_limit(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (lists, limits) = (lists(args)?, args.int(1)?);
    picked(args, &lists, |row| {
        let count = u32::try_from(lists.value_length(row)).unwrap_or(0);
        Ok((0..count.min(u32::try_from(limits.get(row)).unwrap_or(0))).collect())
    })
}

/// A list of the same elements.
pub fn list_top_type(given: &Given<'_>) -> PlanResult<DataType> {
    Ok(DataType::List(Arc::new(Field::new_list_field(
        element_type(given)?,
        true,
    ))))
}

/// `ch_listTop(list, n)`: the n most frequent, the more frequent first, of equally frequent ones the first that came.
pub fn list_top(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (lists, limits) = (lists(args)?, args.int(1)?);
    picked(args, &lists, |row| {
        let values = lists.value(row);
        let mut counts: HashMap<ScalarValue, (u32, u32)> = HashMap::new();
        for at in 0..values.len() {
            let value = ScalarValue::try_from_array(&values, at)?;
            let first = u32::try_from(at).unwrap_or(u32::MAX);
            counts.entry(value).or_insert((first, 0)).1 += 1;
        }
        let mut all: Vec<(u32, u32)> = counts.into_values().collect();
        all.sort_by_key(|(first, count)| (std::cmp::Reverse(*count), *first));
        all.truncate(usize::try_from(limits.get(row)).unwrap_or(0));
        Ok(all.into_iter().map(|(first, _)| first).collect())
    })
}
