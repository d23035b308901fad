//! Sequences with known answers: from the tests and issues of other systems, and from runs of ClickHouse.

use super::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    id: String,
    window_seconds: u32,
    steps: Vec<Vec<String>>,
    events: Vec<(String, i64, String)>,
    expected: BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
struct Expected {
    levels: BTreeMap<String, u8>,
    step_counts: Vec<usize>,
    rows_exclusive: Option<Vec<(u8, usize)>>,
}

#[test]
fn all_vectors_hold_under_the_four_rules() {
    let file: File = serde_json::from_str(include_str!("../../../../../../data/funnel/vectors.json")).unwrap();
    assert_eq!(file.vectors.len(), 41);
    for vector in &file.vectors {
        let mut users: BTreeMap<&str, Events> = BTreeMap::new();
        for (user, ms, name) in &vector.events {
            let matches = vector
                .steps
                .iter()
                .enumerate()
                .filter(|(_, names)| names.contains(name));
            let mask = matches.fold(0, |mask, (step, _)| mask | 1 << step);
            users
                .entry(user)
                .or_default()
                .push((1_700_000_000_000_000 + ms * 1000, mask));
        }
        assert_eq!(vector.expected.len(), FunnelRule::ALL.len(), "{}", vector.id);
        for (name, rule) in FunnelRule::ALL {
            let expected = &vector.expected[*name];
            let level = |events: &Events| evaluate(*rule, vector.window_seconds, vector.steps.len(), events).level;
            let levels: BTreeMap<String, u8> = users
                .iter()
                .map(|(user, events)| ((*user).to_owned(), level(events)))
                .collect();
            assert_eq!(levels, expected.levels, "{} under {name}", vector.id);
            let at_least = |step: &usize| levels.values().filter(|level| usize::from(**level) > *step).count();
            let counts: Vec<usize> = (0..vector.steps.len()).map(|step| at_least(&step)).collect();
            assert_eq!(counts, expected.step_counts, "{} under {name}", vector.id);
            if let Some(rows) = &expected.rows_exclusive {
                let mut exclusive: BTreeMap<u8, usize> = BTreeMap::new();
                levels
                    .values()
                    .for_each(|level| *exclusive.entry(*level).or_default() += 1);
                assert_eq!(
                    &exclusive.into_iter().collect::<Vec<_>>(),
                    rows,
                    "{} under {name}",
                    vector.id
                );
            }
        }
    }
}

#[derive(Deserialize)]
struct Runs {
    users: Vec<Run>,
}

/// Window in seconds, number of steps, events in milliseconds with their masks, levels under three rules.
#[derive(Deserialize)]
struct Run(u32, usize, Events, [u8; 3]);

#[test]
fn random_users_get_the_levels_that_clickhouse_gives() {
    let runs: Runs = serde_json::from_str(include_str!("../../../../../../data/funnel/clickhouse.json")).unwrap();
    for (i, Run(window, steps, events, expected)) in runs.users.iter().enumerate() {
        let events: Events = events
            .iter()
            .map(|(ms, mask)| (1_700_000_000_000_000 + ms * 1000, *mask))
            .collect();
        let level = |rule| evaluate(rule, *window, *steps, &events).level;
        let levels = [
            level(FunnelRule::Gitlab),
            level(FunnelRule::GitlabG2),
            level(FunnelRule::Ordered),
        ];
        assert_eq!(
            levels, *expected,
            "user {i}, window {window} s, {steps} steps: {events:?}"
        );
    }
}
