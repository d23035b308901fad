//! Texts read as days and instants: strictly, as `toDate` and `toDateTime` do, and as well as can be.

use super::{DAY, SECOND, days_of, instants, written};
use crate::functions::scalar::{Args, failed};
use arrow::array::ArrayRef;
use chrono::{Datelike, NaiveDate};
use chrono_tz::Tz;
use datafusion::common::Result as PlanResult;

/// Days since 1970 of `YYYY-MM-DD` at the text's beginning; what follows may only be a time.
pub fn parse_day(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let (year, rest) = digits(bytes, 4, 4)?;
    let (month, rest) = if rest.first()?.is_ascii_digit() {
        digits(rest, 2, 2)?
    } else {
        digits(rest.get(1..)?, 1, 2)?
    };
    let (day, rest) = if rest.first()?.is_ascii_digit() {
        digits(rest, 2, 2)?
    } else {
        digits(rest.get(1..)?, 1, 2)?
    };
    if !(rest.is_empty() || matches!(rest[0], b' ' | b'T')) {
        return None;
    }
    day_of(year, month, day)
}

/// Days since 1970; a day beyond a short month's end is one of the next month.
pub fn day_of(year: i64, month: i64, day: i64) -> Option<i64> {
    if (year, month, day) == (0, 0, 0) {
        return Some(0);
    }
    let first = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, u32::try_from(month).ok()?, 1)?;
    (1..=31).contains(&day).then(|| days_of(first) + day - 1)
}

/// Whether the day that was read is the day that was written.
fn exists(bytes: &[u8], day: i64) -> bool {
    let end = bytes
        .iter()
        .position(|byte| matches!(byte, b' ' | b'T'))
        .unwrap_or(bytes.len());
    let written = bytes[..end].rsplit(|byte| *byte == b'-').next().unwrap_or_default();
    let written = digits(written, 1, 2).map(|(day, _)| day);
    written.is_some_and(|written| written == i64::from(super::date_of(day).day()))
}

/// `YYYYMMDD`.
fn parse_compact(bytes: &[u8]) -> Option<i64> {
    let (year, rest) = digits(bytes, 4, 4)?;
    let (month, rest) = digits(rest, 2, 2)?;
    day_of(year, month, digits(rest, 2, 2)?.0)
}

/// A number of `least` to `most` digits, and what follows it.
fn digits(bytes: &[u8], least: usize, most: usize) -> Option<(i64, &[u8])> {
    let count = bytes.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
    if count < least {
        return None;
    }
    let value = bytes[..count]
        .iter()
        .fold(0_i64, |value, byte| value * 10 + i64::from(byte - b'0'));
    Some((value, &bytes[count..]))
}

/// Microseconds since 1970 of `YYYY-MM-DD[ hh:mm:ss[.fraction]]` on the wall of `zone`, or of a number of seconds.
///
/// Where a text that cannot be read is an error, parts may have one digit and days must exist; else parts have two, and days
/// run over into the next month. So does ClickHouse.
pub fn parse_instant(text: &str, zone: Tz, or_error: bool) -> Option<i64> {
    let bytes = text.as_bytes();
    let leading = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if leading == 8 && bytes.len() == 8 && or_error {
        return Some(written(parse_compact(bytes)? * DAY, zone));
    }
    if leading >= 5 || (leading == bytes.len() && leading > 0 && leading != 4) {
        let (seconds, rest) = digits(bytes, 1, 18)?;
        return fraction(rest).map(|micros| seconds.saturating_mul(SECOND).saturating_add(micros));
    }
    let padded = |at: usize, byte: u8| bytes.get(at) == Some(&byte);
    let fixed =
        padded(4, b'-') && padded(7, b'-') && bytes.get(8..10).is_some_and(|day| day.iter().all(u8::is_ascii_digit));
    let day = parse_day(text)?;
    if if or_error { !exists(bytes, day) } else { !fixed } {
        return None;
    }
    let clock = text.find([' ', 'T']).map_or("", |at| &text[at + 1..]);
    if clock.is_empty() {
        return Some(written(day * DAY, zone));
    }
    let (hour, rest) = digits(clock.as_bytes(), 1, 2)?;
    let (minute, rest) = digits(rest.strip_prefix(b":")?, 1, 2)?;
    let (second, rest) = match rest.strip_prefix(b":") {
        Some(rest) => digits(rest, 1, 2)?,
        None => (0, rest),
    };
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (rest, zone) = match rest.strip_suffix(b"Z") {
        Some(rest) => (rest, Tz::UTC),
        None => (rest, zone),
    };
    let micros = fraction(rest)?;
    Some(written(day * DAY + (hour * 3_600 + minute * 60 + second) * SECOND, zone) + micros)
}

