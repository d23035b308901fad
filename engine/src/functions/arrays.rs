//! Lists. Positions are 1-based and count from the end when negative; what is beyond the ends is the type's empty value.

use super::aggregate::element_type;
use super::scalar::{Args, Given, wrong};
use super::{Call, arithmetic, build};
use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, UInt64Type};
use datafusion::common::Result as PlanResult;
use datafusion::sql::sqlparser::ast::Expr;
use std::sync::Arc;

fn list(args: &Args<'_>, at: usize) -> PlanResult<ListArray> {
    let array = args.array(at)?;
    match array.data_type() {
        DataType::List(_) => Ok(array.as_list::<i32>().clone()),
        other => Err(wrong(format!("argument {} must be a list, not {other}", at + 1))),
    }
}

/// `arrayElement(list, n)`.
pub fn element(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (lists, at) = (list(args, 0)?, args.int(1)?);
    let indices: UInt32Array = (0..args.rows).map(|row| place(&lists, row, at.get(row))).collect();
    let beyond: Vec<bool> = indices.iter().map(|index| index.is_some()).collect();
    let found = take(lists.values(), &indices, None)?;
    let found = arrow::compute::cast(&found, args.returned)?;
    let empty = arithmetic::empty_of(args.returned)?.to_array_of_size(found.len())?;
    Ok(arrow::compute::kernels::zip::zip(&beyond.into(), &found, &empty)?)
}

/// The place of an element in the values of all lists.
fn place(lists: &ListArray, row: usize, at: i64) -> Option<u32> {
    let length = i64::from(lists.value_length(row));
    let at = if at < 0 { length + at } else { at - 1 };
    if lists.is_null(row) || at < 0 || at >= length {
        return None;
    }
    u32::try_from(i64::from(lists.value_offsets()[row]) + at).ok()
}

/// The type of a list's elements.
pub fn element_answer(given: &Given<'_>) -> PlanResult<DataType> {
    element_type(given)
}

/// `arraySlice(list, from[, length])`.
pub fn slice(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (lists, from) = (list(args, 0)?, args.int(1)?);
    let lengths = if args.len() > 2 { Some(args.int(2)?) } else { None };
    let mut indices: Vec<u32> = Vec::new();
    let mut counts = Vec::with_capacity(args.rows);
    for row in 0..args.rows {
        let before = indices.len();
        let length = i64::from(lists.value_length(row));
        let from = from.get(row);
        let start = if from < 0 { length + from } else { from - 1 };
        let end = match lengths.as_ref().map(|lengths| lengths.get(row)) {
            None => length,
            Some(count) if count < 0 => length + count,
            Some(count) => start.saturating_add(count),
        };
        if from != 0 && lists.is_valid(row) {
            let first = i64::from(lists.value_offsets()[row]);
            let range = start.max(0)..end.min(length);
            indices.extend(range.filter_map(|at| u32::try_from(first + at).ok()));
        }
        counts.push(indices.len() - before);
    }
    let values = take(lists.values(), &UInt32Array::from(indices), None)?;
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    Ok(Arc::new(ListArray::new(
        field,
        OffsetBuffer::from_lengths(counts),
        values,
        lists.nulls().cloned(),
    )))
}

/// A list of the same elements.
pub fn list_answer(given: &Given<'_>) -> PlanResult<DataType> {
    Ok(DataType::List(Arc::new(Field::new_list_field(
        element_type(given)?,
        true,
    ))))
}

/// Positions: a list of numbers.
pub fn positions_answer(_: &Given<'_>) -> PlanResult<DataType> {
    Ok(DataType::List(Arc::new(Field::new_list_field(DataType::UInt32, true))))
}

/// `arrayEnumerate(list)`: 1, 2, 3…
pub fn enumerate(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let lists = list(args, 0)?;
    let lengths: Vec<usize> = (0..args.rows)
        .map(|row| lists.value_length(row).unsigned_abs() as usize)
        .collect();
    let values: UInt32Array = lengths
        .iter()
        .flat_map(|length| (1..=*length as u32).map(Some))
        .collect();
    let field = Arc::new(Field::new_list_field(DataType::UInt32, true));
    Ok(Arc::new(ListArray::new(
        field,
        OffsetBuffer::from_lengths(lengths),
        Arc::new(values),
        lists.nulls().cloned(),
    )))
}

/// `arrayStringConcat(list[, separator])`.
pub fn join(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let lists = list(args, 0)?;
    let separator = if args.len() > 1 {
        args.constant_text(1)?
    } else {
        String::new()
    };
    let values = arrow::compute::cast(lists.values(), &DataType::Utf8View)?;
    let values = values.as_string_view();
    args.texts(|row, out| {
        let range =
            lists.value_offsets()[row].unsigned_abs() as usize..lists.value_offsets()[row + 1].unsigned_abs() as usize;
        let mut first = true;
        for at in range.filter(|at| values.is_valid(*at)) {
            if !first {
                out.push_str(&separator);
            }
            first = false;
            out.push_str(values.value(at));
        }
        Ok(())
    })
}

