use super::log::Row;
use super::rules::{Evaluator, Outcome};
use super::*;
use crate::clock::Micros;
use std::collections::BTreeMap;

mod oracle;
mod plans;
mod vectors;

/// A small generator with a seed that is named in every failure. `FUNNEL_SEED` repeats a run.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(test: u64) -> Self {
        let seed = std::env::var("FUNNEL_SEED").ok().and_then(|seed| seed.parse().ok());
        Self(seed.unwrap_or(0x5eed_f0e5 + test))
    }

    pub(super) fn seed(&self) -> u64 {
        self.0
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = usize::try_from(self.below(i as u64 + 1)).unwrap();
            items.swap(i, j);
        }
    }
}

pub(super) type Events = Vec<(Micros, u32)>;

/// A random user: few distinct instants, so that ties, window edges and seconds shared by several events are common.
pub(super) fn user(random: &mut Random, steps: usize) -> Events {
    let overlapping = random.below(2) == 0;
    let events = random.below(11);
    let event = |random: &mut Random| {
        let ts = i64::try_from(random.below(32)).unwrap() * 250_000 - 2_000_000;
        let mask = if overlapping {
            (0..steps)
                .filter(|_| random.below(3) == 0)
                .fold(0, |mask, step| mask | 1 << step)
        } else {
            let step = random.below(steps as u64 + 1);
            if step == 0 { 0 } else { 1 << (step - 1) }
        };
        (ts, mask)
    };
    (0..events).map(|_| event(random)).collect()
}

pub(super) fn evaluate(rule: FunnelRule, window_seconds: u32, steps: usize, events: &[(Micros, u32)]) -> Outcome {
    let keeps = |mask: u32| mask != 0 || rule != FunnelRule::Ordered;
    let mut rows: Vec<Row> = events
        .iter()
        .filter(|event| keeps(event.1))
        .map(|(ts, mask)| Row { ts: *ts, mask: *mask })
        .collect();
    Evaluator::new(rule, window_seconds, steps).evaluate(&mut rows)
}

fn ordered(window_seconds: u32, steps: usize, events: &[(Micros, u32)]) -> (u8, Option<Micros>) {
    let outcome = evaluate(FunnelRule::Ordered, window_seconds, steps, events);
    (outcome.level, outcome.entry)
}

#[test]
fn the_window_ends_with_its_last_microsecond() {
    for (rule, names) in [(FunnelRule::Ordered, "ordered"), (FunnelRule::Strict, "strict")] {
        let level = |end| evaluate(rule, 2, 2, &[(5, 1), (end, 2)]).level;
        assert_eq!(level(2_000_004), 2, "{names}");
        assert_eq!(level(2_000_005), 2, "{names}");
        assert_eq!(level(2_000_006), 1, "{names}");
    }
    // Whole seconds: 0.9 s to 3.1 s are seconds 0 and 3.
    let level = |window| evaluate(FunnelRule::GitlabG2, window, 2, &[(900_000, 1), (3_100_000, 2)]).level;
    assert_eq!((level(2), level(3)), (1, 2));
}

#[test]
fn steps_one_microsecond_apart_have_an_order() {
    assert_eq!(ordered(10, 2, &[(1, 2), (2, 1)]), (1, Some(2)));
    assert_eq!(ordered(10, 2, &[(2, 2), (1, 1)]), (2, Some(1)));
    assert_eq!(ordered(10, 2, &[(1, 2), (1, 1)]), (2, Some(1)));
}

#[test]
fn one_event_serves_one_step() {
    assert_eq!(ordered(10, 3, &[(1, 7)]), (1, Some(1)));
    assert_eq!(ordered(10, 3, &[(1, 7), (2, 7)]), (2, Some(1)));
    assert_eq!(ordered(10, 3, &[(1, 7), (1, 7), (1, 7), (1, 7)]), (3, Some(1)));
}

#[test]
fn tied_events_are_given_to_steps_as_a_whole() {
    // Greedy choices fail: step 1 must take the second event, step 2 the third, step 3 the first.
    assert_eq!(ordered(10, 3, &[(7, 0b111), (7, 0b001), (7, 0b011)]), (3, Some(7)));
    // A, B, A in one instant.
    assert_eq!(ordered(10, 3, &[(7, 0b101), (7, 0b010), (7, 0b101)]), (3, Some(7)));
    // Continues a chain from before only where the instant cannot hold all of it.
    assert_eq!(ordered(10, 3, &[(1, 0b001), (7, 0b010), (7, 0b100)]), (3, Some(1)));
    assert_eq!(
        ordered(10, 4, &[(1, 1), (7, 0b0001), (7, 0b0010), (8, 0b0100), (9, 0b1000)]),
        (4, Some(1))
    );
}

