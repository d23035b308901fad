use super::*;
use crate::clock::SECOND_MICROS;
use proptest::prelude::*;

const INTERVAL: Micros = 30 * SECOND_MICROS;
/// Seconds between two looks of the simulated flusher.
const STEP: i64 = 15;

fn situation(now: Micros) -> Situation {
    Situation {
        now,
        policy: FlushPolicy {
            interval_ms: 30_000,
            rows_max: 200_000,
            bytes_max: 64 << 20,
        },
        memory: Memory {
            held: 0,
            rows: 0,
            max: 256 << 20,
        },
        log_bytes: 0,
        last_seq: 1_000_000,
    }
}

fn rows(since: Micros, rows: usize) -> Waiting {
    Waiting {
        since,
        rows,
        bytes: rows * 500,
        first_seq: 1,
        ..Waiting::default()
    }
}

/// Projects that each bring an event every `every` seconds, a multiple of [`STEP`]; what flushing them cost in `hours` hours.
#[derive(Debug, Default)]
struct Simulated {
    flushes: usize,
    wait_max: Micros,
}

fn simulate(projects: usize, every: i64, hours: i64) -> Simulated {
    let mut waiting: Vec<Option<Waiting>> = vec![None; projects];
    let mut small = SmallFlushes::default();
    let mut done = Simulated::default();
    for second in (0..hours * 3_600).step_by(STEP as usize) {
        let now = second * SECOND_MICROS;
        for (at, slot) in waiting.iter_mut().enumerate() {
            if (second / STEP + at as i64) % (every / STEP) == 0 {
                slot.get_or_insert(rows(now, 0)).rows += 1;
            }
        }
        let places: Vec<usize> = (0..projects).filter(|at| waiting[*at].is_some()).collect();
        let all: Vec<Waiting> = places.iter().filter_map(|at| waiting[*at]).collect();
        for chosen in choose(&all, &situation(now), &mut small) {
            done.flushes += 1;
            done.wait_max = done.wait_max.max(now - all[chosen].since);
            waiting[places[chosen]] = None;
        }
    }
    done
}

#[test]
fn one_project_is_flushed_at_the_interval() {
    let done = simulate(1, 15, 1);
    // The next event comes a step after a flush, and waits an interval.
    let every = INTERVAL + STEP * SECOND_MICROS;
    assert_eq!(done.flushes as i64, 3_600 * SECOND_MICROS / every, "{done:?}");
    assert!(done.wait_max <= INTERVAL + STEP * SECOND_MICROS, "{done:?}");
}

#[test]
fn thousands_of_quiet_projects_make_no_more_files_than_sixty_four() {
    let few = simulate(64, 15, 1);
    let many = simulate(2_000, 30, 1);
    let budget = limits::FLUSH_SMALL_PER_INTERVAL * 120;
    assert!(few.flushes <= budget && many.flushes <= budget, "{few:?} {many:?}");
    // All are served in turn: nobody waits much longer than a round through all of them.
    let round = INTERVAL * (2_000 / limits::FLUSH_SMALL_PER_INTERVAL as i64 + 3);
    assert!(many.wait_max <= round, "{many:?}");
}

#[test]
fn nobody_waits_longer_than_the_bound() {
    let done = simulate(9_000, 900, 2);
    let bound = INTERVAL * limits::FLUSH_INTERVALS_MAX + STEP * SECOND_MICROS;
    assert!(done.wait_max <= bound, "{done:?}");
}

#[test]
fn a_busy_project_does_not_wait_for_the_quiet_ones() {
    let now = 2 * INTERVAL;
    let mut small = SmallFlushes::default();
    let mut waiting: Vec<Waiting> = (0..1_000).map(|at| rows(at, 1)).collect();
    waiting.push(rows(INTERVAL, 5_000));
    let chosen = choose(&waiting, &situation(now), &mut small);
    assert_eq!(chosen.len(), limits::FLUSH_SMALL_PER_INTERVAL + 1);
    assert!(chosen.contains(&1_000));
    assert!(choose(&waiting[..1_000], &situation(now + 1), &mut small).is_empty());
}

#[test]
fn a_long_log_is_shortened_from_its_old_end() {
    let mut waiting: Vec<Waiting> = (0..100).map(|_| rows(0, 1)).collect();
    for (at, one) in waiting.iter_mut().enumerate() {
        one.first_seq = 1 + at as u64 * 10_000;
    }
    let long = Situation {
        log_bytes: limits::WAL_BYTES_MAX + 1,
        ..situation(1)
    };
    let chosen = choose(&waiting, &long, &mut SmallFlushes::default());
    assert_eq!(chosen, (0..50).collect::<Vec<_>>());
}

#[test]
fn shortage_of_memory_takes_the_largest_first() {
    let waiting = [rows(0, 10), rows(1, 200_000 - 1), rows(2, 20)];
    let mut short = situation(3);
    let all = waiting.iter().map(|one| one.bytes).sum();
    short.memory = Memory {
        held: all,
        rows: all,
        max: all,
    };
    assert_eq!(choose(&waiting, &short, &mut SmallFlushes::default()), [1]);
}

/// As when slow clients have announced long bodies: files of a few rows would give back next to nothing.
#[test]
fn memory_that_requests_hold_makes_no_small_files() {
    let max = 64 << 20;
    let mut waiting: Vec<Waiting> = (0..100).map(|at| rows(at, 10)).collect();
    let look = |waiting: &[Waiting]| {
        let rows = waiting.iter().map(|one| one.bytes).sum();
        let memory = Memory {
            held: max / 4 * 3 + rows,
            rows,
            max,
        };
        let short = Situation {
            memory,
            ..situation(100)
        };
        choose(waiting, &short, &mut SmallFlushes::default())
    };
    assert!(look(&waiting).is_empty());
    // An eighth of the memory in one project, and the others are left alone.
    waiting.push(rows(100, max / 8 / 500));
    assert_eq!(look(&waiting), [100]);
}

proptest! {
    #[test]
    fn what_failed_is_tried_when_its_time_has_come_and_not_before(
        now in 0i64..1_000_000_000,
        retry_at in 0i64..1_000_000_000,
    ) {
        let one = Waiting { is_retry: true, retry_at, ..rows(0, 1) };
        let chosen = choose(&[one], &situation(now), &mut SmallFlushes::default());
        prop_assert_eq!(chosen.len() == 1, now >= retry_at);
    }

    #[test]
    fn waits_double_up_to_their_bound_and_differ(failures in 0u32..40, chance in any::<u64>()) {
        let wait = retry_wait_ms(failures, chance);
        let whole = (limits::FLUSH_RETRY_MS << failures.min(16)).min(limits::FLUSH_RETRY_MS_MAX);
        prop_assert!(whole / 2 <= wait && wait <= whole);
    }
}
