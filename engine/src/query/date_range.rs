//! Date ranges: the relative grammar of clients (`last 7 days`), arrays of dates, and exact instants at every edge of
//! daylight-saving time. Pure: the current instant is an argument.
//!
//! All arithmetic is on the wall clock of the query's zone, except that `N hours ago` and finer count elapsed time.

mod point;
mod utc;

pub use utc::{first_instant, instant_after, utc_bounds};

use super::{DateRange, Operator};
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::model::TimeUnit;
use chrono::{DateTime, NaiveDateTime, TimeDelta};
use chrono_tz::Tz;

/// Bytes of a date text: the longest sensible one (`from … to …`) is half of this.
const TEXT_BYTES_MAX: usize = 128;
/// Bytes of either side of `from … to …`, as Cube.
const SIDE_BYTES_MAX: usize = 50;

/// The current instant and its wall clock in the query's zone.
#[derive(Debug, Clone, Copy)]
struct Now {
    instant: DateTime<Tz>,
}

impl Now {
    fn new(now: Micros, tz: Tz) -> Option<Self> {
        let utc = DateTime::from_timestamp_micros(now)?;
        Some(Self {
            instant: utc.with_timezone(&tz),
        })
    }

    fn local(&self) -> NaiveDateTime {
        self.instant.naive_local()
    }

    /// The wall clock `count` units away; elapsed time for hours and finer, calendar for the rest.
    fn shifted(&self, unit: TimeUnit, count: i64) -> Option<NaiveDateTime> {
        let seconds = match unit {
            TimeUnit::Second => 1,
            TimeUnit::Minute => 60,
            TimeUnit::Hour => 3600,
            _ => return unit.add(self.local(), count),
        };
        let delta = TimeDelta::try_seconds(count.checked_mul(seconds)?)?;
        Some(self.instant.checked_add_signed(delta)?.naive_local())
    }
}

/// Resolves a text such as `last 7 days`, `from 2 weeks ago to now`, `2024-02-29` to a range on the wall clock of `tz`.
///
/// # Errors
/// `Invalid` with Cube's wording when the text means nothing.
pub fn resolve(text: &str, now: Micros, tz: Tz) -> Result<DateRange> {
    let unparsable = || Error::invalid(format!("Can't parse date: '{text}'"));
    if text.len() > TEXT_BYTES_MAX {
        return Err(Error::invalid(format!(
            "Can't parse date: a text of {} bytes; at most {TEXT_BYTES_MAX} are allowed",
            text.len()
        )));
    }
    let now = Now::new(now, tz).ok_or_else(unparsable)?;
    let lower = text.trim().to_lowercase();
    let precision = precision_of(&lower);
    if let Some((from, to)) = lower.strip_prefix("from ").and_then(|rest| rest.rsplit_once(" to ")) {
        if from.len() > SIDE_BYTES_MAX || to.len() > SIDE_BYTES_MAX {
            return Err(unparsable());
        }
        let one = |text: &str| {
            let unparsable = || Error::invalid(format!("Can't parse date: '{text}'"));
            side(text, &now, precision).ok_or_else(unparsable)
        };
        let (from, to) = (one(from)?.from, one(to)?.to);
        return Ok(DateRange { from, to });
    }
    if let Some(range) = two_dates(&lower) {
        return Ok(range);
    }
    side(&lower, &now, precision).ok_or_else(unparsable)
}

/// `2024-01-01 to 2024-01-31`, `2024-01-01 - 2024-01-31`, and one date after `from` or `to`: whole days.
fn two_dates(text: &str) -> Option<DateRange> {
    let whole = |text: &str| {
        let found = point::absolute(text).filter(|found| found.whole_day)?;
        around(found.utc_wall(), TimeUnit::Day)
    };
    if let Some(one) = text.strip_prefix("from ").or_else(|| text.strip_prefix("to ")) {
        return whole(one);
    }
    let (from, to) = text.split_once(" to ").or_else(|| text.split_once(" - "))?;
    Some(DateRange {
        from: whole(from)?.from,
        to: whole(to)?.to,
    })
}

