//! The rules as naively as they can be written, and a hundred thousand random users on whom both must agree.

use super::*;

/// All chains of distinct events, one after the other: the greatest level and the earliest start of a chain that long.
fn ordered_by_search(window: Micros, steps: usize, events: &[(Micros, u32)]) -> (u8, Option<Micros>) {
    fn extend(events: &[(Micros, u32)], used: &mut Vec<usize>, step: usize, steps: usize, end: Micros) -> usize {
        if step == steps {
            return step;
        }
        let mut best = step;
        for (i, (ts, mask)) in events.iter().enumerate() {
            let follows = used.last().is_none_or(|last| events[*last].0 <= *ts);
            if *ts <= end && follows && mask & (1 << step) != 0 && !used.contains(&i) {
                used.push(i);
                best = best.max(extend(events, used, step + 1, steps, end));
                used.pop();
            }
        }
        best
    }
    let mut best = (0, None);
    for (i, (ts, mask)) in events.iter().enumerate() {
        if mask & 1 != 0 {
            let level = extend(events, &mut vec![i], 1, steps, ts + window);
            let earlier = best.1.is_none_or(|start| *ts < start);
            if level > best.0 || (level == best.0 && earlier) {
                best = (level, Some(*ts));
            }
        }
    }
    (u8::try_from(best.0).unwrap(), best.1)
}

/// PostHog's program: every level's chain with the events in it.
fn strict_by_the_book(window: Micros, steps: usize, events: &[(Micros, u32)]) -> u8 {
    type Chain = (Micros, Vec<usize>);
    let mut order: Vec<usize> = (0..events.len()).collect();
    order.sort_by_key(|i| events[*i]);
    let mut chains: BTreeMap<usize, Chain> = BTreeMap::new();
    let mut best = 0;
    let open = |chains: &BTreeMap<usize, Chain>, step: usize, now: Micros| -> Option<Chain> {
        let before = if step == 1 {
            Some((now, Vec::new()))
        } else {
            chains.get(&(step - 1)).cloned()
        };
        let reached = |start: Micros| chains.get(&step).is_some_and(|chain| chain.0 == start);
        before.filter(|chain| now - chain.0 <= window && !reached(chain.0))
    };
    for tied in order.chunk_by(|a, b| events[*a].0 == events[*b].0) {
        let now = events[tied[0]].0;
        let matches = |event: usize, step: usize| events[event].1 & (1 << (step - 1)) != 0;
        if tied.iter().all(|event| events[*event].1 == events[tied[0]].1) {
            for event in tied {
                let mut next = chains.clone();
                next.retain(|step, _| matches(*event, *step) || (*step == 1 && events[*event].1 & NO_ENTRY != 0));
                for step in (1..=steps).filter(|step| matches(*event, *step)) {
                    if let Some((start, mut path)) = open(&chains, step, now) {
                        path.push(*event);
                        next.insert(step, (start, path));
                        best = best.max(step);
                    }
                }
                chains = next;
            }
        } else {
            for step in 1..=steps {
                for event in tied.iter().filter(|event| matches(**event, step)) {
                    if let Some((start, mut path)) = open(&chains, step, now)
                        && !path.contains(event)
                    {
                        path.push(*event);
                        chains.insert(step, (start, path));
                        best = best.max(step);
                    }
                }
            }
        }
        if chains.contains_key(&steps) {
            break;
        }
    }
    u8::try_from(best).unwrap()
}

/// Where no two events share an instant, strict means: from a view of step 1 on, every page view is of the next step or
/// of the same step again.
fn strict_by_runs(window: Micros, steps: usize, events: &[(Micros, u32)]) -> u8 {
    fn extend(rest: &[(Micros, u32)], level: usize, steps: usize, end: Micros) -> usize {
        let Some(((ts, mask), rest)) = rest.split_first() else {
            return level;
        };
        let matches = |step: usize| mask & (1 << (step - 1)) != 0;
        let mut best = level;
        if level < steps && matches(level + 1) && *ts <= end {
            best = best.max(extend(rest, level + 1, steps, end));
        }
        if matches(level) || (level == 1 && mask & NO_ENTRY != 0) {
            best = best.max(extend(rest, level, steps, end));
        }
        best
    }
    let mut events = events.to_vec();
    events.sort_unstable();
    let run = |from: usize| match events[from] {
        (start, mask) if mask & 1 != 0 => extend(&events[from + 1..], 1, steps, start + window),
        _ => 0,
    };
    u8::try_from((0..events.len()).map(run).max().unwrap_or(0)).unwrap()
}

