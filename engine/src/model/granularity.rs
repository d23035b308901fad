//! Granularities: how time is cut into buckets, always on the wall clock of the query's time zone.
//!
//! Everything here is calendar arithmetic on [`NaiveDateTime`]: the caller converts instants to the zone first and
//! decides what a wall-clock edge means where the clock jumps.

use chrono::{Datelike, Days, Months, NaiveDate, NaiveDateTime, TimeDelta, Timelike};
use std::sync::Arc;

/// A predefined granularity, which is also the unit of intervals and relative date ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimeUnit {
    /// 1 second.
    Second,
    /// 60 seconds.
    Minute,
    /// 60 minutes.
    Hour,
    /// A calendar day.
    Day,
    /// An ISO week, from Monday.
    Week,
    /// A calendar month.
    Month,
    /// Three calendar months.
    Quarter,
    /// A calendar year.
    Year,
}

impl TimeUnit {
    /// All units, finest first.
    pub const ALL: &'static [TimeUnit] = &[
        TimeUnit::Second,
        TimeUnit::Minute,
        TimeUnit::Hour,
        TimeUnit::Day,
        TimeUnit::Week,
        TimeUnit::Month,
        TimeUnit::Quarter,
        TimeUnit::Year,
    ];

    /// The name in queries, singular.
    pub fn name(self) -> &'static str {
        match self {
            TimeUnit::Second => "second",
            TimeUnit::Minute => "minute",
            TimeUnit::Hour => "hour",
            TimeUnit::Day => "day",
            TimeUnit::Week => "week",
            TimeUnit::Month => "month",
            TimeUnit::Quarter => "quarter",
            TimeUnit::Year => "year",
        }
    }

    /// The unit of this name, singular.
    pub fn from_name(name: &str) -> Option<TimeUnit> {
        TimeUnit::ALL.iter().copied().find(|unit| unit.name() == name)
    }

    /// One of this unit as calendar months and, for the units shorter than a month, microseconds.
    fn size(self) -> (i64, i64) {
        const SECOND: i64 = 1_000_000;
        match self {
            TimeUnit::Second => (0, SECOND),
            TimeUnit::Minute => (0, 60 * SECOND),
            TimeUnit::Hour => (0, 3_600 * SECOND),
            TimeUnit::Day => (0, 86_400 * SECOND),
            TimeUnit::Week => (0, 7 * 86_400 * SECOND),
            TimeUnit::Month => (1, 0),
            TimeUnit::Quarter => (3, 0),
            TimeUnit::Year => (12, 0),
        }
    }

    /// The start of the unit that holds `local`.
    pub fn truncate(self, local: NaiveDateTime) -> NaiveDateTime {
        let date = local.date();
        let first_of = |month: u32| NaiveDate::from_ymd_opt(date.year(), month, 1).unwrap_or(date);
        let day = match self {
            TimeUnit::Second | TimeUnit::Minute | TimeUnit::Hour => return self.truncate_time(local),
            TimeUnit::Day => date,
            TimeUnit::Week => {
                let since_monday = Days::new(u64::from(date.weekday().num_days_from_monday()));
                date.checked_sub_days(since_monday).unwrap_or(date)
            }
            TimeUnit::Month => first_of(date.month()),
            TimeUnit::Quarter => first_of((date.month() - 1) / 3 * 3 + 1),
            TimeUnit::Year => first_of(1),
        };
        day.and_time(chrono::NaiveTime::MIN)
    }

    fn truncate_time(self, local: NaiveDateTime) -> NaiveDateTime {
        let time = local.time();
        let (minute, second) = match self {
            TimeUnit::Second => (time.minute(), time.second()),
            TimeUnit::Minute => (time.minute(), 0),
            _ => (0, 0),
        };
        let cut = chrono::NaiveTime::from_hms_opt(time.hour(), minute, second).unwrap_or(time);
        local.date().and_time(cut)
    }

    /// `local` moved by `count` units, backwards when negative. A day that the target month lacks becomes its last day.
    /// `None` when the result is outside the calendar.
    pub fn add(self, local: NaiveDateTime, count: i64) -> Option<NaiveDateTime> {
        let (months, micros) = self.size();
        shift(local, months.checked_mul(count)?, micros.checked_mul(count)?)
    }
}

