use super::*;
use engine::event::{Column, Value};
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// 2026-11-23T09:00:00Z, a Monday.
const NOW: Micros = 1_795_424_400 * 1_000_000;

/// The first `days` of the site.
fn made(seed: u64, now: Micros, days: usize) -> Vec<Event> {
    let mut site = DemoSite::new(seed, now);
    std::iter::from_fn(|| site.next_day()).take(days).flatten().collect()
}

/// The whole site, made once: a debug build takes seconds for it.
static ALL: LazyLock<Vec<Event>> = LazyLock::new(|| made(SEED, NOW, usize::MAX));

#[test]
fn thirty_days_of_storable_events_with_ids_of_their_own() {
    let events = &*ALL;
    assert!((190_000..215_000).contains(&events.len()), "{} events", events.len());
    let ids: HashSet<_> = events.iter().map(|e| e.text(Column::EventId).unwrap()).collect();
    assert_eq!(ids.len(), events.len());
    let mut days = HashSet::new();
    for event in events {
        assert_eq!(event.defect(), None, "{event:?}");
        let ts = event.micros(Column::Ts).unwrap();
        assert!(ts <= NOW);
        days.insert(ts.div_euclid(DAY_MICROS));
    }
    let today = NOW.div_euclid(DAY_MICROS);
    assert!((today - 29..=today).all(|day| days.contains(&day)));
}

#[test]
fn the_same_seed_and_day_give_the_same_events() {
    let once = made(SEED, NOW, 2);
    assert_eq!(once[..], ALL[..once.len()]);
    assert_eq!(
        once,
        made(SEED, NOW + DAY_MICROS / 4, 2),
        "the hour makes no difference to days before"
    );
    assert_ne!(once, made(SEED + 1, NOW, 2));
}

#[test]
fn the_site_looks_like_one() {
    let events = &*ALL;
    let mut by_type: HashMap<&str, usize> = HashMap::new();
    let mut by_path: HashMap<&str, HashSet<&str>> = HashMap::new();
    for event in events {
        let kind = event.text(Column::EventType).unwrap();
        *by_type.entry(kind).or_default() += 1;
        if kind == "page" {
            let path = event.text(Column::PagePath).unwrap();
            by_path
                .entry(path)
                .or_default()
                .insert(event.text(Column::VisitorId).unwrap());
        }
    }
    for kind in ["page", "ping", "track", "click", "identify", "error"] {
        assert!(by_type.contains_key(kind), "no {kind} among {by_type:?}");
    }
    let visitors = |path: &str| by_path[path].len();
    let funnel = ["/cart", "/checkout", "/checkout/payment", "/checkout/thanks"].map(visitors);
    assert!(funnel.is_sorted_by(|a, b| a > b), "a funnel narrows: {funnel:?}");
    assert!(funnel[3] > 100, "somebody buys: {funnel:?}");
    let share = |test: fn(&Event) -> bool| events.iter().filter(|e| test(e)).count() * 100 / events.len();
    let bots = events
        .iter()
        .filter(|e| e.get(Column::IsBot) == Some(&Value::Bool(true)))
        .count();
    assert!(bots > 500);
    assert!((20..50).contains(&share(|e| e.text(Column::AnonymousId).is_none())));
    assert!(share(|e| e.text(Column::UserId).is_some()) > 3);
}

#[test]
fn the_first_numbers_of_the_generator_are_for_ever() {
    // Of the reference implementation of SplitMix64 with seed 1234567.
    let mut random = Random::new(1_234_567);
    let numbers: Vec<u64> = (0..3).map(|_| random.next()).collect();
    assert_eq!(
        numbers,
        [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423
        ]
    );
}
