//! `toStartOf…`: the beginning of the period that an instant is in, on the wall clock of a zone.

use super::{DAY, SECOND, date_of, days_of, days_or_instants, instant, instants, times, unit_of, zone_of};
use crate::functions::scalar::{Args, Given, wrong};
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, TimeUnit};
use chrono::{Datelike, NaiveDate};
use chrono_tz::Tz;
use datafusion::common::Result as PlanResult;

/// A length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds, of which a unit has this many.
    Fixed(i64),
    /// Days of the calendar.
    Day,
    /// Weeks.
    Week,
    /// Months.
    Month,
    /// Quarters.
    Quarter,
    /// Years.
    Year,
}

impl Unit {
    /// The unit of this name, as intervals, `dateDiff` and `dateTrunc` write it.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.trim().to_ascii_lowercase().trim_end_matches('s') {
            "microsecond" | "us" | "u" => Self::Fixed(1),
            "millisecond" | "m" => Self::Fixed(1_000),
            "second" | "" => Self::Fixed(SECOND),
            "minute" => Self::Fixed(60 * SECOND),
            "hour" => Self::Fixed(3_600 * SECOND),
            "day" => Self::Day,
            "week" => Self::Week,
            "month" => Self::Month,
            "quarter" => Self::Quarter,
            "year" => Self::Year,
            _ => return None,
        })
    }
}

/// `DateTime` in the zone of the arguments.
pub fn instant_answer(given: &Given<'_>) -> PlanResult<DataType> {
    Ok(super::instant_type(&zone_of(given, 1)?))
}

fn cut(args: &Args<'_>, length: i64) -> PlanResult<ArrayRef> {
    let times = times(args, 0, 1)?;
    instants(args, |row| {
        let micros = times.micros(row);
        Ok(Some(micros - times.local(row).rem_euclid(length)))
    })
}

macro_rules! cut {
    ($($(#[$doc:meta])* $name:ident $seconds:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name(args: &Args<'_>) -> PlanResult<ArrayRef> {
            cut(args, $seconds * SECOND)
        }
    )*};
}

cut! {
    /// `toStartOfSecond`.
    second_start 1;
    /// `toStartOfMinute`.
    minute_start 60;
    /// `toStartOfFiveMinutes`.
    five_minutes_start 300;
    /// `toStartOfTenMinutes`.
    ten_minutes_start 600;
    /// `toStartOfFifteenMinutes`.
    fifteen_minutes_start 900;
    /// `toStartOfHour`.
    hour_start 3_600;
}

/// `toStartOfSecond` keeps the precision.
pub fn same_instant(given: &Given<'_>) -> PlanResult<DataType> {
    let unit = match given.data_type(0) {
        DataType::Timestamp(unit, _) => unit,
        _ => return Err(wrong("argument 1 must be a DateTime64")),
    };
    Ok(DataType::Timestamp(unit, Some(zone_of(given, 1)?.into())))
}

/// The start of a calendar period, as the wall clock shows it, by the day.
fn calendar(args: &Args<'_>, zone_at: usize, first: impl Fn(NaiveDate) -> NaiveDate) -> PlanResult<ArrayRef> {
    let times = times(args, 0, zone_at)?;
    days_or_instants(args, times.zone, |row| Ok(Some(days_of(first(times.date(row))) * DAY)))
}

/// `toStartOfDay`.
pub fn day_start(args: &Args<'_>) -> PlanResult<ArrayRef> {
    calendar(args, 1, |date| date)
}

/// `toMonday`.
pub fn monday(args: &Args<'_>) -> PlanResult<ArrayRef> {
    calendar(args, 1, |date| week_start(date, true))
}

/// `toStartOfWeek(t[, mode[, zone]])`: modes with an odd number begin on Monday.
pub fn week_start_mode(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let monday = match args.len() > 1 {
        true => args.int(1)?.get(0) % 2 == 1,
        false => false,
    };
    calendar(args, 2, |date| week_start(date, monday))
}

/// `toStartOfMonth`.
pub fn month_start(args: &Args<'_>) -> PlanResult<ArrayRef> {
    calendar(args, 1, |date| date.with_day(1).unwrap_or(date))
}

/// `toLastDayOfMonth`.
pub fn month_end(args: &Args<'_>) -> PlanResult<ArrayRef> {
    calendar(args, 1, |date| {
        date.with_day(u32::from(date.num_days_in_month())).unwrap_or(date)
    })
}

