//! Single points in time as people write them: `2 days ago`, `monday`, `Jan 2023`, ISO dates and instants.

use super::{Now, TimeUnit, unit_of};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};

/// Years that a query may name; four digits, as everywhere on the wire.
const YEARS: std::ops::RangeInclusive<i32> = 1..=9999;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = [
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];
const NUMBERS: [&str; 13] = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
];

/// A date or instant that does not depend on the current one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Absolute {
    /// The wall clock as written.
    wall: NaiveDateTime,
    /// Seconds east of UTC, when written.
    offset: Option<i32>,
    /// No time was written, and the date is in the ISO form, which alone stands for the whole day in an array.
    pub(super) whole_day: bool,
}

impl Absolute {
    /// The wall clock as written, or the UTC wall clock of an instant with a zone.
    pub(super) fn utc_wall(&self) -> NaiveDateTime {
        let shift = TimeDelta::seconds(i64::from(self.offset.unwrap_or(0)));
        self.wall.checked_sub_signed(shift).unwrap_or(self.wall)
    }
}

/// Parses an absolute date: `YYYY-MM-DD`, `YYYY/MM/DD`, `MM/DD/YYYY`, each with an optional time and zone.
pub(super) fn absolute(text: &str) -> Option<Absolute> {
    let text = text.trim();
    let end = text.find(['T', 't', ' ']).unwrap_or(text.len());
    let date = calendar_date(text.get(..end)?)?;
    let rest = text.get(end..)?.get(1..).unwrap_or("").trim();
    if rest.is_empty() {
        return (end == text.len()).then(|| Absolute {
            wall: date.and_time(NaiveTime::MIN),
            offset: None,
            whole_day: is_padded_iso(text),
        });
    }
    let (time, offset) = split_zone(rest)?;
    let formats = ["%H:%M:%S%.f", "%H:%M"];
    let time = formats.iter().find_map(|f| NaiveTime::parse_from_str(time, f).ok())?;
    Some(Absolute {
        wall: date.and_time(time),
        offset,
        whole_day: false,
    })
}

/// `YYYY-MM-DD`, every part with all its digits.
fn is_padded_iso(text: &str) -> bool {
    let shape = |(at, byte): (usize, u8)| {
        if at == 4 || at == 7 {
            byte == b'-'
        } else {
            byte.is_ascii_digit()
        }
    };
    text.len() == 10 && text.bytes().enumerate().all(shape)
}

/// The other ISO forms that Cube reads in arrays: `YYYY`, `YYYY-MM`, `YYYYMMDD`, `YYYY-DDD` and `YYYY-Www`, each of which
/// stands for the first instant of what it names.
pub(super) fn coarse(text: &str) -> Option<Absolute> {
    let digits = |part: &str| {
        part.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| part.parse::<u32>().ok())?
    };
    let year: i32 = text.get(..4).filter(|year| digits(year).is_some())?.parse().ok()?;
    let date = match text.get(4..)? {
        "" => NaiveDate::from_ymd_opt(year, 1, 1),
        rest if rest.len() == 3 && rest.starts_with('-') => NaiveDate::from_ymd_opt(year, digits(rest.get(1..)?)?, 1),
        rest if rest.len() == 4 && rest.starts_with("-W") => {
            NaiveDate::from_isoywd_opt(year, digits(rest.get(2..)?)?, chrono::Weekday::Mon)
        }
        rest if rest.len() == 4 && rest.starts_with('-') => NaiveDate::from_yo_opt(year, digits(rest.get(1..)?)?),
        rest if rest.len() == 4 => NaiveDate::from_ymd_opt(year, digits(rest.get(..2)?)?, digits(rest.get(2..)?)?),
        _ => None,
    };
    Some(Absolute {
        wall: date
            .filter(|date| YEARS.contains(&date.year()))?
            .and_time(NaiveTime::MIN),
        offset: None,
        whole_day: false,
    })
}

fn calendar_date(text: &str) -> Option<NaiveDate> {
    let all_digits = |s: &str, lens: std::ops::RangeInclusive<usize>| {
        lens.contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit())
    };
    let separator = if text.contains('/') { '/' } else { '-' };
    let parts: Vec<&str> = text.split(separator).collect();
    let [a, b, c] = parts.as_slice() else { return None };
    let (year, month, day) = if all_digits(a, 4..=4) {
        (a, b, c)
    } else if separator == '/' {
        (c, a, b)
    } else {
        return None;
    };
    let valid = all_digits(year, 4..=4) && all_digits(month, 1..=2) && all_digits(day, 1..=2);
    let year: i32 = year.parse().ok().filter(|year| valid && YEARS.contains(year))?;
    NaiveDate::from_ymd_opt(year, month.parse().ok()?, day.parse().ok()?)
}

/// Splits `10:00:00.000+02:00` into the time and the seconds east of UTC.
fn split_zone(text: &str) -> Option<(&str, Option<i32>)> {
    if let Some(time) = text.strip_suffix(['Z', 'z']) {
        return Some((time.trim_end(), Some(0)));
    }
    let Some(at) = text.find(['+', '-']) else {
        return Some((text, None));
    };
    let (time, zone) = text.split_at(at);
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits: String = zone.get(1..)?.chars().filter(|c| *c != ':').collect();
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = match digits.len() {
        2 => (digits.parse::<i32>().ok()?, 0),
        4 => (digits.get(..2)?.parse().ok()?, digits.get(2..)?.parse::<i32>().ok()?),
        _ => return None,
    };
    (hours <= 15 && minutes < 60).then(|| (time.trim_end(), Some(sign * (hours * 3600 + minutes * 60))))
}