/// `countEqual(list, x)`.
pub fn count_equal(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let lists = list(args, 0)?;
    let wanted = args.array(1)?;
    args.numbers::<UInt64Type>(|row| {
        let values = lists.value(row);
        let one = arrow::compute::cast(
            &wanted.slice(if wanted.len() == 1 { 0 } else { row }, 1),
            values.data_type(),
        )?;
        let equal = arrow::compute::kernels::cmp::eq(&values, &arrow::array::Scalar::new(one))?;
        Ok(Some(equal.true_count() as u64))
    })
}

/// The element type that a cast names.
pub fn cast_answer(given: &Given<'_>) -> PlanResult<DataType> {
    let name = given.text(1).unwrap_or_default().to_ascii_lowercase();
    let element = match name.as_str() {
        "string" => DataType::Utf8View,
        "float64" | "double" => DataType::Float64,
        "float32" => DataType::Float32,
        "int8" | "tinyint" => DataType::Int8,
        "int16" | "smallint" => DataType::Int16,
        "int32" | "int" | "integer" => DataType::Int32,
        "int64" | "bigint" => DataType::Int64,
        "uint8" => DataType::UInt8,
        "uint16" => DataType::UInt16,
        "uint32" => DataType::UInt32,
        "uint64" => DataType::UInt64,
        "date" => DataType::Date32,
        other => return Err(wrong(format!("lists of `{other}` are not answered"))),
    };
    Ok(DataType::List(Arc::new(Field::new_list_field(element, true))))
}

/// `CAST(list AS Array(T))`.
pub fn cast(args: &Args<'_>) -> PlanResult<ArrayRef> {
    Ok(arrow::compute::cast(&args.array(0)?, args.returned)?)
}

/// `range(end)`, `range(start, end)`, `range(start, end, step)`.
pub fn range(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let all: PlanResult<Vec<_>> = (0..args.len()).map(|at| args.int(at)).collect();
    let all = all?;
    let mut values: Vec<u64> = Vec::new();
    let mut lengths = Vec::with_capacity(args.rows);
    for row in 0..args.rows {
        let before = values.len();
        let (start, end) = match all.as_slice() {
            [end] => (0, end.get(row)),
            [start, end, ..] => (start.get(row), end.get(row)),
            [] => (0, 0),
        };
        let step = usize::try_from(all.get(2).map_or(1, |step| step.get(row)))
            .ok()
            .filter(|step| *step > 0);
        let step = step.ok_or_else(|| wrong("the step must be positive"))?;
        let count = (end.saturating_sub(start)).max(0) as usize / step;
        if count > super::TEXT_BYTES_MAX || values.len() > 64 * super::TEXT_BYTES_MAX {
            return Err(wrong("the list is too long"));
        }
        values.extend((start..end).step_by(step).map(|value| value as u64));
        lengths.push(values.len() - before);
    }
    let values: arrow::array::PrimitiveArray<UInt64Type> = values.into();
    let field = Arc::new(Field::new_list_field(DataType::UInt64, true));
    Ok(Arc::new(ListArray::new(
        field,
        OffsetBuffer::from_lengths(lengths),
        Arc::new(values),
        None,
    )))
}

/// What `range` gives.
pub fn range_answer(_: &Given<'_>) -> PlanResult<DataType> {
    Ok(DataType::List(Arc::new(Field::new_list_field(DataType::UInt64, true))))
}

/// `indexOf(list, x)`: 0 when it is not there.
pub fn index_of(call: Call) -> Result<Expr> {
    let args: [Expr; 2] = call.exactly()?;
    let found = build::function("array_position", args.into());
    Ok(build::function("coalesce", vec![found, build::number(0)]))
}

/// `arrayPushFront(list, x)`.
pub fn push_front(call: Call) -> Result<Expr> {
    let [list, element] = call.exactly()?;
    Ok(build::function("array_prepend", vec![element, list]))
}

/// `arrayReverseSort(list)`.
pub fn sort_down(call: Call) -> Result<Expr> {
    let [list] = call.exactly()?;
    Ok(build::function(
        "array_sort",
        vec![list, build::text("DESC"), build::text("NULLS LAST")],
    ))
}

/// `arraySort(list)`: NULL last.
pub fn sort_up(call: Call) -> Result<Expr> {
    let [list] = call.exactly()?;
    Ok(build::function(
        "array_sort",
        vec![list, build::text("ASC"), build::text("NULLS LAST")],
    ))
}

/// `arrayUniq(list)`.
pub fn uniq(call: Call) -> Result<Expr> {
    let [list] = call.exactly()?;
    Ok(build::function(
        "ch_length",
        vec![build::function("array_distinct", vec![list])],
    ))
}

/// `arrayJoin(list)`: a row for each element, in the list of a SELECT.
pub fn unnest(call: Call) -> Result<Expr> {
    let [list] = call.exactly()?;
    Ok(build::function("unnest", vec![list]))
}