/// `toStartOfQuarter`.
pub fn quarter_start(args: &Args<'_>) -> PlanResult<ArrayRef> {
    calendar(args, 1, |date| {
        NaiveDate::from_ymd_opt(date.year(), date.month0() / 3 * 3 + 1, 1).unwrap_or(date)
    })
}

/// `toStartOfYear`.
pub fn year_start(args: &Args<'_>) -> PlanResult<ArrayRef> {
    calendar(args, 1, |date| {
        NaiveDate::from_ymd_opt(date.year(), 1, 1).unwrap_or(date)
    })
}

/// `toStartOfISOYear`.
pub fn iso_year_start(args: &Args<'_>) -> PlanResult<ArrayRef> {
    calendar(args, 1, |date| {
        NaiveDate::from_isoywd_opt(date.iso_week().year(), 1, chrono::Weekday::Mon).unwrap_or(date)
    })
}

/// The Monday or Sunday at or before `date`.
pub fn week_start(date: NaiveDate, monday: bool) -> NaiveDate {
    let days = match monday {
        true => date.weekday().num_days_from_monday(),
        false => date.weekday().num_days_from_sunday(),
    };
    date_of(days_of(date) - i64::from(days))
}

/// The count and unit of an interval: `ch_startOfInterval(t, count, unit[, zone])` is what `toStartOfInterval` becomes.
fn interval(count: i64, unit: &str) -> PlanResult<(i64, Unit)> {
    let unit = Unit::named(unit).ok_or_else(|| wrong(format!("interval unit `{unit}` is not known")))?;
    match count {
        1.. => Ok((count, unit)),
        _ => Err(wrong("the interval must be positive")),
    }
}

/// `Date` for weeks and longer, `DateTime` for shorter ones, `DateTime64` below seconds.
pub fn interval_answer(given: &Given<'_>) -> PlanResult<DataType> {
    let unit = given.text(2).unwrap_or_default().to_owned();
    let (_, unit) = interval(given.int(1).unwrap_or(0), &unit)?;
    let zone = zone_of(given, 3)?;
    Ok(match unit {
        Unit::Week | Unit::Month | Unit::Quarter | Unit::Year => DataType::Date32,
        Unit::Fixed(length) if length < SECOND => {
            DataType::Timestamp(unit_of(if length == 1 { 6 } else { 3 }), Some(zone.into()))
        }
        _ => DataType::Timestamp(TimeUnit::Second, Some(zone.into())),
    })
}

/// `toStartOfInterval`.
pub fn interval_start(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (count, unit) = interval(args.int(1)?.get(0), &args.constant_text(2)?)?;
    let times = times(args, 0, 3)?;
    if let Unit::Fixed(length) = unit {
        let length = length.saturating_mul(count);
        return instants(args, |row| {
            Ok(Some(fixed_start(
                times.micros(row),
                times.local(row),
                length,
                times.zone,
            )))
        });
    }
    let first = |date: NaiveDate| -> NaiveDate {
        let month = |months: i64| {
            let total = (i64::from(date.year()) - 1900) * 12 + i64::from(date.month0());
            let total = total.div_euclid(months) * months;
            let year = i32::try_from(total.div_euclid(12) + 1900).unwrap_or(1900);
            NaiveDate::from_ymd_opt(year, u32::try_from(total.rem_euclid(12)).unwrap_or(0) + 1, 1).unwrap_or(date)
        };
        match unit {
            Unit::Day | Unit::Fixed(_) => date_of(days_of(date).div_euclid(count) * count),
            Unit::Week => match count {
                1 => week_start(date, true),
                _ => date_of((days_of(date) - 4).div_euclid(7 * count) * 7 * count + 4),
            },
            Unit::Month => month(count),
            Unit::Quarter => month(count * 3),
            Unit::Year => {
                let year = i64::from(date.year()).div_euclid(count) * count;
                NaiveDate::from_ymd_opt(i32::try_from(year).unwrap_or(1970), 1, 1).unwrap_or(date)
            }
        }
    };
    days_or_instants(args, times.zone, |row| Ok(Some(days_of(first(times.date(row))) * DAY)))
}

/// Minutes are cut on the time line, hours on the wall clock from the beginning of the day.
fn fixed_start(micros: i64, local: i64, length: i64, zone: Tz) -> i64 {
    const HOUR: i64 = 3_600 * SECOND;
    match length {
        _ if length % HOUR != 0 => micros - micros.rem_euclid(length),
        HOUR => micros - local.rem_euclid(HOUR),
        _ => {
            let clock = local.rem_euclid(DAY);
            instant(local - clock.rem_euclid(length), zone)
        }
    }
}