/// Microseconds of `.digits` or of nothing.
fn fraction(bytes: &[u8]) -> Option<i64> {
    let Some(bytes) = bytes.strip_prefix(b".") else {
        return bytes.is_empty().then_some(0);
    };
    if !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let padded = bytes.iter().copied().chain(std::iter::repeat(b'0')).take(6);
    Some(padded.fold(0, |value, byte| value * 10 + i64::from(byte - b'0')))
}

/// `parseDateTimeBestEffort` and its forms, by the name: `OrNull` gives NULL, `OrZero` 1970 where the text is none.
pub fn best_effort(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let text = args.text(0)?;
    let scaled = args.function().contains("64") && args.len() > 1 && !args.is_constant_text(1);
    let zone_at = if scaled { 2 } else { 1 };
    let zone = match args.len() > zone_at {
        true => super::zone(&args.constant_text(zone_at)?)?,
        false => Tz::UTC,
    };
    let name = args.function().to_owned();
    instants(args, |row| match best_effort_micros(text.get(row), zone) {
        Some(micros) => Ok(Some(micros)),
        None if name.ends_with("OrNull") => Ok(None),
        None if name.ends_with("OrZero") => Ok(Some(0)),
        None => Err(failed(format!("`{}` is no date and time", text.get(row)))),
    })
}

