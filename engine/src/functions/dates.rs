//! Days and instants. ClickHouse's `DateTime` is a timestamp in seconds here, `DateTime64(n)` one in milli-, micro- or
//! nanoseconds, both exact instants with the zone they are shown in; `Date` is a day.

mod format;
mod parse;
mod parts;
mod rewrites;
mod shift;
mod start;

pub use format::{format_date_time, text_of_array};
pub use parse::{best_effort, best_effort_micros, day_of, parse_day, parse_instant};
pub use parts::*;
pub use rewrites::*;
pub use shift::*;
pub use start::*;

use super::scalar::{Args, Given, wrong};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use datafusion::common::Result as PlanResult;
use std::sync::Arc;

/// Microseconds of a second.
pub const SECOND: i64 = 1_000_000;
/// Microseconds of a day.
pub const DAY: i64 = 86_400 * SECOND;

/// `Date`.
pub fn day_type(_: &Given<'_>) -> PlanResult<DataType> {
    Ok(DataType::Date32)
}

/// `DateTime` in the zone `at` names.
pub fn instant_type(zone: &str) -> DataType {
    DataType::Timestamp(TimeUnit::Second, Some(zone.into()))
}

/// A time zone by its name.
pub fn zone(name: &str) -> PlanResult<Tz> {
    name.parse()
        .map_err(|_| wrong(format!("time zone `{name}` is not known")))
}

/// The zone that an argument names, else that of the instants, else UTC.
pub fn zone_of(given: &Given<'_>, at: usize) -> PlanResult<String> {
    if given.types.len() > at {
        let name = given
            .text(at)
            .ok_or_else(|| wrong("the time zone must be a constant text"))?;
        return Ok(zone(name)?.name().to_owned());
    }
    Ok(match given.data_type(0) {
        DataType::Timestamp(_, Some(zone)) => zone.to_string(),
        _ => "UTC".to_owned(),
    })
}

/// The precision of `DateTime64(scale)`.
pub fn unit_of(scale: i64) -> TimeUnit {
    match scale {
        ..=0 => TimeUnit::Second,
        1..=3 => TimeUnit::Millisecond,
        4..=6 => TimeUnit::Microsecond,
        _ => TimeUnit::Nanosecond,
    }
}

/// Days or instants, as microseconds.
#[derive(Debug)]
pub struct Times {
    micros: Int64Array,
    /// Whether they are days.
    pub are_days: bool,
    /// The zone that their parts are read in.
    pub zone: Tz,
    /// Their precision.
    pub unit: TimeUnit,
}

impl Times {
    /// Microseconds since 1970 of a row.
    pub fn micros(&self, row: usize) -> i64 {
        if self.micros.is_null(row) {
            0
        } else {
            self.micros.value(row)
        }
    }

    /// What a wall clock shows, as microseconds since 1970 on it.
    pub fn local(&self, row: usize) -> i64 {
        let micros = self.micros(row);
        if self.are_days {
            micros
        } else {
            local(micros, self.zone)
        }
    }

    /// The day on the wall.
    pub fn date(&self, row: usize) -> NaiveDate {
        date_of(self.local(row).div_euclid(DAY))
    }
}

/// Reads argument `at` as days or instants, and argument `zone_at`, when it is there, as their zone.
pub fn times(args: &Args<'_>, at: usize, zone_at: usize) -> PlanResult<Times> {
    let array = args.array(at)?;
    let data_type = array.data_type().clone();
    let named = match args.len() > zone_at {
        true => Some(zone(&args.constant_text(zone_at)?)?),
        false => None,
    };
    match &data_type {
        DataType::Date32 | DataType::Date64 => {
            let days = cast(&array, &DataType::Date32)?;
            let micros = days.as_primitive::<Date32Type>().unary(|day| i64::from(day) * DAY);
            Ok(Times {
                micros,
                are_days: true,
                zone: named.unwrap_or(Tz::UTC),
                unit: TimeUnit::Second,
            })
        }
        DataType::Timestamp(unit, own) => {
            let own = own.as_deref().map(zone).transpose()?;
            let micros = cast(&array, &DataType::Timestamp(TimeUnit::Microsecond, None).clone());
            // A cast between zones keeps the instant only when both have one.
            let micros = match own {
                Some(_) => cast(&array, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))?,
                None => micros?,
            };
            let micros: Int64Array = micros
                .as_primitive::<TimestampMicrosecondType>()
                .reinterpret_cast::<Int64Type>();
            Ok(Times {
                micros,
                are_days: false,
                zone: named.or(own).unwrap_or(Tz::UTC),
                unit: *unit,
            })
        }
        DataType::Null => Ok(Times {
            micros: Int64Array::new_null(args.rows),
            are_days: false,
            zone: Tz::UTC,
            unit: TimeUnit::Second,
        }),
        other => Err(wrong(format!(
            "argument {} must be a Date or DateTime, not {other}",
            at + 1
        ))),
    }
}