/// `local` moved by calendar months and then by microseconds.
fn shift(local: NaiveDateTime, months: i64, micros: i64) -> Option<NaiveDateTime> {
    let step = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
    let moved = if months < 0 {
        local.checked_sub_months(step)?
    } else {
        local.checked_add_months(step)?
    };
    moved.checked_add_signed(TimeDelta::microseconds(micros))
}

/// A length of time as Cube writes it: `15 minutes`, `-1 day`, `1 year 6 months`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    months: i64,
    micros: i64,
    /// The unit when the interval is exactly one of it.
    single: Option<TimeUnit>,
    /// Whether Cube accepts it as a bucket without an origin.
    divides_parent: bool,
}

impl Interval {
    /// Reads an interval: pairs of a whole number and a unit, singular or plural.
    ///
    /// # Errors
    /// A message that names the text and what is allowed.
    pub fn parse(text: &str) -> Result<Interval, String> {
        let wrong =
            || format!("`{text}` is no interval: write a whole number and a unit, such as `15 minutes` or `6 months`");
        let words: Vec<&str> = text.split_whitespace().collect();
        let mut parts: Vec<(i64, TimeUnit)> = Vec::new();
        for pair in words.chunks(2) {
            let &[count, unit] = pair else { return Err(wrong()) };
            let count: i64 = count.parse().map_err(|_| wrong())?;
            let unit = unit.to_ascii_lowercase();
            let unit = TimeUnit::from_name(unit.strip_suffix('s').unwrap_or(&unit)).ok_or_else(wrong)?;
            parts.push((count, unit));
        }
        let mut total = (0i64, 0i64);
        for (count, unit) in &parts {
            let (months, micros) = unit.size();
            let months = months.checked_mul(*count).and_then(|m| m.checked_add(total.0));
            let micros = micros.checked_mul(*count).and_then(|m| m.checked_add(total.1));
            total = months.zip(micros).ok_or_else(wrong)?;
        }
        match parts.as_slice() {
            [] => Err(wrong()),
            [(count, unit)] => Ok(Interval {
                months: total.0,
                micros: total.1,
                single: (*count == 1).then_some(*unit),
                divides_parent: divides_parent(*count, *unit),
            }),
            _ => Ok(Interval {
                months: total.0,
                micros: total.1,
                single: None,
                divides_parent: false,
            }),
        }
    }

    /// Whether the interval moves time forward in every part.
    pub fn is_positive(self) -> bool {
        self.months >= 0 && self.micros >= 0 && (self.months > 0 || self.micros > 0)
    }

    /// The unit when the interval is exactly one of it (`1 week`).
    pub fn single_unit(self) -> Option<TimeUnit> {
        self.single
    }

    /// Calendar months, then microseconds.
    pub fn parts(self) -> (i64, i64) {
        (self.months, self.micros)
    }

    /// The unit that it counts: as written when it is one of it, else the longest that divides it.
    pub fn unit(self) -> TimeUnit {
        const HOUR_MICROS: i64 = 3_600_000_000;
        if let Some(unit) = self.single {
            return unit;
        }
        match self.micros {
            0 => TimeUnit::Month,
            micros if micros % (24 * HOUR_MICROS) == 0 => TimeUnit::Day,
            micros if micros % HOUR_MICROS == 0 => TimeUnit::Hour,
            micros if micros % (HOUR_MICROS / 60) == 0 => TimeUnit::Minute,
            _ => TimeUnit::Second,
        }
    }

    /// The interval that leads back.
    pub fn negated(self) -> Interval {
        Interval {
            months: self.months.saturating_neg(),
            micros: self.micros.saturating_neg(),
            single: None,
            divides_parent: false,
        }
    }

    /// This interval and then `other`.
    pub fn and_then(self, other: Interval) -> Interval {
        Interval {
            months: self.months.saturating_add(other.months),
            micros: self.micros.saturating_add(other.micros),
            single: None,
            divides_parent: false,
        }
    }

    /// `local` moved by `count` of this interval. `None` when the result is outside the calendar.
    pub fn add(self, local: NaiveDateTime, count: i64) -> Option<NaiveDateTime> {
        shift(local, self.months.checked_mul(count)?, self.micros.checked_mul(count)?)
    }