/// Resolves the array form: one or two dates. `YYYY-MM-DD` means the whole day; an instant with a zone is taken at its
/// UTC wall clock, as Cube does; a single element may also be a relative text.
///
/// # Errors
/// `Invalid` when an element is no date or the count is not one or two.
pub fn resolve_array<S: AsRef<str>>(dates: &[S], now: Micros, tz: Tz) -> Result<DateRange> {
    match dates {
        [one] => match point::absolute(one.as_ref()).or_else(|| point::coarse(one.as_ref())) {
            Some(_) => Ok(DateRange {
                from: edge(one.as_ref(), false)?,
                to: edge(one.as_ref(), true)?,
            }),
            None => resolve(one.as_ref(), now, tz),
        },
        [from, to] => Ok(DateRange {
            from: edge(from.as_ref(), false)?,
            to: edge(to.as_ref(), true)?,
        }),
        other => Err(Error::invalid(format!(
            "a date range has one or two dates, got {}",
            other.len()
        ))),
    }
}

/// Resolves the values of a date operator of `filters` to local wall-clock texts: two for ranges, one for the others.
/// A date without a time stands for its first instant with the operators that compare with one instant, `afterDate` and
/// `beforeOrOnDate` included; of a relative text (`last week`) these two take the last instant, the others the first.
///
/// # Errors
/// `Invalid` when a value is missing or is no date.
pub fn resolve_filter(operator: Operator, values: &[Option<String>], now: Micros, tz: Tz) -> Result<Vec<String>> {
    let texts: Vec<&str> = values.iter().flatten().map(String::as_str).collect();
    let first = texts
        .first()
        .ok_or_else(|| Error::invalid(format!("the operator `{}` needs a date in `values`", operator.name())))?;
    let range = match operator {
        // A single value is a text like `last week`, and of an instant its day, as in Cube 1.7.
        Operator::InDateRange | Operator::NotInDateRange | Operator::OnTheDate => match texts.get(1) {
            None => resolve(first, now, tz)?,
            Some(_) if operator == Operator::OnTheDate => resolve(first, now, tz)?,
            Some(second) => {
                absolute_pair(operator, &texts, now, tz)?;
                resolve_array(&[*first, *second], now, tz)?
            }
        },
        _ => resolve_array(&[*first], now, tz)?,
    };
    Ok(match operator {
        Operator::BeforeDate | Operator::AfterOrOnDate => vec![format(range.from)],
        // A day as such stands for its first instant here too: so did Cube 1.6 and 1.7 answer.
        Operator::BeforeOrOnDate | Operator::AfterDate if point::absolute(first).is_some() => vec![format(range.from)],
        Operator::BeforeOrOnDate | Operator::AfterDate => vec![format(range.to)],
        _ => vec![format(range.from), format(range.to)],
    })
}

/// Whether a text depends on the current instant, such as `last week`.
pub fn is_relative(text: &str) -> bool {
    point::absolute(text).is_none() && point::coarse(text).is_none()
}

/// Refuses relative texts among several values, in Cube's words.
fn absolute_pair(operator: Operator, texts: &[&str], now: Micros, tz: Tz) -> Result<()> {
    let relative = |text: &&str| is_relative(text) && resolve(text, now, tz).is_ok();
    if !texts.iter().any(relative) {
        return Ok(());
    }
    let shown: Vec<String> = texts.iter().map(|text| format!("{:?}", shortened(text))).collect();
    Err(Error::invalid(format!(
        "Relative-date strings are only supported when `values` has a single element for operator `{}`. Pass an \
         absolute two-element [start, end] pair, or a single relative string like [\"last 2 weeks\"]. Got: [{}]",
        operator.name(),
        shown.join(",")
    )))
}