/// What a clock on the wall of `zone` shows.
pub fn local(micros: i64, zone: Tz) -> i64 {
    if zone == Tz::UTC {
        return micros;
    }
    let Some(at) = DateTime::from_timestamp_micros(micros) else {
        return micros;
    };
    let offset = zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc();
    micros + i64::from(offset) * SECOND
}

/// The first instant at which a clock on the wall of `zone` shows `local` or, where it is skipped, more.
pub fn instant(local: i64, zone: Tz) -> i64 {
    if zone == Tz::UTC {
        return local;
    }
    let Some(wall) = DateTime::from_timestamp_micros(local).map(|at| at.naive_utc()) else {
        return local;
    };
    match zone.from_local_datetime(&wall) {
        chrono::LocalResult::Single(at) | chrono::LocalResult::Ambiguous(at, _) => at.timestamp_micros(),
        chrono::LocalResult::None => after_gap(wall, zone),
    }
}

/// The instant that a written wall clock means: of one that is skipped, as if the clocks had been changed before.
pub fn written(local_micros: i64, zone: Tz) -> i64 {
    let at = instant(local_micros, zone);
    match local(at, zone) == local_micros {
        true => at,
        false => local_micros - (local(at, zone) - at),
    }
}

/// The end of the gap that swallows `wall`: the first instant of the offset that rules after it.
fn after_gap(wall: NaiveDateTime, zone: Tz) -> i64 {
    let wanted = wall.and_utc().timestamp_micros();
    let offset = |micros: i64| local(micros, zone) - micros;
    // A day before and after no other change is near.
    let (mut before, mut after) = (wanted - offset(wanted - DAY) - DAY, wanted - offset(wanted + DAY) + DAY);
    let old = offset(before);
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        if offset(middle) == old {
            before = middle
        } else {
            after = middle
        }
    }
    after
}

/// The day `days` after 1970-01-01.
pub fn date_of(days: i64) -> NaiveDate {
    let origin = DateTime::<Utc>::UNIX_EPOCH.date_naive();
    origin
        .checked_add_signed(TimeDelta::try_days(days).unwrap_or_default())
        .unwrap_or(origin)
}

/// Days since 1970-01-01.
pub fn days_of(date: NaiveDate) -> i64 {
    i64::from(date.num_days_from_ce()) - i64::from(DateTime::<Utc>::UNIX_EPOCH.date_naive().num_days_from_ce())
}

/// Instants in the type that was planned.
pub fn instants(args: &Args<'_>, mut answer: impl FnMut(usize) -> PlanResult<Option<i64>>) -> PlanResult<ArrayRef> {
    let DataType::Timestamp(unit, name) = args.returned else {
        return Err(wrong(format!("{} is no DateTime", args.returned)));
    };
    let per_micro = |micros: i64| match unit {
        TimeUnit::Second => micros.div_euclid(SECOND),
        TimeUnit::Millisecond => micros.div_euclid(1_000),
        TimeUnit::Microsecond => micros,
        TimeUnit::Nanosecond => micros.saturating_mul(1_000),
    };
    let mut values: Vec<Option<i64>> = Vec::with_capacity(args.rows);
    for row in 0..args.rows {
        let value = if args.is_null(row) { None } else { answer(row)? };
        values.push(value.map(per_micro));
    }
    let values: PrimitiveArray<Int64Type> = values.into();
    Ok(match unit {
        TimeUnit::Second => Arc::new(
            values
                .reinterpret_cast::<arrow::datatypes::TimestampSecondType>()
                .with_timezone_opt(name.clone()),
        ),
        TimeUnit::Millisecond => Arc::new(
            values
                .reinterpret_cast::<arrow::datatypes::TimestampMillisecondType>()
                .with_timezone_opt(name.clone()),
        ),
        TimeUnit::Microsecond => Arc::new(
            values
                .reinterpret_cast::<TimestampMicrosecondType>()
                .with_timezone_opt(name.clone()),
        ),
        TimeUnit::Nanosecond => Arc::new(
            values
                .reinterpret_cast::<arrow::datatypes::TimestampNanosecondType>()
                .with_timezone_opt(name.clone()),
        ),
    })
}

/// Days, or instants at the beginning of local days, in the type that was planned.
pub fn days_or_instants(
    args: &Args<'_>,
    zone: Tz,
    mut answer: impl FnMut(usize) -> PlanResult<Option<i64>>,
) -> PlanResult<ArrayRef> {
    match args.returned {
        DataType::Date32 => args.numbers::<Date32Type>(|row| {
            let local = answer(row)?;
            Ok(local.map(|local| i32::try_from(local.div_euclid(DAY)).unwrap_or(i32::MAX)))
        }),
        _ => instants(args, |row| Ok(answer(row)?.map(|local| instant(local, zone)))),
    }
}
