//! A shop that does not exist: 30 days of believable visitors, made from a seed and a date.
//!
//! The same seed and last day give the same events with the same ids, so that making them again stores nothing twice.
//! What is made is what an SDK's events are after enrichment; it goes through the same append as theirs.

mod journey;
mod random;
mod record;
mod site;
mod visitor;

#[cfg(test)]
mod tests;

pub use site::MODEL_FILES;

use chrono::{DateTime, Datelike};
use engine::clock::{DAY_MICROS, Micros};
use engine::event::Event;
use journey::Session;
use random::Random;
use visitor::Visitors;

/// Days of data.
pub const DAYS: i64 = 30;
/// The seed of `tally demo`.
pub const SEED: u64 = 0x7a11_1e5e_ed00_0001;
/// Sessions on an average day; with some 7 events each this makes about 200,000 events.
const SESSIONS_PER_DAY: f64 = 1_200.0;
/// How much a week's days differ, Monday first.
const WEEKDAY_WEIGHTS: [f64; 7] = [1.08, 1.12, 1.10, 1.06, 0.98, 0.80, 0.86];
/// How much more comes on the last day than on the first.
const GROWTH: f64 = 0.25;
/// Days before the last on which a newsletter went out.
const NEWSLETTER_DAYS_AGO: [i64; 2] = [16, 4];
/// Share of sessions that are automata.
const BOT_SHARE: f64 = 0.025;

/// The site, made day by day.
#[derive(Debug)]
pub struct DemoSite {
    seed: u64,
    /// The next day to make and the last, in UTC days since the epoch.
    next_day: i64,
    last_day: i64,
    until: Micros,
    visitors: Visitors,
}

impl DemoSite {
    /// The site whose last day is the one `now` lies in; nothing happens after `now`.
    pub fn new(seed: u64, now: Micros) -> Self {
        let last_day = now.div_euclid(DAY_MICROS);
        Self {
            seed,
            next_day: last_day - DAYS + 1,
            last_day,
            until: now,
            visitors: Visitors::new(),
        }
    }

    /// The events of the next day, in order of time; `None` when all days are made.
    pub fn next_day(&mut self) -> Option<Vec<Event>> {
        if self.next_day > self.last_day {
            return None;
        }
        let day = self.next_day;
        self.next_day += 1;
        let mut random = Random::new(self.seed ^ u64::try_from(day).unwrap_or_default().rotate_left(32));
        let days_ago = self.last_day - day;
        let is_newsletter_day = NEWSLETTER_DAYS_AGO.contains(&days_ago);
        let mut events = Vec::new();
        for _ in 0..sessions_of(day, days_ago, is_newsletter_day, &mut random) {
            let session = if random.chance(BOT_SHARE) {
                Session::of_bot(day, &mut random)
            } else {
                let visitor = self.visitors.next(day, &mut random);
                Session::of_visitor(visitor, day, days_ago, is_newsletter_day, &mut random)
            };
            events.extend(session.into_events());
        }
        events.retain(|(ts, _)| *ts <= self.until);
        events.sort_by_key(|(ts, _)| *ts);
        Some(events.into_iter().map(|(_, event)| event).collect())
    }
}

fn sessions_of(day: i64, days_ago: i64, is_newsletter_day: bool, random: &mut Random) -> u64 {
    let date = DateTime::from_timestamp(day * 86_400, 0).unwrap_or_default();
    let weekday = date.weekday().num_days_from_monday() as usize;
    let weekday_weight = WEEKDAY_WEIGHTS.get(weekday).copied().unwrap_or(1.0);
    #[allow(clippy::cast_precision_loss, reason = "days and sessions are small numbers")]
    let growth = 1.0 + GROWTH * (0.5 - days_ago as f64 / DAYS as f64);
    let newsletter = if is_newsletter_day { 1.35 } else { 1.0 };
    let noise = 0.94 + 0.12 * random.unit();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 500 and 2,500"
    )]
    let sessions = (SESSIONS_PER_DAY * weekday_weight * growth * newsletter * noise).round() as u64;
    sessions
}