    /// The mean length in microseconds, with a month of a twelfth of 365.2425 days.
    fn mean_micros(self) -> i128 {
        const MONTH_MICROS: i128 = 2_629_746_000_000;
        i128::from(self.months) * MONTH_MICROS + i128::from(self.micros)
    }
}

/// Cube's rule for an interval without an origin: it must cut the next larger unit without a remainder.
fn divides_parent(count: i64, unit: TimeUnit) -> bool {
    let per_parent = match unit {
        TimeUnit::Second | TimeUnit::Minute => 60,
        TimeUnit::Hour => 24,
        TimeUnit::Day | TimeUnit::Week => 1,
        TimeUnit::Month => 12,
        TimeUnit::Quarter => 4,
        TimeUnit::Year => return count > 0,
    };
    count > 0 && per_parent % count == 0
}

/// A custom granularity of a time dimension.
#[derive(Debug, Clone, PartialEq)]
pub struct Granularity {
    /// Name.
    pub name: String,
    /// Title; made from the name when the author gave none.
    pub title: String,
    /// Interval as written, for instance `15 minutes`.
    pub interval: String,
    /// A bucket edge on the wall clock, as written.
    pub origin: Option<String>,
    /// Shift of the natural edges as written, for instance `-1 day`.
    pub offset: Option<String>,
    /// SQL of a calendar's author in place of the natural edges; buckets of it are not answered.
    pub sql: Option<super::SqlTemplate>,
    rule: Rule,
    /// How far instants are moved before they are cut.
    shift: Option<Interval>,
    /// Edges instead of a rule, as microseconds of the wall clock.
    edges: Option<Arc<[i64]>>,
}

/// How [`Granularity::bucket`] finds the start of a bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    /// The calendar's own unit, its edges shifted.
    Natural(TimeUnit, Option<Interval>),
    /// Whole intervals counted from an edge.
    Counted(Interval, NaiveDateTime),
}

impl Granularity {
    /// Checks and makes a granularity. An empty `title` is made from the name.
    ///
    /// As in Cube, an interval of exactly one unit is the calendar's own unit: an `offset` shifts its edges, an `origin`
    /// has no effect ([`Granularity::ignores_origin`]). Other intervals are counted from the origin, or else from the
    /// start of the year 2000 plus the offset.
    ///
    /// # Errors
    /// A message that names the wrong value and what is allowed.
    pub fn new(
        name: impl Into<String>,
        title: Option<String>,
        interval: &str,
        origin: Option<&str>,
        offset: Option<&str>,
    ) -> Result<Granularity, String> {
        let name = name.into();
        let length = Interval::parse(interval)?;
        if !length.is_positive() {
            return Err(format!("interval `{interval}` must be longer than nothing"));
        }
        if origin.is_some() && offset.is_some() {
            return Err("either `origin` or `offset` may be given, not both".to_owned());
        }
        if origin.is_none() && !length.divides_parent {
            return Err(format!(
                "Arbitrary intervals cannot be used without origin point specified: give `origin` with interval `{interval}`"
            ));
        }
        let edge = origin.map(parse_origin).transpose()?;
        let shift = offset.map(Interval::parse).transpose()?;
        let rule = match (length.single, edge) {
            (Some(unit), _) => Rule::Natural(unit, shift),
            (None, Some(edge)) => Rule::Counted(length, edge),
            (None, None) => {
                let start = NaiveDate::from_ymd_opt(2000, 1, 1).unwrap_or_default().into();
                let edge = shift.map_or(Some(start), |shift| shift.add(start, 1));
                Rule::Counted(length, edge.ok_or_else(|| "`offset` is too long".to_owned())?)
            }
        };
        Ok(Granularity {
            title: title.unwrap_or_else(|| super::title::titleize(&name)),
            name,
            interval: interval.to_owned(),
            origin: origin.map(str::to_owned),
            offset: offset.map(str::to_owned),
            sql: None,
            rule,
            shift: None,
            edges: None,
        })
    }

    /// The same buckets for instants that are moved by `shift` on the wall clock first.
    #[must_use]
    pub fn shifted(&self, shift: Option<Interval>) -> Granularity {
        Granularity { shift, ..self.clone() }
    }