/// ClickHouse's list: an entry per event and step it matches, or one as foreign.
fn window_funnel_by_the_list(window_seconds: i64, steps: usize, events: &[(Micros, u32)], strict: bool) -> u8 {
    let mut list = Vec::new();
    for (ts, mask) in events {
        let second = ts.div_euclid(1_000_000);
        let matched = (1..=steps).filter(|step| mask & (1 << (step - 1)) != 0);
        list.extend(matched.map(|step| (second, step)));
        if *mask == 0 {
            list.push((second, 0));
        }
    }
    list.sort_unstable();
    let mut starts = vec![None; steps];
    for (second, step) in list {
        let begun = starts[0].is_some();
        if step == 0 {
            if strict && begun {
                break;
            }
        } else if step == 1 {
            starts[0] = Some(second);
        } else if let Some(start) = starts[step - 2] {
            if second <= start + window_seconds {
                starts[step - 1] = Some(start);
            }
        } else if strict && begun {
            break;
        }
    }
    u8::try_from(starts.iter().rposition(Option::is_some).map_or(0, |i| i + 1)).unwrap()
}

#[test]
fn a_hundred_thousand_random_users_agree_with_the_naive_rules() {
    let mut random = Random::new(1);
    let mut reached = [0_u32; 6];
    for case in 0..100_000 {
        let seed = random.seed();
        let steps = usize::try_from(1 + random.below(5)).unwrap();
        let window_seconds = u32::try_from(random.below(10)).unwrap();
        let window = i64::from(window_seconds) * 1_000_000;
        let events = user(&mut random, steps);
        let context = || format!("FUNNEL_SEED={seed} case {case}: {steps} steps, {window_seconds} s, {events:?}");
        let of = |rule| evaluate(rule, window_seconds, steps, &events);

        let matching: Events = events.iter().copied().filter(|event| event.1 != 0).collect();
        let expected = ordered_by_search(window, steps, &matching);
        let outcome = of(FunnelRule::Ordered);
        assert_eq!((outcome.level, outcome.entry), expected, "ordered, {}", context());
        reached[usize::from(outcome.level)] += 1;

        let strict = of(FunnelRule::Strict).level;
        assert_eq!(
            strict,
            strict_by_the_book(window, steps, &events),
            "strict, {}",
            context()
        );
        let mut instants: Vec<Micros> = events.iter().map(|event| event.0).collect();
        instants.sort_unstable();
        instants.dedup();
        if instants.len() == events.len() {
            assert_eq!(
                strict,
                strict_by_runs(window, steps, &events),
                "strict runs, {}",
                context()
            );
        }

        for (rule, strict) in [(FunnelRule::Gitlab, true), (FunnelRule::GitlabG2, false)] {
            let expected = window_funnel_by_the_list(i64::from(window_seconds), steps, &events, strict);
            assert_eq!(of(rule).level, expected, "{rule:?}, {}", context());
        }
    }
    // The generator is worth something only if it reaches every level often.
    assert!(reached.iter().all(|users| *users > 200), "{reached:?}");
}

#[test]
fn strict_users_with_barred_entries_agree_with_the_naive_rules() {
    let mut random = Random::new(7);
    for case in 0..20_000 {
        let seed = random.seed();
        let mut events = user(&mut random, 3);
        let from = i64::try_from(random.below(32)).unwrap() * 250_000 - 2_000_000;
        let end = from + i64::try_from(random.below(16)).unwrap() * 250_000;
        for (ts, mask) in &mut events {
            if *mask & 1 != 0 && (*ts < from || *ts >= end) {
                *mask = (*mask & !1) | NO_ENTRY;
            }
        }
        let level = evaluate(FunnelRule::Strict, 3, 3, &events).level;
        let context = || format!("FUNNEL_SEED={seed} case {case}: {events:?}");
        assert_eq!(level, strict_by_the_book(3_000_000, 3, &events), "{}", context());
        let mut instants: Vec<Micros> = events.iter().map(|event| event.0).collect();
        instants.sort_unstable();
        instants.dedup();
        if instants.len() == events.len() {
            assert_eq!(level, strict_by_runs(3_000_000, 3, &events), "{}", context());
        }
    }
}

#[test]
fn the_order_of_arrival_never_matters() {
    let mut random = Random::new(2);
    for case in 0..5_000 {
        let seed = random.seed();
        let events = user(&mut random, 4);
        let mut shuffled = events.clone();
        random.shuffle(&mut shuffled);
        for (name, rule) in FunnelRule::ALL {
            let (a, b) = (evaluate(*rule, 3, 4, &events), evaluate(*rule, 3, 4, &shuffled));
            assert_eq!(
                a, b,
                "{name}, FUNNEL_SEED={seed} case {case}: {events:?} and {shuffled:?}"
            );
        }
    }
}
