//! Conversions: `toInt32`, `toFloat64OrNull`, `toString`, `toDate`, `toDateTime64`… One reading of each source type, and
//! what the name's ending makes of texts that cannot be read: an error, NULL, or zero.

use super::dates;
use super::scalar::{Args, Given, failed, wrong};
use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float64Array};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use datafusion::common::Result as PlanResult;
use std::fmt::Write;

/// What becomes of a text that is no such value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Otherwise {
    Error,
    Null,
    Zero,
    /// The last argument.
    Default,
}

fn otherwise(name: &str) -> Otherwise {
    match name {
        name if name.ends_with("OrNull") => Otherwise::Null,
        name if name.ends_with("OrZero") => Otherwise::Zero,
        name if name.ends_with("OrDefault") => Otherwise::Default,
        _ => Otherwise::Error,
    }
}

/// A number of any kind before it is fitted: whole ones wrap into the type, others are cut.
#[derive(Clone, Copy)]
enum Number {
    Whole(i128),
    Float(f64),
}

impl Number {
    fn whole(self) -> i128 {
        match self {
            Self::Whole(number) => number,
            Self::Float(number) => number as i128,
        }
    }
}

/// A reader of one argument as numbers.
enum Numbers {
    Whole(ArrayRef),
    Float(Float64Array),
    Text(super::scalar::Text),
    /// Decimal numbers as floats would lose digits.
    Decimal(ArrayRef, u32),
}

impl Numbers {
    fn new(args: &Args<'_>, at: usize) -> PlanResult<Self> {
        if let Ok(text) = args.text(at) {
            return Ok(Self::Text(text));
        }
        let array = args.array(at)?;
        match array.data_type() {
            DataType::Float32 | DataType::Float64 | DataType::Float16 => Ok(Self::Float(
                cast(&array, &DataType::Float64)?.as_primitive::<Float64Type>().clone(),
            )),
            DataType::Decimal128(precision, scale) => {
                let wide = cast(&array, &DataType::Decimal128(*precision, *scale))?;
                Ok(Self::Decimal(wide, u32::try_from(*scale).unwrap_or(0)))
            }
            DataType::UInt64 => Ok(Self::Whole(array)),
            data_type if data_type.is_integer() || *data_type == DataType::Boolean => {
                Ok(Self::Whole(cast(&array, &DataType::Int64)?))
            }
            DataType::Date32 => Ok(Self::Whole(cast(&cast(&array, &DataType::Int32)?, &DataType::Int64)?)),
            DataType::Timestamp(..) => {
                let times = dates::times(args, at, usize::MAX)?;
                let seconds: arrow::array::Int64Array = (0..args.rows)
                    .map(|row| Some(times.micros(row).div_euclid(dates::SECOND)))
                    .collect();
                Ok(Self::Whole(std::sync::Arc::new(seconds)))
            }
            other => Err(wrong(format!("{other} is no number"))),
        }
    }

    /// The number of a row; none where a text is not one.
    fn get(&self, row: usize, float: bool) -> Option<Number> {
        match self {
            Self::Whole(array) => Some(Number::Whole(match array.data_type() {
                DataType::UInt64 => i128::from(array.as_primitive::<UInt64Type>().value(row)),
                _ => i128::from(array.as_primitive::<Int64Type>().value(row)),
            })),
            Self::Float(floats) => Some(Number::Float(floats.value(row))),
            Self::Decimal(array, scale) => {
                let raw = array.as_primitive::<arrow::datatypes::Decimal128Type>().value(row);
                let one = 10_i128.checked_pow(*scale)?;
                Some(if float {
                    Number::Float(raw as f64 / one as f64)
                } else {
                    Number::Whole(raw / one)
                })
            }
            Self::Text(text) if float => float_of(text.get(row)).map(Number::Float),
            Self::Text(text) => whole_of(text.get(row)).map(Number::Whole),
        }
    }
}

/// A whole number written out: a sign and digits.
fn whole_of(text: &str) -> Option<i128> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let fine = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if fine {
        text.strip_prefix('+').unwrap_or(text).parse().ok()
    } else {
        None
    }
}

