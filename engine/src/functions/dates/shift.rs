//! Days and instants moved by a number of units, and what lies between two of them.

use super::{DAY, SECOND, Times, Unit, date_of, days_of, instant, instants, local, times};
use crate::functions::scalar::{Args, Given, wrong};
use arrow::array::ArrayRef;
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int32Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    TimeUnit,
};
use chrono::{Datelike, NaiveDate};
use datafusion::common::Result as PlanResult;

/// The unit in the name of `addDays` and `subtractDays`, and its sign.
fn of_name(name: &str) -> PlanResult<(Unit, i64)> {
    let (rest, sign) = match name.strip_prefix("subtract") {
        Some(rest) => (rest, -1),
        None => (name.strip_prefix("add").unwrap_or(name), 1),
    };
    let unit = Unit::named(rest).ok_or_else(|| wrong(format!("`{rest}` is no unit")))?;
    Ok((unit, sign))
}

macro_rules! shifted {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name(given: &Given<'_>) -> PlanResult<DataType> {
            shifted_type(given, stringify!($name))
        }
    )*};
}

shifted! {
    /// Days stay days.
    days;
    /// Days become instants.
    seconds;
    /// Instants become milliseconds.
    milliseconds;
    /// Instants become microseconds.
    microseconds;
}

fn shifted_type(given: &Given<'_>, unit: &str) -> PlanResult<DataType> {
    let zone = super::zone_of(given, usize::MAX)?;
    let finer = |found: TimeUnit| match (unit, found) {
        ("milliseconds", TimeUnit::Second) => TimeUnit::Millisecond,
        ("microseconds", TimeUnit::Second | TimeUnit::Millisecond) => TimeUnit::Microsecond,
        (_, found) => found,
    };
    Ok(match given.data_type(0) {
        DataType::Date32 | DataType::Date64 if unit == "days" => DataType::Date32,
        DataType::Date32 | DataType::Date64 => DataType::Timestamp(finer(TimeUnit::Second), Some(zone.into())),
        DataType::Timestamp(found, _) => DataType::Timestamp(finer(found), Some(zone.into())),
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => {
            DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
        }
        other => return Err(wrong(format!("argument 1 must be a Date or DateTime, not {other}"))),
    })
}

/// `addDays(t, n)` and all of its kind.
pub fn add(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (unit, sign) = of_name(args.function())?;
    let times = read(args)?;
    let counts = args.int(1)?;
    let moved = |row: usize| moved(&times, row, unit, counts.get(row).saturating_mul(sign));
    match args.returned {
        DataType::Date32 => {
            args.numbers::<Date32Type>(|row| Ok(Some(i32::try_from(moved(row).div_euclid(DAY)).unwrap_or(i32::MAX))))
        }
        _ => instants(args, |row| Ok(Some(moved(row)))),
    }
}

/// Text is read as an instant.
fn read(args: &Args<'_>) -> PlanResult<Times> {
    let Ok(text) = args.text(0) else {
        return times(args, 0, usize::MAX);
    };
    let zone = chrono_tz::Tz::UTC;
    let micros = (0..args.rows).map(|row| super::best_effort_micros(text.get(row), zone));
    Ok(Times {
        micros: micros.collect(),
        are_days: false,
        zone,
        unit: TimeUnit::Millisecond,
    })
}

fn moved(times: &Times, row: usize, unit: Unit, count: i64) -> i64 {
    let micros = times.micros(row);
    if let Unit::Fixed(length) = unit {
        let start = if times.are_days {
            instant(micros, times.zone)
        } else {
            micros
        };
        return start.saturating_add(length.saturating_mul(count));
    }
    let wall = if times.are_days {
        micros
    } else {
        local(micros, times.zone)
    };
    let (date, clock) = (date_of(wall.div_euclid(DAY)), wall.rem_euclid(DAY));
    let day = match unit {
        Unit::Day => days_of(date).saturating_add(count),
        Unit::Week => days_of(date).saturating_add(count.saturating_mul(7)),
        Unit::Month => days_of(add_months(date, count)),
        Unit::Quarter => days_of(add_months(date, count.saturating_mul(3))),
        Unit::Year | Unit::Fixed(_) => days_of(add_months(date, count.saturating_mul(12))),
    };
    let wall = day.saturating_mul(DAY).saturating_add(clock);
    if times.are_days {
        wall
    } else {
        instant(wall, times.zone)
    }
}

/// The same day of another month, or its last one.
pub fn add_months(date: NaiveDate, months: i64) -> NaiveDate {
    let total = i64::from(date.year()) * 12 + i64::from(date.month0()) + months.clamp(-200_000, 200_000);
    let year = i32::try_from(total.div_euclid(12)).unwrap_or(date.year());
    let month = u32::try_from(total.rem_euclid(12)).unwrap_or(0) + 1;
    let first = NaiveDate::from_ymd_opt(year, month, 1).unwrap_or(date);
    first
        .with_day(date.day().min(u32::from(first.num_days_in_month())))
        .unwrap_or(first)
}

/// Days between days; seconds between instants, with their fraction where they have one.
pub fn difference_type(given: &Given<'_>) -> PlanResult<DataType> {
    let fine = |at: usize| matches!(given.data_type(at), DataType::Timestamp(unit, _) if unit != TimeUnit::Second);
    Ok(if fine(0) || fine(1) {
        DataType::Float64
    } else {
        DataType::Int32
    })
}

