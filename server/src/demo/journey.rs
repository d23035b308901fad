//! One visit: where it begins, which pages follow, how long each is looked at and what is done there.

use super::random::Random;
use super::record::{Recorder, Who};
use super::site::{BOTS, CHANNELS, Channel, HOURS, PAGES, Page, PageKind, SEARCHES, ways_from};
use super::visitor::Visitor;
use chrono::{DateTime, TimeZone, Utc};
use engine::clock::{DAY_MICROS, Micros, SECOND_MICROS};
use engine::event::Event;

/// Pages of one session at the most.
const PAGES_MAX: usize = 40;
/// Share of visitors without an account who make one when they buy.
const ACCOUNT_SHARE: f64 = 0.45;

/// A visit and what was sent during it.
#[derive(Debug)]
pub(super) struct Session {
    events: Vec<(Micros, Event)>,
}

impl Session {
    pub(super) fn into_events(self) -> Vec<(Micros, Event)> {
        self.events
    }

    /// A visit by a person.
    pub(super) fn of_visitor(
        visitor: &mut Visitor,
        day: i64,
        days_ago: i64,
        is_newsletter_day: bool,
        random: &mut Random,
    ) -> Self {
        let channel = channel(days_ago, is_newsletter_day, random);
        let started = start_of(visitor, day, random);
        let mut recorder = Recorder::new(Who::of(visitor, day, random), started, channel);
        let mut visit = Visit {
            recorder: &mut recorder,
            random,
            interest: visitor.interest,
            cart: Vec::new(),
            buys: false,
        };
        visit.walk(channel.landing);
        let buys = visit.buys;
        if buys && visitor.anonymous_id.is_some() && visitor.user_id.is_none() && random.chance(ACCOUNT_SHARE) {
            // From the next visit on; within one visit a visitor stays one visitor.
            visitor.user_id = Some(format!("customer-{}", 1_000_000 + visitor.number));
        }
        Self {
            events: recorder.into_events(),
        }
    }

    /// A visit by an automaton: pages at a steady pace, nothing else.
    pub(super) fn of_bot(day: i64, random: &mut Random) -> Self {
        let (user_agent, name) = random.pick(BOTS);
        let started = day * DAY_MICROS + random.between(0, 86_000) * SECOND_MICROS;
        let who = Who::bot(user_agent, name, day, random);
        let mut recorder = Recorder::new(who, started, &CHANNELS[0]);
        for _ in 0..random.between(2, 12) {
            let page = random.weighted(PAGES, |page| if page.cents > 0 { 2.0 } else { 0.5 });
            recorder.page(page, random);
            recorder.wait(random.between(1, 4));
        }
        Self {
            events: recorder.into_events(),
        }
    }
}

struct Visit<'a> {
    recorder: &'a mut Recorder,
    random: &'a mut Random,
    interest: f64,
    cart: Vec<&'static Page>,
    buys: bool,
}

impl Visit<'_> {
    fn walk(&mut self, landing: PageKind) {
        let mut page = self.page_of(landing);
        self.recorder.identify_if_known(self.random);
        for _ in 0..PAGES_MAX {
            self.recorder.page(page, self.random);
            self.look_at(page);
            let Some(next) = self.next_kind(page.kind) else { return };
            if next == PageKind::Cart && page.kind == PageKind::Product {
                self.add_to_cart(page);
            }
            let next = self.page_of(next);
            if self.random.chance(0.16) {
                self.recorder.click(next, self.random);
            }
            page = next;
        }
    }

    /// Stays for a while, and does what people do there.
    fn look_at(&mut self, page: &'static Page) {
        let mean_seconds = match page.kind {
            PageKind::Blog => 95.0,
            PageKind::Payment | PageKind::Checkout => 70.0,
            PageKind::Product => 48.0,
            PageKind::Home | PageKind::Category | PageKind::Search => 22.0,
            _ => 28.0,
        };
        #[allow(clippy::cast_possible_truncation, reason = "seconds of a page view, clamped")]
        let seconds = self.random.exponential(mean_seconds).clamp(2.0, 900.0) as i64;
        match page.kind {
            PageKind::Search => {
                let term = self.random.pick(SEARCHES);
                self.recorder
                    .track("search", &serde_json::json!({ "term": term }), None, self.random);
            }
            PageKind::NewsletterThanks => {
                self.recorder
                    .track("newsletter_signup", &serde_json::json!({}), None, self.random);
            }
            PageKind::Thanks => self.buy(),
            _ if self.random.chance(0.004) => self.recorder.error(self.random),
            _ => {}
        }
        self.recorder.stay(seconds, self.random);
    }

    fn add_to_cart(&mut self, product: &'static Page) {
        self.cart.push(product);
        let details = serde_json::json!({ "product": product.title, "price": product.cents as f64 / 100.0 });
        self.recorder.track("add_to_cart", &details, None, self.random);
    }

    fn buy(&mut self) {
        self.buys = true;
        if self.cart.is_empty() {
            // Filled on an earlier visit.
            let product = self.page_of(PageKind::Product);
            self.cart.push(product);
        }
        let cents: i64 = self.cart.iter().map(|product| product.cents).sum();
        let product = self.cart.first().map_or("", |product| product.title);
        let details = serde_json::json!({ "product": product, "items": self.cart.len() });
        self.recorder.track("purchase", &details, Some(cents), self.random);
        self.cart.clear();
    }

    fn next_kind(&mut self, kind: PageKind) -> Option<PageKind> {
        let mut left = self.random.unit();
        for (next, share) in ways_from(kind) {
            let buying = matches!(next, PageKind::Cart | PageKind::Checkout | PageKind::Payment);
            let share = if buying {
                share * self.interest.min(1.25)
            } else {
                *share
            };
            left -= share;
            if left < 0.0 {
                return Some(*next);
            }
        }
        None
    }

    fn page_of(&mut self, kind: PageKind) -> &'static Page {
        self.random
            .weighted(PAGES, |page| if page.kind == kind { page.weight } else { 0.0 })
    }
}

fn channel(days_ago: i64, is_newsletter_day: bool, random: &mut Random) -> &'static Channel {
    random.weighted(CHANNELS, |channel| {
        let (from, to) = channel.days_ago;
        let runs = (to..=from).contains(&days_ago) && (!channel.newsletter || is_newsletter_day);
        if runs { channel.weight } else { 0.0 }
    })
}

/// A moment of that day on the visitor's own clock, more likely when people are awake.
fn start_of(visitor: &Visitor, day: i64, random: &mut Random) -> Micros {
    let hours: [usize; 24] = std::array::from_fn(|hour| hour);
    let hour = *random.weighted(&hours, |hour| HOURS.get(*hour).copied().unwrap_or_default());
    let second = i64::try_from(hour * 3600).unwrap_or_default() + random.between(0, 3599);
    let midnight = DateTime::from_timestamp(day * 86_400, 0)
        .unwrap_or_default()
        .naive_utc();
    let local = midnight + chrono::TimeDelta::seconds(second);
    // In the hour that a change of the clock leaves out, the same time in UTC does as well.
    let instant = visitor
        .zone
        .from_local_datetime(&local)
        .earliest()
        .map(|at| at.with_timezone(&Utc));
    let instant = instant.unwrap_or_else(|| local.and_utc());
    instant.timestamp_micros() + random.between(0, 999) * 1000
}