const MONTHS: &[&str] = &[
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

/// What a text was found to say so far.
#[derive(Default)]
struct Found {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    clock: Option<i64>,
    micros: i64,
    offset: Option<i64>,
    afternoon: Option<bool>,
}

/// Microseconds since 1970 of a text in one of many forms.
pub fn best_effort_micros(text: &str, zone: Tz) -> Option<i64> {
    let mut found = Found::default();
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while let Some(first) = rest.bytes().next() {
        rest = match first {
            b'0'..=b'9' => found.number(rest)?,
            b'a'..=b'z' | b'A'..=b'Z' => found.word(rest)?,
            b'+' | b'-' if found.clock.is_some() => found.shift(rest)?,
            b' ' | b',' | b'/' | b'-' | b'.' | b'(' | b')' => &rest[1..],
            _ => return None,
        };
    }
    found.finish(zone)
}

impl Found {
    fn number<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let count = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = text.split_at(count);
        let part = |from: usize, to: usize| number.get(from..to)?.parse::<i64>().ok();
        let begins = rest.bytes().next();
        match count {
            1 | 2 if begins == Some(b':') => return self.clock(number, rest),
            14 | 12 if self.year.is_none() => {
                (self.year, self.month, self.day) = (part(0, 4), part(4, 6), part(6, 8));
                let second = if count == 14 { part(12, 14)? } else { 0 };
                self.clock = Some(part(8, 10)? * 3_600 + part(10, 12)? * 60 + second);
                return Some(self.fraction(rest));
            }
            8 if self.year.is_none() => (self.year, self.month, self.day) = (part(0, 4), part(4, 6), part(6, 8)),
            6 if self.year.is_some() && self.clock.is_none() => {
                self.clock = Some(part(0, 2)? * 3_600 + part(2, 4)? * 60 + part(4, 6)?);
            }
            6 if self.year.is_none() => (self.year, self.month, self.day) = (part(0, 4), part(4, 6), Some(1)),
            9 | 10 | 13 | 16 if self.year.is_none() && self.month.is_none() => {
                let scale = [(9, SECOND), (10, SECOND), (13, 1_000), (16, 1)]
                    .iter()
                    .find(|(digits, _)| *digits == count)?
                    .1;
                let micros = number.parse::<i64>().ok()?.saturating_mul(scale);
                (self.year, self.month, self.day) = (Some(1970), Some(1), Some(1));
                (self.clock, self.micros, self.offset) = (Some(0), self.micros + micros, Some(0));
                return Some(self.fraction(rest));
            }
            4 if self.year.is_none() => {
                self.year = part(0, 4);
                // `YYYY-MM-DD` and `YYYY/MM/DD`.
                if self.month.is_none() && matches!(begins, Some(b'-' | b'/' | b'.')) {
                    return self.after_year(&rest[1..]);
                }
            }
            1 | 2 => {
                let value = number.parse().ok()?;
                if self.day.is_none() {
                    self.day = Some(value);
                } else if self.month.is_none() {
                    self.month = Some(value);
                } else if self.year.is_none() {
                    self.year = Some(if value < 70 { 2000 + value } else { 1900 + value });
                } else if self.clock.is_none() {
                    self.clock = Some(value * 3_600);
                } else {
                    return None;
                }
            }
            _ => return None,
        }
        Some(rest)
    }

    fn after_year<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let (month, rest) = digits(text.as_bytes(), 1, 2)?;
        self.month = Some(month);
        let text = &text[text.len() - rest.len()..];
        let Some(b'-' | b'/' | b'.') = rest.first() else {
            self.day = self.day.or(Some(1));
            return Some(text);
        };
        let (day, rest) = digits(&text.as_bytes()[1..], 1, 2)?;
        self.day = Some(day);
        Some(&text[text.len() - rest.len()..])
    }

    fn clock<'t>(&mut self, hour: &str, rest: &'t str) -> Option<&'t str> {
        let hour: i64 = hour.parse().ok()?;
        let (minute, after) = digits(&rest.as_bytes()[1..], 1, 2)?;
        let (second, after) = match after.strip_prefix(b":") {
            Some(after) => digits(after, 1, 2)?,
            None => (0, after),
        };
        if hour > 24 || minute > 59 || second > 60 {
            return None;
        }
        self.clock = Some(hour * 3_600 + minute * 60 + second);
        Some(self.fraction(&rest[rest.len() - after.len()..]))
    }

    fn fraction<'t>(&mut self, rest: &'t str) -> &'t str {
        let Some(digits) = rest.strip_prefix('.') else {
            return rest;
        };
        let count = digits.bytes().take_while(u8::is_ascii_digit).count();
        self.micros += fraction(&rest.as_bytes()[..=count]).unwrap_or(0);
        &digits[count..]
    }

    fn word<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let count = text.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (word, rest) = text.split_at(count);
        let word = word.to_ascii_lowercase();
        match word.as_str() {
            "t" => {}
            "z" | "utc" | "gmt" => self.offset = Some(self.offset.unwrap_or(0)),
            "am" => self.afternoon = Some(false),
            "pm" => self.afternoon = Some(true),
            _ if count >= 3 && MONTHS.contains(&&word[..3]) => {
                let at = MONTHS.iter().position(|month| *month == &word[..3])?;
                // A day read as the month before its name came: `18 Aug`.
                self.month = Some(at as i64 + 1);
            }
            _ if ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
                .iter()
                .any(|day| word.starts_with(day)) => {}
            "msk" => self.offset = Some(3 * 3_600),
            _ => return None,
        }
        Some(rest)
    }

    fn shift<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let sign = if text.starts_with('-') { -1 } else { 1 };
        let (first, rest) = digits(&text.as_bytes()[1..], 1, 4)?;
        let (hours, minutes, rest) = match (text.len() - 1 - rest.len(), rest.strip_prefix(b":")) {
            (1 | 2, Some(rest)) => {
                let (minutes, rest) = digits(rest, 2, 2)?;
                (first, minutes, rest)
            }
            (1 | 2, None) => (first, 0, rest),
            (4, None) => (first / 100, first % 100, rest),
            _ => return None,
        };
        self.offset = Some(sign * (hours * 3_600 + minutes * 60));
        Some(&text[text.len() - rest.len()..])
    }

    fn finish(self, zone: Tz) -> Option<i64> {
        let mut clock = self.clock.unwrap_or(0);
        match self.afternoon {
            Some(true) if clock < 12 * 3_600 => clock += 12 * 3_600,
            Some(false) if clock >= 12 * 3_600 => clock -= 12 * 3_600,
            _ => {}
        }
        let day = day_of(self.year?, self.month?, self.day.unwrap_or(1))?;
        let wall = day * DAY + clock * SECOND;
        let start = match self.offset {
            Some(offset) => wall - offset * SECOND,
            None => written(wall, zone),
        };
        Some(start + self.micros)
    }
}