/// A float written out, `inf` and `nan` among them.
fn float_of(text: &str) -> Option<f64> {
    let fine = |text: &str| text.bytes().any(|byte| byte.is_ascii_digit());
    let lower = text.to_ascii_lowercase();
    match lower.trim_start_matches(['-', '+']) {
        "inf" | "infinity" | "nan" => lower.parse().ok(),
        _ if fine(text) => text.parse().ok(),
        _ => None,
    }
}

macro_rules! whole {
    ($($types:ident $name:ident $kind:ident $arrow:ident $native:ty;)*) => {$(
        /// The type of the same name.
        pub fn $types(_: &Given<'_>) -> PlanResult<DataType> {
            Ok(DataType::$arrow)
        }
        /// The conversions to the type of the same name; numbers wrap.
        pub fn $name(args: &Args<'_>) -> PlanResult<ArrayRef> {
            let numbers = Numbers::new(args, 0)?;
            let otherwise = otherwise(args.function());
            let default = match otherwise {
                Otherwise::Default if args.len() > 1 => Some(args.int(1)?),
                _ => None,
            };
            args.numbers::<$kind>(|row| {
                let Some(number) = numbers.get(row, false) else {
                    return missing(args, otherwise, &numbers, row, || default.as_ref().map_or(0, |all| all.get(row) as $native));
                };
                let whole = number.whole();
                if otherwise != Otherwise::Error && matches!(numbers, Numbers::Text(_)) && <$native>::try_from(whole).is_err() {
                    return missing(args, otherwise, &numbers, row, || default.as_ref().map_or(0, |all| all.get(row) as $native));
                }
                Ok(Some(whole as $native))
            })
        }
    )*};
}

whole! {
    int8_type int8 Int8Type Int8 i8;
    int16_type int16 Int16Type Int16 i16;
    int32_type int32 Int32Type Int32 i32;
    int64_type int64 Int64Type Int64 i64;
    uint8_type uint8 UInt8Type UInt8 u8;
    uint16_type uint16 UInt16Type UInt16 u16;
    uint32_type uint32 UInt32Type UInt32 u32;
    uint64_type uint64 UInt64Type UInt64 u64;
}

/// What stands for a text that is no number.
fn missing<N: Default>(
    args: &Args<'_>,
    otherwise: Otherwise,
    numbers: &Numbers,
    row: usize,
    default: impl FnOnce() -> N,
) -> PlanResult<Option<N>> {
    match otherwise {
        Otherwise::Null => Ok(None),
        Otherwise::Zero => Ok(Some(N::default())),
        Otherwise::Default => Ok(Some(default())),
        Otherwise::Error => {
            let text = match numbers {
                Numbers::Text(text) => text.get(row).to_owned(),
                _ => args.data_type(0).to_string(),
            };
            Err(failed(format!(
                "`{text}` is no such number; the forms OrNull and OrZero take any text"
            )))
        }
    }
}

/// `Float32`.
pub fn float32_type(_: &Given<'_>) -> PlanResult<DataType> {
    Ok(DataType::Float32)
}

/// `toFloat32` and its forms.
pub fn float32(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let wide = floats(args)?;
    let narrow: Float32Array = wide.unary::<_, Float32Type>(|value| value as f32);
    Ok(std::sync::Arc::new(narrow))
}

/// `toFloat64` and its forms.
pub fn float64(args: &Args<'_>) -> PlanResult<ArrayRef> {
    Ok(std::sync::Arc::new(floats(args)?))
}

fn floats(args: &Args<'_>) -> PlanResult<Float64Array> {
    let numbers = Numbers::new(args, 0)?;
    let otherwise = otherwise(args.function());
    let default = match otherwise {
        Otherwise::Default if args.len() > 1 => Some(args.float(1)?),
        _ => None,
    };
    let mut found = Vec::with_capacity(args.rows);
    for row in 0..args.rows {
        if args.is_null(row) {
            found.push(None);
            continue;
        }
        found.push(match numbers.get(row, true) {
            Some(Number::Float(number)) => Some(number),
            Some(Number::Whole(number)) => Some(number as f64),
            None => missing(args, otherwise, &numbers, row, || {
                default.as_ref().map_or(0.0, |all| all.value(row))
            })?,
        });
    }
    Ok(found.into())
}

