//! Arithmetic beyond the operators.

use super::scalar::{Args, Given, failed, wrong};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt8Type, UInt64Type};
use datafusion::common::Result as PlanResult;
use std::sync::Arc;

/// Integers of 64 bits, signed when an argument is.
pub fn whole_type(given: &Given<'_>) -> PlanResult<DataType> {
    let unsigned = given
        .types
        .iter()
        .all(|data_type| data_type.is_unsigned_integer() || *data_type == DataType::Boolean);
    Ok(if unsigned { DataType::UInt64 } else { DataType::Int64 })
}

/// The absolute value's type: unsigned for integers.
pub fn abs_type(given: &Given<'_>) -> PlanResult<DataType> {
    Ok(match given.data_type(0) {
        data_type if data_type.is_integer() => DataType::UInt64,
        DataType::Boolean => DataType::UInt8,
        data_type => data_type,
    })
}

fn is_float(args: &Args<'_>, at: usize) -> bool {
    matches!(
        args.data_type(at),
        DataType::Float32 | DataType::Float64 | DataType::Decimal128(..)
    )
}

/// A whole number of each row, floats cut off.
fn wholes(args: &Args<'_>, at: usize) -> PlanResult<Vec<i128>> {
    if is_float(args, at) {
        let floats = args.float(at)?;
        return Ok((0..args.rows).map(|row| floats.value(row) as i128).collect());
    }
    let unsigned = args.data_type(at) == DataType::UInt64;
    let numbers = args.int(at)?;
    let wide = |number: i64| {
        if unsigned {
            i128::from(number as u64)
        } else {
            i128::from(number)
        }
    };
    Ok((0..args.rows).map(|row| wide(numbers.get(row))).collect())
}

fn divided(args: &Args<'_>, divide: fn(i128, i128) -> Option<i128>, or: Option<i128>) -> PlanResult<ArrayRef> {
    let (left, right) = (wholes(args, 0)?, wholes(args, 1)?);
    let nullable = args.function().ends_with("OrNull");
    let answer = |row: usize| match (divide(left[row], right[row]), or) {
        (Some(number), _) => Ok(Some(number)),
        (None, Some(or)) => Ok(Some(or)),
        (None, None) if nullable => Ok(None),
        (None, None) => Err(failed("division by zero")),
    };
    match args.returned {
        DataType::UInt64 => args.numbers::<UInt64Type>(|row| Ok(answer(row)?.map(|number| number as u64))),
        _ => args.numbers::<Int64Type>(|row| Ok(answer(row)?.map(|number| number as i64))),
    }
}

/// `intDiv(a, b)`, `intDivOrNull`.
pub fn int_div(args: &Args<'_>) -> PlanResult<ArrayRef> {
    divided(args, i128::checked_div, None)
}

/// `intDivOrZero(a, b)`.
pub fn int_div_or_zero(args: &Args<'_>) -> PlanResult<ArrayRef> {
    divided(args, i128::checked_div, Some(0))
}

/// `moduloOrZero(a, b)`.
pub fn modulo_or_zero(args: &Args<'_>) -> PlanResult<ArrayRef> {
    divided(args, i128::checked_rem, Some(0))
}

/// `positiveModulo(a, b)`.
pub fn positive_modulo(args: &Args<'_>) -> PlanResult<ArrayRef> {
    divided(args, i128::checked_rem_euclid, None)
}

/// `gcd(a, b)`.
pub fn gcd(args: &Args<'_>) -> PlanResult<ArrayRef> {
    divided(args, |a, b| Some(divisor(a, b)), None)
}

/// `lcm(a, b)`.
pub fn lcm(args: &Args<'_>) -> PlanResult<ArrayRef> {
    divided(
        args,
        |a, b| (a / divisor(a, b).max(1)).checked_mul(b).map(i128::abs),
        None,
    )
}