    /// How far instants are moved before they are cut.
    pub fn shift(&self) -> Option<Interval> {
        self.shift
    }

    /// Pieces of time between these edges, microseconds of the wall clock in ascending order, instead of buckets of a
    /// rule. Only the planner makes such granularities: a piece is known by its number.
    #[must_use]
    pub fn pieces(&self, edges: Arc<[i64]>) -> Granularity {
        Granularity {
            edges: Some(edges),
            ..self.clone()
        }
    }

    /// The edges of [`Granularity::pieces`].
    pub fn edges(&self) -> Option<&Arc<[i64]>> {
        self.edges.as_ref()
    }

    /// Whether an `origin` was given that has no effect because the interval is one unit of the calendar.
    pub fn ignores_origin(&self) -> bool {
        self.origin.is_some() && matches!(self.rule, Rule::Natural(..))
    }

    /// The start of the bucket that holds `local`. `None` when it is outside the calendar.
    pub fn bucket(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        match self.rule {
            Rule::Natural(unit, None) => Some(unit.truncate(local)),
            Rule::Natural(unit, Some(offset)) => offset.add(unit.truncate(offset.add(local, -1)?), 1),
            Rule::Counted(length, edge) if length.months == 0 => {
                let since = local.signed_duration_since(edge).num_microseconds()?;
                length.add(edge, since.div_euclid(length.micros))
            }
            Rule::Counted(length, edge) => {
                let since = local.signed_duration_since(edge).num_microseconds()?;
                let mean = length.mean_micros().max(1);
                let mut count = i64::try_from(i128::from(since).div_euclid(mean)).ok()?;
                // The mean is off by days at the most, so each loop runs once or twice.
                while length.add(edge, count)? > local {
                    count -= 1;
                }
                while length.add(edge, count + 1)? <= local {
                    count += 1;
                }
                length.add(edge, count)
            }
        }
    }

    /// When all buckets have one length: an edge and that length, in microseconds of the wall clock.
    pub fn fixed(&self) -> Option<(i64, i64)> {
        /// 1970-01-05, a Monday.
        const MONDAY_MICROS: i64 = 4 * 86_400_000_000;
        match self.rule {
            Rule::Natural(unit, offset) => {
                let (months, length) = unit.size();
                let offset = offset.map_or(Some(0), |offset| (offset.months == 0).then_some(offset.micros))?;
                let edge = if unit == TimeUnit::Week { MONDAY_MICROS } else { 0 };
                (months == 0).then_some((edge + offset, length))
            }
            Rule::Counted(length, edge) => {
                (length.months == 0).then_some((edge.and_utc().timestamp_micros(), length.micros))
            }
        }
    }

    /// The start of the bucket after the one that starts at `start`. `None` when it is outside the calendar.
    pub fn next(&self, start: NaiveDateTime) -> Option<NaiveDateTime> {
        match self.rule {
            Rule::Natural(unit, None) => unit.add(start, 1),
            Rule::Natural(unit, Some(offset)) => offset.add(unit.add(offset.add(start, -1)?, 1)?, 1),
            Rule::Counted(length, _) => length.add(start, 1),
        }
    }
}

/// Reads an origin: `YYYY`, `YYYY-MM`, `YYYY-MM-DD` or a date with a time, `T` or a blank between.
fn parse_origin(text: &str) -> Result<NaiveDateTime, String> {
    let wrong = || {
        format!(
            "`{text}` is no origin: Origin should be valid date-only form: YYYY[-MM[-DD]] or date-time form: \
             YYYY-MM-DD[T]HH:mm[:ss[.sss[Z]]]"
        )
    };
    let plain = text.trim().trim_end_matches('Z').replacen(' ', "T", 1);
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"] {
        if let Ok(moment) = NaiveDateTime::parse_from_str(&plain, format) {
            return Ok(moment);
        }
    }
    let day = match plain.len() {
        4 => format!("{plain}-01-01"),
        7 => format!("{plain}-01"),
        _ => plain,
    };
    let date = NaiveDate::parse_from_str(&day, "%Y-%m-%d").map_err(|_| wrong())?;
    Ok(date.into())
}

#[cfg(test)]
mod tests;