/// `Decimal(38, scale)`.
pub fn decimal_type(given: &Given<'_>) -> PlanResult<DataType> {
    let scale = given.int(1).ok_or_else(|| wrong("the scale must be a constant"))?;
    let scale = i8::try_from(scale).ok().filter(|scale| (0..=38).contains(scale));
    Ok(DataType::Decimal128(
        38,
        scale.ok_or_else(|| wrong("the scale must be 0 to 38"))?,
    ))
}

/// `toDecimal32`, `toDecimal64`, `toDecimal128` and their forms: digits beyond the scale are cut off.
pub fn decimal(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let DataType::Decimal128(_, scale) = args.returned else {
        return Err(wrong("no decimal type"));
    };
    let scale = usize::try_from(*scale).unwrap_or(0);
    let otherwise = otherwise(args.function());
    let numbers = Numbers::new(args, 0)?;
    let one = 10_i128.pow(u32::try_from(scale).unwrap_or(0));
    let raw = |row: usize| -> Option<i128> {
        match &numbers {
            Numbers::Text(text) => decimal_of(text.get(row), scale),
            Numbers::Decimal(array, from) => {
                let raw = array.as_primitive::<arrow::datatypes::Decimal128Type>().value(row);
                raw.checked_mul(one)?.checked_div(10_i128.checked_pow(*from)?)
            }
            numbers => match numbers.get(row, true)? {
                Number::Whole(number) => number.checked_mul(one),
                Number::Float(number) => Some((number * one as f64) as i128),
            },
        }
    };
    args.numbers::<arrow::datatypes::Decimal128Type>(|row| match raw(row) {
        Some(raw) => Ok(Some(raw)),
        None => missing(args, otherwise, &numbers, row, || 0),
    })
}

fn decimal_of(text: &str, scale: usize) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let kept = fraction.bytes().chain(std::iter::repeat(b'0')).take(scale);
    let all = whole.bytes().chain(kept);
    let mut value = 0_i128;
    for byte in all {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
    }
    fraction
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(sign * value)
}

/// `toBool`.
pub fn bool_of(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let Ok(text) = args.text(0) else {
        return super::scalar::truth(args);
    };
    args.booleans(|row| match text.get(row).to_ascii_lowercase().as_str() {
        "true" | "1" | "t" | "y" | "yes" | "on" | "enable" | "enabled" => Ok(true),
        "false" | "0" | "f" | "n" | "no" | "off" | "disable" | "disabled" => Ok(false),
        other => Err(failed(format!("`{other}` is no Bool"))),
    })
}

/// `toDate(x[, zone])` and its forms: text, instants on a wall clock, numbers of days or, above 65535, of seconds.
pub fn date(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let otherwise = otherwise(args.function());
    if let Ok(text) = args.text(0) {
        return args.numbers::<Date32Type>(|row| {
            let day = dates::parse_day(text.get(row)).and_then(|day| i32::try_from(day).ok());
            match (day, otherwise) {
                (Some(day), _) => Ok(Some(day)),
                (None, Otherwise::Null) => Ok(None),
                (None, Otherwise::Zero | Otherwise::Default) => Ok(Some(0)),
                (None, Otherwise::Error) => Err(failed(format!("`{}` is no Date", text.get(row)))),
            }
        });
    }
    let data_type = args.data_type(0);
    if data_type.is_numeric() {
        let numbers = args.int(0)?;
        return args.numbers::<Date32Type>(|row| {
            let number = numbers.get(row);
            let days = if number > 65_535 {
                number.div_euclid(86_400)
            } else {
                number
            };
            Ok(Some(i32::try_from(days).unwrap_or(0)))
        });
    }
    let times = dates::times(args, 0, 1)?;
    args.numbers::<Date32Type>(|row| {
        Ok(Some(
            i32::try_from(times.local(row).div_euclid(dates::DAY)).unwrap_or(i32::MAX),
        ))
    })
}