fn divisor(a: i128, b: i128) -> i128 {
    let (mut a, mut b) = (a.abs(), b.abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// `abs(x)`.
pub fn abs(args: &Args<'_>) -> PlanResult<ArrayRef> {
    match args.returned {
        DataType::UInt64 | DataType::UInt8 => {
            let numbers = wholes(args, 0)?;
            let all = args.numbers::<UInt64Type>(|row| Ok(Some(numbers[row].unsigned_abs() as u64)))?;
            Ok(cast(&all, args.returned)?)
        }
        other => {
            let floats = args.float(0)?;
            Ok(cast(
                &args.numbers::<Float64Type>(|row| Ok(Some(floats.value(row).abs())))?,
                other,
            )?)
        }
    }
}

/// `negate(x)`: signed for integers.
pub fn negated_type(given: &Given<'_>) -> PlanResult<DataType> {
    Ok(match given.data_type(0) {
        DataType::Boolean | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        data_type if data_type.is_numeric() || matches!(data_type, DataType::Interval(_)) => data_type,
        other => return Err(wrong(format!("{other} has no opposite"))),
    })
}

/// `negate(x)` and `-x`.
pub fn negate(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let array = args.array(0)?;
    let array = match array.data_type() {
        DataType::UInt64 => {
            let numbers = args.int(0)?;
            return args.numbers::<Int64Type>(|row| Ok(Some(numbers.get(row).wrapping_neg())));
        }
        _ => cast(&array, args.returned)?,
    };
    Ok(arrow::compute::kernels::numeric::neg_wrapping(&array)?)
}

/// `sign(x)`.
pub fn sign(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let floats = args.float(0)?;
    args.numbers::<arrow::datatypes::Int8Type>(|row| {
        let value = floats.value(row);
        Ok(Some(if value > 0.0 {
            1
        } else if value < 0.0 {
            -1
        } else {
            0
        }))
    })
}

/// Integers stay what they are when they are rounded.
pub fn rounded_type(given: &Given<'_>) -> PlanResult<DataType> {
    match given.data_type(0) {
        DataType::Boolean => Ok(DataType::UInt8),
        data_type if data_type.is_numeric() => Ok(data_type),
        other => Err(wrong(format!("{other} is no number"))),
    }
}

/// `round`, `roundBankers`, `floor`, `ceil`, `trunc` with a number of digits, by the name. Floats go to the even neighbour.
pub fn round(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let digits = if args.len() > 1 { Some(args.int(1)?) } else { None };
    let digits_of = |row: usize| digits.as_ref().map_or(0, |digits| digits.get(row)).clamp(-300, 300) as i32;
    let how = args.function();
    if args.returned.is_integer() {
        let numbers = wholes(args, 0)?;
        let all = (0..args.rows).map(|row| {
            let digits = digits_of(row);
            let whole = match digits {
                0.. => numbers[row],
                digits => round_whole(numbers[row], 10_i128.saturating_pow(digits.unsigned_abs().min(38)), how),
            };
            whole as i64
        });
        let all: arrow::array::Int64Array = all.map(Some).collect();
        return match args.returned {
            DataType::UInt64 => Ok(Arc::new(all.unary::<_, UInt64Type>(|value| value as u64))),
            other => Ok(cast(&(Arc::new(all) as ArrayRef), other)?),
        };
    }
    let floats = args.float(0)?;
    let all = args.numbers::<Float64Type>(|row| Ok(Some(round_float(floats.value(row), digits_of(row), how))))?;
    Ok(cast(&all, args.returned)?)
}

fn round_whole(value: i128, step: i128, how: &str) -> i128 {
    let down = value.div_euclid(step) * step;
    let rest = value - down;
    match how {
        "floor" => down,
        "ceil" if rest > 0 => down + step,
        "ceil" => down,
        "trunc" if value < 0 && rest > 0 => down + step,
        "trunc" => down,
        "roundBankers" if rest * 2 == step => {
            if (down / step) % 2 == 0 {
                down
            } else {
                down + step
            }
        }
        // Half goes away from zero.
        _ if rest * 2 > step || (rest * 2 == step && value > 0) => down + step,
        _ => down,
    }
}

fn round_float(value: f64, digits: i32, how: &str) -> f64 {
    if !value.is_finite() {
        return value;
    }
    let to_whole = |value: f64| match how {
        "floor" => value.floor(),
        "ceil" => value.ceil(),
        "trunc" => value.trunc(),
        _ => value.round_ties_even(),
    };
    match digits {
        0 => to_whole(value),
        1.. => {
            let scale = 10_f64.powi(digits);
            to_whole(value * scale) / scale
        }
        _ => {
            let scale = 10_f64.powi(-digits);
            to_whole(value / scale) * scale
        }
    }
}

macro_rules! float_functions {
    ($($(#[$doc:meta])* $name:ident $of:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name(args: &Args<'_>) -> PlanResult<ArrayRef> {
            let floats = args.float(0)?;
            let of: fn(f64) -> f64 = $of;
            args.numbers::<Float64Type>(|row| Ok(Some(of(floats.value(row)))))
        }
    )*};
}

float_functions! {
    /// `sqrt`.
    sqrt f64::sqrt;
    /// `cbrt`.
    cbrt f64::cbrt;
    /// `exp`.
    exp f64::exp;
    /// `exp2`.
    exp2 f64::exp2;
    /// `exp10`.
    exp10 |x| 10_f64.powf(x);
    /// `log` and `ln`.
    ln f64::ln;
    /// `log2`.
    log2 f64::log2;
    /// `log10`.
    log10 f64::log10;
    /// `log1p`.
    log1p f64::ln_1p;
    /// `sin`.
    sin f64::sin;
    /// `cos`.
    cos f64::cos;
    /// `tan`.
    tan f64::tan;
    /// `asin`.
    asin f64::asin;
    /// `acos`.
    acos f64::acos;
    /// `atan`.
    atan f64::atan;
    /// `degrees`.
    degrees f64::to_degrees;
    /// `radians`.
    radians f64::to_radians;
}

macro_rules! float_tests {
    ($($(#[$doc:meta])* $name:ident $of:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name(args: &Args<'_>) -> PlanResult<ArrayRef> {
            let floats = args.float(0)?;
            let of: fn(f64) -> bool = $of;
            args.booleans(|row| Ok(of(floats.value(row))))
        }
    )*};
}

float_tests! {
    /// `isNaN`.
    is_nan f64::is_nan;
    /// `isFinite`.
    is_finite f64::is_finite;
    /// `isInfinite`.
    is_infinite f64::is_infinite;
}

macro_rules! of_two {
    ($($(#[$doc:meta])* $name:ident $of:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name(args: &Args<'_>) -> PlanResult<ArrayRef> {
            let (left, right) = (args.float(0)?, args.float(1)?);
            let of: fn(f64, f64) -> f64 = $of;
            args.numbers::<Float64Type>(|row| Ok(Some(of(left.value(row), right.value(row)))))
        }
    )*};
}

of_two! {
    /// `pow`.
    pow f64::powf;
    /// `atan2`.
    atan2 f64::atan2;
    /// `hypot`.
    hypot f64::hypot;
    /// `ifNotFinite`.
    if_not_finite |x, otherwise| if x.is_finite() { x } else { otherwise };
}

/// `bitAnd`, `bitOr`, `bitXor`, `bitShiftLeft`, `bitShiftRight`, by the name.
pub fn bits(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (left, right) = (args.int(0)?, args.int(1)?);
    let how = args.function().to_owned();
    let answer = |row: usize| {
        let (left, right) = (left.get(row), right.get(row));
        match how.as_str() {
            "bitAnd" => left & right,
            "bitOr" => left | right,
            "bitXor" => left ^ right,
            "bitShiftLeft" => left.checked_shl(u32::try_from(right).unwrap_or(64)).unwrap_or(0),
            _ => left.checked_shr(u32::try_from(right).unwrap_or(64)).unwrap_or(0),
        }
    };
    match args.returned {
        DataType::UInt64 => args.numbers::<UInt64Type>(|row| Ok(Some(answer(row) as u64))),
        _ => args.numbers::<Int64Type>(|row| Ok(Some(answer(row)))),
    }
}

/// `bitTest(n, at)`.
pub fn bit_test(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (number, at) = (args.int(0)?, args.int(1)?);
    args.numbers::<UInt8Type>(|row| Ok(Some((number.get(row) >> at.get(row).clamp(0, 63) & 1) as u8)))
}

/// `bitCount(n)`.
pub fn bit_count(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let array = args.array(0)?;
    let width = array.data_type().primitive_width().unwrap_or(8) as u32 * 8;
    let numbers = args.int(0)?;
    args.numbers::<UInt8Type>(|row| {
        let number = numbers.get(row) as u64;
        let kept = if width >= 64 {
            number
        } else {
            number & ((1 << width) - 1)
        };
        Ok(Some(kept.count_ones() as u8))
    })
}

/// The empty value of a type: `defaultValueOfArgumentType` and what `assumeNotNull` puts in NULL's place.
pub fn or_empty(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let array = args.array(0)?;
    if array.null_count() == 0 {
        return Ok(array);
    }
    let empty = empty_of(array.data_type())?;
    let empty = empty.to_array_of_size(array.len())?;
    Ok(arrow::compute::kernels::zip::zip(
        &arrow::compute::is_not_null(&array)?,
        &array,
        &empty,
    )?)
}

/// `defaultValueOfArgumentType(x)`.
pub fn empty_like(args: &Args<'_>) -> PlanResult<ArrayRef> {
    empty_of(&args.data_type(0))?.to_array_of_size(args.rows)
}

/// Zero, the empty text, 1970.
pub fn empty_of(data_type: &DataType) -> PlanResult<datafusion::common::ScalarValue> {
    use datafusion::common::ScalarValue;
    match data_type {
        DataType::Utf8 => Ok(ScalarValue::Utf8(Some(String::new()))),
        DataType::LargeUtf8 => Ok(ScalarValue::LargeUtf8(Some(String::new()))),
        DataType::Utf8View => Ok(ScalarValue::Utf8View(Some(String::new()))),
        DataType::Boolean => Ok(ScalarValue::Boolean(Some(false))),
        DataType::List(_) => {
            let lists = arrow::array::new_empty_array(data_type);
            let one = arrow::array::ListArray::new(
                match data_type {
                    DataType::List(field) => Arc::clone(field),
                    _ => return Err(wrong("no list")),
                },
                arrow::buffer::OffsetBuffer::from_lengths([0]),
                Arc::clone(lists.as_list::<i32>().values()),
                None,
            );
            Ok(ScalarValue::List(Arc::new(one)))
        }
        DataType::Null => Ok(ScalarValue::Null),
        other => ScalarValue::new_zero(other),
    }
}
