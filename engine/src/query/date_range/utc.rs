//! From the wall clock to instants, exact at both kinds of daylight-saving edges.
//!
//! A range on the wall clock means the instants at which the zone's clock shows a time in the range. So where the clock
//! is put forward, a bound inside the gap is the moment of the change; where it is put back, a range begins at the first
//! and ends at the last of the two instants with the same wall clock. Adjacent ranges therefore neither overlap nor lose
//! an event.

use crate::clock::Micros;
use crate::query::DateRange;
use chrono::{LocalResult, NaiveDateTime, TimeDelta, TimeZone};
use chrono_tz::Tz;

/// Zones are at most this far from UTC, with room to spare.
const OFFSET_SECONDS_MAX: i64 = 16 * 3600;

/// The first instant at which the clock of `tz` shows `local` or later.
pub fn first_instant(local: NaiveDateTime, tz: Tz) -> Micros {
    match tz.from_local_datetime(&local) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at.timestamp_micros(),
        LocalResult::None => end_of_gap(local, tz),
    }
}

/// The first instant after the whole millisecond `local`: the exclusive end of a range that ends with it.
pub fn instant_after(local: NaiveDateTime, tz: Tz) -> Micros {
    let millisecond = |at: Micros| at.div_euclid(1_000).saturating_add(1).saturating_mul(1_000);
    match tz.from_local_datetime(&local) {
        LocalResult::Single(at) | LocalResult::Ambiguous(_, at) => millisecond(at.timestamp_micros()),
        LocalResult::None => end_of_gap(local, tz),
    }
}

/// A wall-clock range as instants `from <= t < to`.
pub fn utc_bounds(range: &DateRange, tz: Tz) -> (Micros, Micros) {
    (first_instant(range.from, tz), instant_after(range.to, tz))
}

/// The instant at which the clock jumps over `local`.
fn end_of_gap(local: NaiveDateTime, tz: Tz) -> Micros {
    let seconds = local.and_utc().timestamp();
    let shows_later = |utc: i64| {
        let at = chrono::DateTime::from_timestamp(utc, 0).map(|at| at.naive_utc());
        at.is_none_or(|at| at + TimeDelta::seconds(offset_seconds(at, tz)) >= local)
    };
    let (mut before, mut after) = (
        seconds.saturating_sub(OFFSET_SECONDS_MAX),
        seconds.saturating_add(OFFSET_SECONDS_MAX),
    );
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        if shows_later(middle) {
            after = middle;
        } else {
            before = middle;
        }
    }
    after.saturating_mul(crate::clock::SECOND_MICROS)
}

/// Seconds that `tz` is ahead of UTC at the UTC instant `utc`.
fn offset_seconds(utc: NaiveDateTime, tz: Tz) -> i64 {
    use chrono::Offset;
    i64::from(tz.offset_from_utc_datetime(&utc).fix().local_minus_utc())
}
