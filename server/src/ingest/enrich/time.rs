//! When an event happened: reading the clients' formats, and choosing between clocks.

use engine::clock::{DAY_MICROS, Micros, SECOND_MICROS};
use engine::event::{Column, Event};

/// How far in the future an event may lie: clocks that run ahead, and time zones mistaken by one hour.
const AHEAD_MAX: Micros = 3_600 * SECOND_MICROS;
/// How far in the past an event may lie: more than a year, for imports.
const BEHIND_MAX: Micros = 400 * DAY_MICROS;
/// Below this a difference between the clocks is the network's, not the client's.
const SKEW_MIN: Micros = 10 * SECOND_MICROS;
/// Some trackers cut the time of sending to whole seconds, so it may lie before the event.
const SENT_BEFORE_MAX: Micros = SECOND_MICROS;

/// The clocks of one event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// The client's clock at the event.
    pub(crate) client: Option<Micros>,
    /// The client's clock at sending.
    pub(crate) sent: Option<Micros>,
    /// The caller's own statement.
    pub(crate) stated: Option<Micros>,
    /// The server's clock at arrival.
    pub(crate) received: Micros,
}

impl Times {
    /// The instant the event is filed under.
    ///
    /// The caller's statement, else the client's time corrected by the client's clock error as its time of sending shows
    /// it, else the arrival. A result outside of one hour ahead to 400 days behind is replaced by the arrival.
    pub(crate) fn resolve(&self) -> Micros {
        let resolved = self.stated.or_else(|| self.corrected()).unwrap_or(self.received);
        let earliest = self.received.saturating_sub(BEHIND_MAX);
        let latest = self.received.saturating_add(AHEAD_MAX);
        if (earliest..=latest).contains(&resolved) {
            resolved
        } else {
            self.received
        }
    }

    fn corrected(&self) -> Option<Micros> {
        let client = self.client?;
        let Some(sent) = self.sent else {
            return Some(client);
        };
        let waited = sent.saturating_sub(client);
        let skew = self.received.saturating_sub(sent);
        if waited < -SENT_BEFORE_MAX || skew.saturating_abs() < SKEW_MIN {
            return Some(client);
        }
        Some(self.received.saturating_sub(waited.max(0)))
    }

    pub(super) fn write(&self, event: &mut Event) {
        event.set_ts(Column::Ts, self.resolve());
        for (column, value) in [
            (Column::ClientTs, self.client.or(self.stated)),
            (Column::SentAt, self.sent),
        ] {
            if let Some(micros) = value.filter(|m| is_printable(*m)) {
                event.set_ts(column, micros);
            }
        }
    }
}

/// Whether an instant lies in the years 0001 to 9999, which every reader of the tables can print.
fn is_printable(micros: Micros) -> bool {
    (-62_135_596_800_000_000..=253_402_300_799_999_999).contains(&micros)
}

/// Reads a time as SDKs write it: ISO 8601 with up to nine decimals and `Z`, an offset or nothing (UTC), or a number of
/// seconds, milliseconds, microseconds or nanoseconds.
pub(crate) fn parse(text: &str) -> Option<Micros> {
    let text = text.trim();
    iso(text).or_else(|| decimal(text))
}

/// Reads a number by its magnitude: up to 10^11 seconds, 10^14 milliseconds, 10^17 microseconds, else nanoseconds.
pub(crate) fn number(value: f64) -> Option<Micros> {
    if !value.is_finite() {
        return None;
    }
    let magnitude = value.abs();
    let micros = if magnitude < 1e11 {
        value * 1e6
    } else if magnitude < 1e14 {
        value * 1e3
    } else if magnitude < 1e17 {
        value
    } else {
        value / 1e3
    };
    (micros.abs() < 9e18).then_some(micros.round() as i64)
}

/// Whole numbers exactly, others as floats.
fn decimal(text: &str) -> Option<Micros> {
    let Ok(whole) = text.parse::<i64>() else {
        let plain = text.bytes().all(|b| b.is_ascii_digit() || b".-+eE".contains(&b));
        return text.parse::<f64>().ok().filter(|_| plain).and_then(number);
    };
    match whole.unsigned_abs() {
        0..100_000_000_000 => whole.checked_mul(SECOND_MICROS),
        100_000_000_000..100_000_000_000_000 => whole.checked_mul(1_000),
        100_000_000_000_000..100_000_000_000_000_000 => Some(whole),
        _ => Some(whole / 1_000),
    }
}

fn iso(text: &str) -> Option<Micros> {
    let mut rest = text;
    let year = match rest.strip_prefix(['+', '-']) {
        Some(long) => {
            let year = digits(long, 6)?;
            rest = long.get(6..)?;
            if text.starts_with('-') { -year } else { year }
        }
        None => {
            let year = digits(rest, 4)?;
            rest = rest.get(4..)?;
            year
        }
    };
    let month = digits(rest.strip_prefix('-')?, 2)?;
    let day = digits(rest.get(3..)?.strip_prefix('-')?, 2)?;
    rest = rest.get(6..)?;
    let midnight = days(year, month, day)?.checked_mul(DAY_MICROS)?;
    if rest.is_empty() {
        return Some(midnight);
    }
    rest = rest.strip_prefix(['T', 't', ' '])?;
    let hour = digits(rest, 2)?;
    let minute = digits(rest.get(2..)?.strip_prefix(':')?, 2)?;
    rest = rest.get(5..)?;
    let mut second = 0;
    if let Some(seconds) = rest.strip_prefix(':') {
        second = digits(seconds, 2)?;
        rest = seconds.get(2..)?;
    }
    // A leap second is written as 60 and falls on the next second.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut micros = ((hour * 60 + minute) * 60 + second) * SECOND_MICROS;
    if let Some(fraction) = rest.strip_prefix(['.', ',']) {
        let count = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=9).contains(&count) {
            return None;
        }
        let used = count.min(6);
        micros += digits(fraction, used)? * 10_i64.checked_pow(6 - u32::try_from(used).ok()?)?;
        rest = fraction.get(count..)?;
    }
    let offset = offset_minutes(rest)?.checked_mul(60 * SECOND_MICROS)?;
    midnight.checked_add(micros)?.checked_sub(offset)
}

fn offset_minutes(text: &str) -> Option<i64> {
    let sign = match text.as_bytes().first() {
        None => return Some(0),
        Some(b'Z' | b'z') if text.len() == 1 => return Some(0),
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return None,
    };
    let hours = digits(text.get(1..)?, 2)?;
    let minutes = match text.get(3..)? {
        "" => 0,
        rest => {
            let rest = rest.strip_prefix(':').unwrap_or(rest);
            (rest.len() == 2).then_some(())?;
            digits(rest, 2)?
        }
    };
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
}

/// The first `count` characters as a number, all of them digits.
fn digits(text: &str, count: usize) -> Option<i64> {
    let head = text.get(..count)?;
    if !head.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    head.parse().ok()
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, for any year.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    // Years counted from March, so that the leap day is the last of its year.
    let (year, month) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}