/// `a - b` of days and instants.
pub fn difference(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (left, right) = (times(args, 0, usize::MAX)?, times(args, 1, usize::MAX)?);
    let days = left.are_days && right.are_days;
    let between = |row: usize| left.micros(row) - right.micros(row);
    match args.returned {
        DataType::Float64 => args.numbers::<Float64Type>(|row| Ok(Some(between(row) as f64 / SECOND as f64))),
        _ => args.numbers::<Int32Type>(|row| {
            let unit = if days { DAY } else { SECOND };
            Ok(Some(between(row).div_euclid(unit) as i32))
        }),
    }
}

/// An interval.
pub fn interval_type(_: &Given<'_>) -> PlanResult<DataType> {
    Ok(DataType::Interval(IntervalUnit::MonthDayNano))
}

/// `ch_interval(unit, n)`: what `INTERVAL n DAY` becomes when `n` is no literal.
pub fn interval(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let name = args.constant_text(0)?;
    let unit = Unit::named(&name).ok_or_else(|| wrong(format!("`{name}` is no unit")))?;
    let counts = args.int(1)?;
    args.numbers::<IntervalMonthDayNanoType>(|row| {
        let count = counts.get(row);
        let small = |times: i64| i32::try_from(count.saturating_mul(times)).unwrap_or(i32::MAX);
        Ok(Some(match unit {
            Unit::Fixed(length) => IntervalMonthDayNano::new(0, 0, count.saturating_mul(length).saturating_mul(1_000)),
            Unit::Day => IntervalMonthDayNano::new(0, small(1), 0),
            Unit::Week => IntervalMonthDayNano::new(0, small(7), 0),
            Unit::Month => IntervalMonthDayNano::new(small(1), 0, 0),
            Unit::Quarter => IntervalMonthDayNano::new(small(3), 0, 0),
            Unit::Year => IntervalMonthDayNano::new(small(12), 0, 0),
        }))
    })
}

macro_rules! from_unix {
    ($($(#[$doc:meta])* $types:ident $name:ident $unit:ident $micros:expr;)*) => {$(
        $(#[$doc])*
        pub fn $types(given: &Given<'_>) -> PlanResult<DataType> {
            Ok(DataType::Timestamp(TimeUnit::$unit, Some(super::zone_of(given, 1)?.into())))
        }
        $(#[$doc])*
        pub fn $name(args: &Args<'_>) -> PlanResult<ArrayRef> {
            let counts = args.int(0)?;
            let micros: fn(i64) -> i64 = $micros;
            instants(args, |row| Ok(Some(micros(counts.get(row)))))
        }
    )*};
}

from_unix! {
    /// `fromUnixTimestamp64Milli`.
    milli_type from_milli Millisecond |count| count.saturating_mul(1_000);
    /// `fromUnixTimestamp64Micro`.
    micro_type from_micro Microsecond |count| count;
    /// `fromUnixTimestamp64Nano`.
    nano_type from_nano Nanosecond |count| count.div_euclid(1_000);
    /// `fromUnixTimestamp`.
    second_type from_second Second |count| count.saturating_mul(SECOND);
}

/// `toTimeZone(t, zone)`: the same instants, shown elsewhere.
pub fn in_zone_type(given: &Given<'_>) -> PlanResult<DataType> {
    match given.data_type(0) {
        DataType::Timestamp(unit, _) => Ok(DataType::Timestamp(unit, Some(super::zone_of(given, 1)?.into()))),
        other => Err(wrong(format!("argument 1 must be a DateTime, not {other}"))),
    }
}

/// `toTimeZone(t, zone)`.
pub fn in_zone(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let times = times(args, 0, usize::MAX)?;
    instants(args, |row| Ok(Some(times.micros(row))))
}

/// Seconds.
pub fn offset_type(_: &Given<'_>) -> PlanResult<DataType> {
    Ok(DataType::Int32)
}

/// `timeZoneOffset(t)`: seconds east of Greenwich.
pub fn zone_offset(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let times = times(args, 0, usize::MAX)?;
    args.numbers::<Int32Type>(|row| Ok(Some(((times.local(row) - times.micros(row)) / SECOND) as i32)))
}

/// `makeDate(year, month, day)`.
pub fn make_date(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (years, months) = (args.int(0)?, args.int(1)?);
    let days = if args.len() > 2 { Some(args.int(2)?) } else { None };
    args.numbers::<Date32Type>(|row| {
        let year = i32::try_from(years.get(row)).unwrap_or(0);
        let found = match &days {
            Some(days) => super::day_of(i64::from(year), months.get(row), days.get(row)),
            None => NaiveDate::from_yo_opt(year, u32::try_from(months.get(row)).unwrap_or(0)).map(days_of),
        };
        let days = found.filter(|_| year >= 1970).unwrap_or(0);
        Ok(Some(i32::try_from(days).unwrap_or(0)))
    })
}

/// The number of an interval that an instant is in: used by `timeSlot`.
pub fn time_slot(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let times = times(args, 0, usize::MAX)?;
    instants(args, |row| {
        Ok(Some(times.micros(row) - times.local(row).rem_euclid(1_800 * SECOND)))
    })
}