/// The wire form of a wall-clock instant: `YYYY-MM-DDTHH:mm:ss.SSS`.
pub fn format(local: NaiveDateTime) -> String {
    local.format("%Y-%m-%dT%H:%M:%S%.3f").to_string()
}

/// Reads what [`format`] wrote, and any other absolute date; a date without a time is its first instant.
///
/// # Errors
/// `Invalid` with Cube's wording when the text is no date.
pub fn parse_local(text: &str) -> Result<NaiveDateTime> {
    edge(text, false)
}

/// The last millisecond of the unit that holds `local`.
fn end_of(local: NaiveDateTime, unit: TimeUnit) -> Option<NaiveDateTime> {
    unit.add(unit.truncate(local), 1)?
        .checked_sub_signed(TimeDelta::milliseconds(1))
}

/// One element of an array as the start or the end of a range.
fn edge(text: &str, end: bool) -> Result<NaiveDateTime> {
    let unparsable = || Error::invalid(format!("Can't parse date: '{}'", shortened(text)));
    let found = point::absolute(text)
        .or_else(|| point::coarse(text))
        .ok_or_else(unparsable)?;
    // Of dates without a time only `YYYY-MM-DD` means the whole day; Cube takes the other forms for midnight.
    if end && found.whole_day {
        return end_of(found.utc_wall(), TimeUnit::Day).ok_or_else(unparsable);
    }
    Ok(found.utc_wall())
}

/// The beginning of a caller's text, for an error message.
fn shortened(text: &str) -> String {
    text.chars().take(TEXT_BYTES_MAX).collect()
}

/// The range of a text that is no `from … to …`.
fn side(text: &str, now: &Now, precision: TimeUnit) -> Option<DateRange> {
    let words: Vec<&str> = text.split_whitespace().collect();
    if let Some(range) = whole_units(&words, now) {
        return Some(range);
    }
    let day = [("today", 0), ("yesterday", -1), ("tomorrow", 1)];
    if let Some((_, shift)) = day.iter().find(|(word, _)| text.contains(word)) {
        return around(now.shifted(TimeUnit::Day, *shift)?, TimeUnit::Day);
    }
    around(point::resolve(text.trim(), &words, now)?, precision)
}

/// `this|last|next unit` and `last|next N units`, wherever they stand in the text.
fn whole_units(words: &[&str], now: &Now) -> Option<DateRange> {
    for pair in words.windows(2) {
        let shift = match pair[0] {
            "this" => 0,
            "last" => -1,
            "next" => 1,
            _ => continue,
        };
        if let Some(unit) = unit_of(pair[1]) {
            return around(now.shifted(unit, shift)?, unit);
        }
    }
    for triple in words.windows(3) {
        let (Ok(count), Some(unit)) = (triple[1].parse::<u32>(), unit_of(triple[2])) else {
            continue;
        };
        let (first, last) = match triple[0] {
            "last" => (-i64::from(count), -1),
            "next" => (1, i64::from(count)),
            _ => continue,
        };
        return Some(DateRange {
            from: unit.truncate(now.shifted(unit, first)?),
            to: end_of(now.shifted(unit, last)?, unit)?,
        });
    }
    None
}

fn around(point: NaiveDateTime, unit: TimeUnit) -> Option<DateRange> {
    Some(DateRange {
        from: unit.truncate(point),
        to: end_of(point, unit)?,
    })
}

/// How exact a text is: it names seconds, minutes or hours, else days.
fn precision_of(text: &str) -> TimeUnit {
    let fine = [TimeUnit::Second, TimeUnit::Minute, TimeUnit::Hour];
    let named = fine.into_iter().find(|unit| text.contains(unit.name()));
    named.unwrap_or(TimeUnit::Day)
}

/// The unit of a word, singular or plural.
fn unit_of(word: &str) -> Option<TimeUnit> {
    TimeUnit::from_name(word.strip_suffix('s').unwrap_or(word))
}

#[cfg(test)]
mod tests;