#[test]
fn the_entry_is_the_earliest_of_the_longest() {
    assert_eq!(ordered(10, 2, &[(0, 1), (5, 1), (6, 2)]), (2, Some(0)));
    assert_eq!(
        ordered(5, 2, &[(0, 1), (2_000_000, 1), (6_000_000, 2)]),
        (2, Some(2_000_000))
    );
    assert_eq!(ordered(5, 3, &[(0, 1), (1, 1), (2, 1)]), (1, Some(0)));
    assert_eq!(ordered(5, 3, &[]), (0, None));
}

#[test]
fn the_greatest_number_of_steps_works() {
    let steps = FUNNEL_STEPS_MAX;
    let chain: Events = (0..steps).map(|step| (step as i64, 1 << step)).collect();
    for (name, rule) in FunnelRule::ALL {
        let outcome = evaluate(*rule, 1, steps, &chain);
        assert_eq!(usize::from(outcome.level), steps, "{name}");
        assert_eq!(outcome.entry, Some(0), "{name}");
        let outcome = evaluate(*rule, 1, steps, &chain[..steps - 1]);
        assert_eq!(usize::from(outcome.level), steps - 1, "{name}");
    }
    let tied: Events = chain.iter().map(|(_, mask)| (9, *mask)).collect();
    assert_eq!(ordered(0, steps, &tied), (31, Some(9)));
    let any: Events = (0..1000)
        .map(|i| (9, if i % 2 == 0 { u32::MAX } else { u32::MAX >> 1 }))
        .collect();
    assert_eq!(ordered(0, steps, &any), (31, Some(9)));
}

#[test]
fn one_step_counts_its_first_event() {
    for (name, rule) in FunnelRule::ALL {
        let outcome = evaluate(*rule, 0, 1, &[(3_000_000, 1), (1_000_000, 0), (2_000_000, 1)]);
        assert_eq!((outcome.level, outcome.entry), (1, Some(2_000_000)), "{name}");
    }
}

#[test]
fn extreme_instants_do_not_overflow() {
    let events = [
        (i64::MIN, 1),
        (i64::MIN + 1, 2),
        (0, 3),
        (i64::MAX - 1, 1),
        (i64::MAX, 2),
    ];
    for (name, rule) in FunnelRule::ALL {
        assert_eq!(evaluate(*rule, u32::MAX, 2, &events).level, 2, "{name}");
    }
    assert_eq!(ordered(1, 2, &events), (2, Some(i64::MIN)));
}

#[test]
fn foreign_page_views_clear_progress_under_strict() {
    let level = |events: &[(Micros, u32)]| evaluate(FunnelRule::Strict, 60, 3, events).level;
    assert_eq!(level(&[(1, 1), (2, 2), (3, 4)]), 3);
    assert_eq!(level(&[(1, 1), (2, 0), (3, 2), (4, 4)]), 1);
    assert_eq!(level(&[(1, 1), (2, 0), (3, 1), (4, 2), (5, 4)]), 3);
    assert_eq!(level(&[(1, 1), (2, 2), (3, 1), (4, 4)]), 2);
    // The same step again is not foreign.
    assert_eq!(level(&[(1, 1), (2, 2), (3, 2), (4, 4)]), 3);
    // Views of one instant have no order, and the foreign one among them clears nothing.
    assert_eq!(level(&[(1, 1), (2, 0), (2, 2), (3, 4)]), 3);
}

#[test]
fn a_view_of_step_1_that_may_not_enter_is_not_foreign_under_strict() {
    let level = |events: &[(Micros, u32)]| evaluate(FunnelRule::Strict, 60, 3, events).level;
    assert_eq!(level(&[(1, NO_ENTRY), (2, 2)]), 0);
    assert_eq!(level(&[(1, 1), (2, NO_ENTRY), (3, 2)]), 2);
    assert_eq!(level(&[(1, 1), (2, 2), (3, NO_ENTRY), (4, 4)]), 2);
    assert_eq!(level(&[(1, 1), (2, NO_ENTRY | 2), (3, 4)]), 3);
}

#[test]
fn a_level_of_zero_is_dated_by_the_first_event_where_it_is_shown() {
    let outcome = evaluate(FunnelRule::GitlabG2, 60, 3, &[(7_900_000, 2), (5_500_000, 0)]);
    assert_eq!((outcome.level, outcome.entry), (0, Some(5_000_000)));
}

#[test]
fn wrong_constants_are_refused() {
    assert!(Constants::new("ordered", 0, 31).is_ok());
    let message = |rule, seconds, steps| Constants::new(rule, seconds, steps).unwrap_err().to_string();
    assert!(message("ordered", 1, 0).contains("1 to 31 steps, not 0"));
    assert!(message("ordered", 1, 33).contains("1 to 31 steps, not 33"));
    assert!(message("ordered", -1, 1).contains("seconds, not -1"));
    assert!(message("loose", 1, 1).contains("`loose` is no funnel rule: write one of ordered, strict"));
}