/// `DateTime` in the zone that the second argument names.
pub fn date_time_type(given: &Given<'_>) -> PlanResult<DataType> {
    Ok(dates::instant_type(&dates::zone_of(given, 1)?))
}

/// `DateTime64` of the second argument's precision, in the zone that the third names.
pub fn date_time64_type(given: &Given<'_>) -> PlanResult<DataType> {
    let scale = if given.types.len() > 1 { given.int(1) } else { Some(3) };
    let scale = scale.ok_or_else(|| wrong("the precision must be a constant"))?;
    Ok(DataType::Timestamp(
        dates::unit_of(scale),
        Some(dates::zone_of(given, 2)?.into()),
    ))
}

/// `toDateTime(x[, zone])` and its forms.
pub fn date_time(args: &Args<'_>) -> PlanResult<ArrayRef> {
    instant_of(args, 1)
}

/// `toDateTime64(x, scale[, zone])` and its forms.
pub fn date_time64(args: &Args<'_>) -> PlanResult<ArrayRef> {
    instant_of(args, 2)
}

fn instant_of(args: &Args<'_>, zone_at: usize) -> PlanResult<ArrayRef> {
    let zone = match args.len() > zone_at {
        true => dates::zone(&args.constant_text(zone_at)?)?,
        false => chrono_tz::Tz::UTC,
    };
    let otherwise = otherwise(args.function());
    if let Ok(text) = args.text(0) {
        return dates::instants(args, |row| {
            match (
                dates::parse_instant(text.get(row), zone, otherwise == Otherwise::Error),
                otherwise,
            ) {
                (Some(micros), _) => Ok(Some(micros)),
                (None, Otherwise::Null) => Ok(None),
                (None, Otherwise::Zero | Otherwise::Default) => Ok(Some(0)),
                (None, Otherwise::Error) => Err(failed(format!("`{}` is no DateTime", text.get(row)))),
            }
        });
    }
    if args.data_type(0).is_numeric() {
        let seconds = args.float(0)?;
        return dates::instants(args, |row| {
            Ok(Some((seconds.value(row) * dates::SECOND as f64).round() as i64))
        });
    }
    let times = dates::times(args, 0, zone_at)?;
    dates::instants(args, |row| {
        let micros = times.micros(row);
        Ok(Some(if times.are_days {
            dates::instant(micros, zone)
        } else {
            micros
        }))
    })
}

/// `toString(x[, zone])`.
pub fn string(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let array = args.array(0)?;
    match array.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Ok(cast(&array, &DataType::Utf8View)?),
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => dates::text_of_array(args),
        _ => texts_of(args, &array),
    }
}

fn texts_of(args: &Args<'_>, array: &ArrayRef) -> PlanResult<ArrayRef> {
    if *array.data_type() == DataType::Float64 || *array.data_type() == DataType::Float32 {
        let narrow = *array.data_type() == DataType::Float32;
        let floats = args.float(0)?;
        return args.texts(|row, out| {
            let value = floats.value(row);
            match narrow {
                true => write_float(out, value, Some(value as f32)),
                false => write_float(out, value, None),
            }
            Ok(())
        });
    }
    let options = CastOptions::default();
    Ok(cast_with_options(array, &DataType::Utf8View, &options)?)
}

/// The shortest form that reads back, in digits from 1e-6 up to 1e21, as ClickHouse writes floats.
pub fn write_float(out: &mut String, value: f64, narrow: Option<f32>) {
    if value.is_nan() {
        out.push_str("nan");
    } else if value.is_infinite() {
        out.push_str(if value < 0.0 { "-inf" } else { "inf" });
    } else if value != 0.0 && !(1e-6..1e21).contains(&value.abs()) {
        let _ = match narrow {
            Some(narrow) => write!(out, "{narrow:e}"),
            None => write!(out, "{value:e}"),
        };
    } else {
        let _ = match narrow {
            Some(narrow) => write!(out, "{narrow}"),
            None => write!(out, "{value}"),
        };
    }
}