/// A point in time on the wall clock of the query's zone; `text` is lower case, `words` its words.
pub(super) fn resolve(text: &str, words: &[&str], now: &Now) -> Option<NaiveDateTime> {
    if let Some(found) = absolute(text) {
        let Some(offset) = found.offset else {
            return Some(found.wall);
        };
        let utc = found.wall.checked_sub_signed(TimeDelta::seconds(i64::from(offset)))?;
        let instant = DateTime::from_timestamp_micros(utc.and_utc().timestamp_micros())?;
        return Some(instant.with_timezone(&now.instant.timezone()).naive_local());
    }
    let point = match words {
        ["now" | "noon"] => Some(now.local()),
        // The next one.
        ["midnight"] => now.shifted(TimeUnit::Day, 1),
        [time] if NaiveTime::parse_from_str(time, "%H:%M").is_ok() => Some(now.local()),
        [count, unit, "ago"] | ["past" | "last", count, unit] => now.shifted(unit_of(unit)?, -number(count)?),
        [count, unit, "from", "now"] | ["in" | "next", count, unit] => now.shifted(unit_of(unit)?, number(count)?),
        [day] | ["on", day] if weekday(day).is_some() => relative_weekday("", weekday(day)?, now),
        [which @ ("this" | "last" | "past" | "next"), day] => relative_weekday(which, weekday(day)?, now),
        _ => month_and_day(words, now),
    }?;
    YEARS.contains(&point.year()).then_some(point)
}

fn number(word: &str) -> Option<i64> {
    if word == "a" || word == "an" {
        return Some(1);
    }
    if let Some(value) = NUMBERS.iter().position(|name| *name == word) {
        return i64::try_from(value).ok();
    }
    word.parse::<u32>().ok().map(i64::from)
}

/// Days from Sunday of a weekday's name or its first three letters.
fn weekday(word: &str) -> Option<i64> {
    position(&WEEKDAYS, word)
}

fn position(names: &[&str], word: &str) -> Option<i64> {
    let word = word.trim_end_matches(['.', ',']);
    let found = names
        .iter()
        .position(|name| *name == word || (word.len() == 3 && name.starts_with(word)));
    found.and_then(|at| i64::try_from(at).ok())
}

/// A weekday without a word before it is the nearest one; `this` looks forward, `last` back, `next` into the next week.
fn relative_weekday(which: &str, day: i64, now: &Now) -> Option<NaiveDateTime> {
    let today = i64::from(now.local().weekday().num_days_from_sunday());
    let forward = (day - today).rem_euclid(7);
    let shift = match which {
        "this" => forward,
        "last" | "past" if forward == 0 => -7,
        "last" | "past" => forward - 7,
        "next" => next_weekday(today, day, forward),
        _ if forward <= 3 => forward,
        _ => forward - 7,
    };
    TimeUnit::Day.add(now.local(), shift)
}

/// Days to `next` weekday: that of the week after this one, where weeks end with Sunday.
fn next_weekday(today: i64, day: i64, forward: i64) -> i64 {
    const SUNDAY: i64 = 0;
    const SATURDAY: i64 = 6;
    match (today, day) {
        (SUNDAY, SUNDAY) | (SATURDAY, SATURDAY) => 7,
        (SUNDAY, _) => day,
        (SATURDAY, SUNDAY) => 8,
        (SATURDAY, _) => 1 + day,
        _ if day < today && day != SUNDAY => forward,
        _ => forward + 7,
    }
}

/// `january`, `jan 2023`, `january 1`, `jan 1 2023`, `1 january 2023`. Without a year, the nearest one.
fn month_and_day(words: &[&str], now: &Now) -> Option<NaiveDateTime> {
    let month_of = |word: &str| position(&MONTHS, word).and_then(|at| u32::try_from(at + 1).ok());
    let (month, day, year) = match words {
        [month] => (month_of(month)?, 1, None),
        [month, second] if month_of(month).is_some() => match ordinal(second) {
            Some(day) => (month_of(month)?, day, None),
            None => (month_of(month)?, 1, Some(year_of(second)?)),
        },
        [day, month] => (month_of(month)?, ordinal(day)?, None),
        [day, "of", month, year] => (month_of(month)?, ordinal(day)?, Some(year_of(year)?)),
        [month, day, year] if month_of(month).is_some() => (month_of(month)?, ordinal(day)?, Some(year_of(year)?)),
        [day, month, year] => (month_of(month)?, ordinal(day)?, Some(year_of(year)?)),
        _ => return None,
    };
    let at = |year: i32| NaiveDate::from_ymd_opt(year, month, day).map(|date| date.and_time(NaiveTime::MIN));
    match year {
        Some(year) => at(year),
        None => {
            let this = now.local().year();
            let near = [this - 1, this, this + 1].into_iter().filter_map(at);
            near.min_by_key(|date| (*date - now.local()).abs())
        }
    }
}

/// A day of a month: `1`, `1,`, `1st`.
fn ordinal(word: &str) -> Option<u32> {
    let word = word.trim_end_matches(',');
    let digits = ["st", "nd", "rd", "th"]
        .iter()
        .find_map(|s| word.strip_suffix(s))
        .unwrap_or(word);
    digits
        .parse()
        .ok()
        .filter(|day| (1..=31).contains(day) && digits.len() <= 2)
}

fn year_of(word: &str) -> Option<i32> {
    word.parse().ok().filter(|year| word.len() == 4 && YEARS.contains(year))
}