/// The function and the list of `arrayMap(x -> …, list)`.
fn lambda(call: Call) -> Result<(Expr, Expr)> {
    let name = call.name.clone();
    let [function, list] = call.exactly()?;
    match function {
        lambda @ Expr::Lambda(_) => Ok((lambda, list)),
        _ => Err(Error::model(format!("`{name}` takes `x -> …` and one list"))),
    }
}

/// The function's answer as a condition.
fn condition(lambda: Expr, negated: bool) -> Expr {
    let Expr::Lambda(mut lambda) = lambda else {
        return lambda;
    };
    let body = build::truth(*lambda.body);
    lambda.body = Box::new(if negated { build::not(body) } else { body });
    Expr::Lambda(lambda)
}

/// `arrayMap(x -> …, list)`.
pub fn map(call: Call) -> Result<Expr> {
    let (lambda, list) = lambda(call)?;
    Ok(build::function("array_transform", vec![list, lambda]))
}

/// `arrayFilter(x -> …, list)`.
pub fn filter(call: Call) -> Result<Expr> {
    let (lambda, list) = lambda(call)?;
    Ok(build::function("array_filter", vec![list, condition(lambda, false)]))
}

/// `arrayExists(x -> …, list)`.
pub fn exists(call: Call) -> Result<Expr> {
    let (lambda, list) = lambda(call)?;
    let any = build::function("array_any_match", vec![list, condition(lambda, false)]);
    Ok(build::function("coalesce", vec![any, build::boolean(false)]))
}

/// `arrayAll(x -> …, list)`.
pub fn every(call: Call) -> Result<Expr> {
    let (lambda, list) = lambda(call)?;
    let any = build::function("array_any_match", vec![list, condition(lambda, true)]);
    Ok(build::not(build::function(
        "coalesce",
        vec![any, build::boolean(false)],
    )))
}

/// `arrayCount([x -> …,] list)`: elements that are true.
pub fn count(call: Call) -> Result<Expr> {
    let (lambda, list) = lambda(call)?;
    let kept = build::function("array_filter", vec![list, condition(lambda, false)]);
    Ok(build::function("ch_length", vec![kept]))
}

/// `arrayFirst(x -> …, list)`: the empty value when there is none.
pub fn first(call: Call) -> Result<Expr> {
    let (lambda, list) = lambda(call)?;
    let kept = build::function("array_filter", vec![list, condition(lambda, false)]);
    Ok(build::function("ch_arrayElement", vec![kept, build::number(1)]))
}

/// `arrayLast(x -> …, list)`.
pub fn last(call: Call) -> Result<Expr> {
    let (lambda, list) = lambda(call)?;
    let kept = build::function("array_filter", vec![list, condition(lambda, false)]);
    Ok(build::function("ch_arrayElement", vec![kept, build::number(-1)]))
}

/// `arraySum`, `arrayAvg`, `arrayMin`, `arrayMax`, with or without a function.
pub fn reduced(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let lists = list(args, 0)?;
    let how = args.function().to_owned();
    let values = arrow::compute::cast(lists.values(), &DataType::Float64)?;
    let values = values.as_primitive::<arrow::datatypes::Float64Type>();
    let answer = |row: usize| {
        let (from, to) = (
            lists.value_offsets()[row].unsigned_abs(),
            lists.value_offsets()[row + 1].unsigned_abs(),
        );
        let own = (from..to)
            .map(|at| at as usize)
            .filter(|at| values.is_valid(*at))
            .map(|at| values.value(at));
        match how.as_str() {
            "arraySum" => own.sum::<f64>(),
            "arrayProduct" => own.product::<f64>(),
            "arrayMin" => own.reduce(f64::min).unwrap_or(0.0),
            "arrayMax" => own.reduce(f64::max).unwrap_or(0.0),
            _ => {
                let all: Vec<f64> = own.collect();
                all.iter().sum::<f64>() / all.len() as f64
            }
        }
    };
    let floats = args.numbers::<arrow::datatypes::Float64Type>(|row| Ok(Some(answer(row))))?;
    // `numbers` gives floats whatever the type is that was planned.
    Ok(arrow::compute::cast(&floats, args.returned)?)
}

/// Whole numbers add up to whole numbers.
pub fn sum_answer(given: &Given<'_>) -> PlanResult<DataType> {
    Ok(match element_type(given)? {
        DataType::Null => DataType::Float64,
        found if found.is_unsigned_integer() => DataType::UInt64,
        found if found.is_integer() => DataType::Int64,
        _ => DataType::Float64,
    })
}

/// `emptyArrayString()`.
pub fn empty_list(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let DataType::List(field) = args.returned else {
        return Err(wrong("no list"));
    };
    let values = arrow::array::new_empty_array(field.data_type());
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(0, args.rows));
    Ok(Arc::new(ListArray::new(Arc::clone(field), offsets, values, None)))
}
