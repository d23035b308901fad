//! Parts of a day or instant, on the wall clock of a zone.

use super::{DAY, SECOND, Unit, days_of, local, times, week_start};
use crate::functions::scalar::{Args, failed, wrong};
use arrow::array::ArrayRef;
use arrow::datatypes::{Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use chrono::{Datelike, NaiveDate};
use datafusion::common::Result as PlanResult;

macro_rules! date_part {
    ($($(#[$doc:meta])* $name:ident $kind:ty, $native:ty, $part:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name(args: &Args<'_>) -> PlanResult<ArrayRef> {
            let times = times(args, 0, 1)?;
            let part: fn(NaiveDate) -> i64 = $part;
            args.numbers::<$kind>(|row| Ok(Some(part(times.date(row)) as $native)))
        }
    )*};
}

date_part! {
    /// `toYear`.
    year UInt16Type, u16, |date| i64::from(date.year());
    /// `toQuarter`.
    quarter UInt8Type, u8, |date| i64::from(date.month0() / 3 + 1);
    /// `toMonth`.
    month UInt8Type, u8, |date| i64::from(date.month());
    /// `toDayOfMonth`.
    day_of_month UInt8Type, u8, |date| i64::from(date.day());
    /// `toDayOfYear`.
    day_of_year UInt16Type, u16, |date| i64::from(date.ordinal());
    /// `toISOWeek`.
    iso_week UInt8Type, u8, |date| i64::from(date.iso_week().week());
    /// `toISOYear`.
    iso_year UInt16Type, u16, |date| i64::from(date.iso_week().year());
    /// `toYYYYMM`.
    yyyymm UInt32Type, u32, |date| i64::from(date.year()) * 100 + i64::from(date.month());
    /// `toYYYYMMDD`.
    yyyymmdd UInt32Type, u32, |date| i64::from(date.year()) * 10_000 + i64::from(date.month()) * 100 + i64::from(date.day());
    /// `toRelativeYearNum`.
    relative_year UInt16Type, u16, |date| i64::from(date.year());
    /// `toRelativeMonthNum`.
    relative_month UInt32Type, u32, |date| i64::from(date.year()) * 12 + i64::from(date.month());
    /// `toRelativeDayNum`.
    relative_day UInt32Type, u32, days_of;
}

macro_rules! time_part {
    ($($(#[$doc:meta])* $name:ident $kind:ty, $native:ty, $unit:expr, $of:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name(args: &Args<'_>) -> PlanResult<ArrayRef> {
            let times = times(args, 0, 1)?;
            args.numbers::<$kind>(|row| Ok(Some(times.local(row).rem_euclid($of).div_euclid($unit) as $native)))
        }
    )*};
}

time_part! {
    /// `toHour`.
    hour UInt8Type, u8, 3_600 * SECOND, DAY;
    /// `toMinute`.
    minute UInt8Type, u8, 60 * SECOND, 3_600 * SECOND;
    /// `toSecond`.
    second UInt8Type, u8, SECOND, 60 * SECOND;
    /// `toMillisecond`.
    millisecond UInt16Type, u16, 1_000, SECOND;
}

/// `toDayOfWeek(t[, mode[, zone]])`: 1 to 7 from Monday; mode 1 from 0, mode 2 from Sunday and 0, mode 3 from Sunday.
pub fn day_of_week(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let mode = if args.len() > 1 { args.int(1)?.get(0) & 3 } else { 0 };
    let times = times(args, 0, 2)?;
    args.numbers::<UInt8Type>(|row| {
        let weekday = times.date(row).weekday();
        let number = match mode {
            0 => weekday.number_from_monday(),
            1 => weekday.num_days_from_monday(),
            2 => weekday.num_days_from_sunday(),
            _ => weekday.number_from_sunday(),
        };
        Ok(Some(number as u8))
    })
}

/// `toYYYYMMDDhhmmss`.
pub fn yyyymmddhhmmss(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let times = times(args, 0, 1)?;
    args.numbers::<UInt64Type>(|row| {
        let date = times.date(row);
        let day = i64::from(date.year()) * 10_000 + i64::from(date.month()) * 100 + i64::from(date.day());
        let seconds = times.local(row).rem_euclid(DAY) / SECOND;
        Ok(Some(
            (day * 1_000_000 + seconds / 3_600 * 10_000 + seconds / 60 % 60 * 100 + seconds % 60) as u64,
        ))
    })
}

/// `toWeek(t[, mode[, zone]])`, as MySQL numbers weeks.
pub fn week(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let mode = if args.len() > 1 { args.int(1)?.get(0) } else { 0 };
    let times = times(args, 0, 2)?;
    args.numbers::<UInt8Type>(|row| Ok(Some(year_week(times.date(row), mode).1 as u8)))
}

/// `toYearWeek(t[, mode[, zone]])`.
pub fn year_and_week(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let mode = if args.len() > 1 { args.int(1)?.get(0) } else { 0 };
    let times = times(args, 0, 2)?;
    args.numbers::<UInt32Type>(|row| {
        let (year, week) = year_week(times.date(row), mode | 2);
        Ok(Some((year * 100 + week) as u32))
    })
}

/// Year and week. Modes 8 and 9 (from Monday): the first week has the first of January in it. Bit 0 of the mode: weeks begin on Monday; bit 1: weeks are 1 to 53 and belong to one year; bit 2: the
/// first week is the first that has its whole beginning, not the one with four days, in the year (inverted by bit 0).
fn year_week(date: NaiveDate, mode: i64) -> (i64, i64) {
    let monday = mode & 1 != 0;
    let holds_new_year = mode & 8 != 0;
    let one_year = mode & 2 != 0 || holds_new_year;
    // Modes 0, 2, 5, 7: the first week begins with the first first-day; 1, 3, 4, 6: it has at least four days.
    let whole = matches!(mode & 7, 0 | 2 | 5 | 7);
    let first_of = |year: i32| {
        let new_year = NaiveDate::from_ymd_opt(year, 1, 1).unwrap_or(date);
        let start = days_of(week_start(new_year, monday));
        if holds_new_year {
            return start;
        }
        let in_year = 7 - (days_of(new_year) - start);
        let belongs = if whole { in_year == 7 } else { in_year >= 4 };
        if belongs { start } else { start + 7 }
    };
    let day = days_of(date);
    let year = date.year();
    let (year, first) = if day < first_of(year) {
        if !one_year {
            return (i64::from(year), 0);
        }
        (year - 1, first_of(year - 1))
    } else if one_year && day >= first_of(year + 1) {
        (year + 1, first_of(year + 1))
    } else {
        (year, first_of(year))
    };
    (i64::from(year), (day - first) / 7 + 1)
}

/// `toUnixTimestamp(t[, zone])`; text is read as an instant.
pub fn unix_seconds(args: &Args<'_>) -> PlanResult<ArrayRef> {
    if let Ok(text) = args.text(0) {
        let zone = match args.len() > 1 {
            true => super::zone(&args.constant_text(1)?)?,
            false => chrono_tz::Tz::UTC,
        };
        return args.numbers::<UInt32Type>(|row| {
            let text = text.get(row);
            let micros =
                super::parse_instant(text, zone, true).ok_or_else(|| failed(format!("`{text}` is no DateTime")))?;
            Ok(Some(micros.div_euclid(SECOND) as u32))
        });
    }
    let times = times(args, 0, 1)?;
    args.numbers::<UInt32Type>(|row| {
        let micros = match times.are_days {
            true => super::instant(times.micros(row), times.zone),
            false => times.micros(row),
        };
        Ok(Some(micros.div_euclid(SECOND) as u32))
    })
}

/// `toUnixTimestamp64Second`, `…Milli`, `…Micro`, `…Nano`, by the name.
pub fn unix_scaled(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let times = times(args, 0, 1)?;
    let name = args.function();
    args.numbers::<Int64Type>(|row| {
        let micros = times.micros(row);
        Ok(Some(match name.rsplit("64").next() {
            Some("Second") => micros.div_euclid(SECOND),
            Some("Milli") => micros.div_euclid(1_000),
            Some("Nano") => micros.saturating_mul(1_000),
            _ => micros,
        }))
    })
}

/// `dateDiff(unit, from, to[, zone])`: boundaries of the unit that lie between them.
pub fn date_diff(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (unit, from, to) = ends(args)?;
    args.numbers::<Int64Type>(|row| {
        let (first, second) = (from.shown(row), to.shown(row));
        let index = |local: i64| -> i64 {
            let date = super::date_of(local.div_euclid(DAY));
            match unit {
                Unit::Fixed(length) => local.div_euclid(length),
                Unit::Day => local.div_euclid(DAY),
                Unit::Week => days_of(week_start(date, true)).div_euclid(7),
                Unit::Month => i64::from(date.year()) * 12 + i64::from(date.month0()),
                Unit::Quarter => i64::from(date.year()) * 4 + i64::from(date.month0() / 3),
                Unit::Year => i64::from(date.year()),
            }
        };
        Ok(Some(match unit {
            // Shorter units are counted on the time line.
            Unit::Fixed(length) if length < 3_600 * SECOND => {
                to.exact(row).div_euclid(length) - from.exact(row).div_euclid(length)
            }
            Unit::Fixed(length) => {
                let begin = |local: i64, exact: i64| exact - local.rem_euclid(length);
                (begin(second, to.exact(row)) - begin(first, from.exact(row))).div_euclid(length)
            }
            _ => index(second) - index(first),
        }))
    })
}

/// `age(unit, from, to[, zone])`: whole units that passed between them.
pub fn age(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (unit, from, to) = ends(args)?;
    args.numbers::<Int64Type>(|row| {
        let (first, second) = (from.shown(row), to.shown(row));
        Ok(Some(match unit {
            Unit::Fixed(length) => (to.exact(row) - from.exact(row)) / length,
            Unit::Day => (second - first) / DAY,
            Unit::Week => (second - first) / (7 * DAY),
            Unit::Month => months_between(first, second),
            Unit::Quarter => months_between(first, second) / 3,
            Unit::Year => months_between(first, second) / 12,
        }))
    })
}

fn months_between(first: i64, second: i64) -> i64 {
    if second < first {
        return -months_between(second, first);
    }
    let date = |local: i64| super::date_of(local.div_euclid(DAY));
    let (from, to) = (date(first), date(second));
    let months = i64::from(to.year() - from.year()) * 12 + i64::from(to.month()) - i64::from(from.month());
    let rest = |local: i64, date: NaiveDate| i64::from(date.day()) * DAY + local.rem_euclid(DAY);
    months - i64::from(rest(second, to) < rest(first, from))
}

/// One end of a difference.
struct End {
    times: super::Times,
    zone: chrono_tz::Tz,
}

impl End {
    fn exact(&self, row: usize) -> i64 {
        let micros = self.times.micros(row);
        if self.times.are_days {
            super::instant(micros, self.zone)
        } else {
            micros
        }
    }

    fn shown(&self, row: usize) -> i64 {
        if self.times.are_days {
            self.times.micros(row)
        } else {
            local(self.times.micros(row), self.zone)
        }
    }
}

fn ends(args: &Args<'_>) -> PlanResult<(Unit, End, End)> {
    let name = args.constant_text(0)?;
    let unit = match name.to_ascii_lowercase().as_str() {
        "yy" | "yyyy" => Some(Unit::Year),
        "qq" | "q" => Some(Unit::Quarter),
        "mm" | "m" => Some(Unit::Month),
        "wk" | "ww" => Some(Unit::Week),
        "dd" | "d" => Some(Unit::Day),
        "hh" | "h" => Some(Unit::Fixed(3_600 * SECOND)),
        "mi" | "n" => Some(Unit::Fixed(60 * SECOND)),
        "ss" | "s" => Some(Unit::Fixed(SECOND)),
        "ms" => Some(Unit::Fixed(1_000)),
        other => Unit::named(other),
    };
    let unit = unit.ok_or_else(|| wrong(format!("`{name}` is no unit")))?;
    let (from, to) = (times(args, 1, 3)?, times(args, 2, 3)?);
    let named = args.len() > 3;
    let zone = |times: &super::Times, other: &super::Times| match times.are_days && !named {
        true => other.zone,
        false => times.zone,
    };
    let zones = (zone(&from, &to), zone(&to, &from));
    Ok((
        unit,
        End {
            times: from,
            zone: zones.0,
        },
        End {
            times: to,
            zone: zones.1,
        },
    ))
}
