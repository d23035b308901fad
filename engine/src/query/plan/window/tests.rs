//! Windows against a naive oracle: every row is compared with every window, on the wall clock, as Cube's SQL does.

use crate::event::{Column, Event};
use crate::model::{Interval, TimeUnit};
use crate::query::resolve::natural;
use crate::query::tests::{Fixture, parse};
use crate::query::{Cell, date_range};
use chrono::{DateTime, NaiveDateTime, TimeDelta};
use chrono_tz::Tz;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// A window of a measure, and how the oracle sees it.
struct Case {
    granularity: &'static str,
    window: &'static str,
    /// Trailing and leading; an empty text is none, `*` unbounded.
    reach: (&'static str, &'static str),
    from_start: bool,
    /// The unit rows are compared by.
    unit: TimeUnit,
    /// The longer granularity of a window to date.
    to_date: Option<TimeUnit>,
}

const fn case(
    granularity: &'static str,
    window: &'static str,
    reach: (&'static str, &'static str),
    from_start: bool,
    unit: TimeUnit,
) -> Case {
    Case {
        granularity,
        window,
        reach,
        from_start,
        unit,
        to_date: None,
    }
}

const fn to_date(granularity: &'static str, window: &'static str, longer: TimeUnit) -> Case {
    Case {
        to_date: Some(longer),
        ..case(granularity, window, ("", ""), false, TimeUnit::Second)
    }
}

const CASES: &[Case] = &[
    case("day", "trailing: 7 day", ("7 day", ""), false, TimeUnit::Day),
    case("week", "trailing: 7 day", ("7 day", ""), false, TimeUnit::Day),
    case(
        "week",
        "trailing: 1 month, offset: start",
        ("1 month", ""),
        true,
        TimeUnit::Day,
    ),
    case("month", "trailing: 1 month", ("1 month", ""), false, TimeUnit::Month),
    case("day", "trailing: 1 month", ("1 month", ""), false, TimeUnit::Day),
    case("day", "trailing: unbounded", ("*", ""), false, TimeUnit::Day),
    case("day", "leading: unbounded", ("", "*"), false, TimeUnit::Day),
    case(
        "month",
        "trailing: unbounded, leading: unbounded",
        ("*", "*"),
        false,
        TimeUnit::Month,
    ),
    case(
        "hour",
        "trailing: 36 hour, leading: 2 hour",
        ("36 hour", "2 hour"),
        false,
        TimeUnit::Hour,
    ),
    case("hour", "trailing: 1 day", ("1 day", ""), false, TimeUnit::Hour),
    case("day", "leading: 2 day", ("", "2 day"), false, TimeUnit::Day),
    case(
        "day",
        "trailing: 2 day, leading: 1 day, offset: start",
        ("2 day", "1 day"),
        true,
        TimeUnit::Day,
    ),
    case("day", "trailing: 90 minute", ("90 minute", ""), false, TimeUnit::Minute),
    to_date("month", "type: to_date, granularity: quarter", TimeUnit::Quarter),
    to_date("week", "type: to_date, granularity: month", TimeUnit::Month),
    to_date("day", "type: to_date, granularity: year", TimeUnit::Year),
];

/// Zones, each with an instant when its clock changes.
pub(crate) const ZONES: &[(&str, &str)] = &[
    ("America/New_York", "2024-03-10T07:00:00Z"),
    ("America/New_York", "2024-11-03T06:00:00Z"),
    ("Asia/Kolkata", "2024-02-29T00:00:00Z"),
    ("Australia/Sydney", "2024-04-06T16:00:00Z"),
    ("Australia/Sydney", "2024-10-05T16:00:00Z"),
];

/// A row: instant, visitor, width, country.
pub(crate) type Row = (i64, String, Option<i64>, Option<&'static str>);

/// Small, and the same on every machine.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

pub(crate) fn rows(around: i64, dice: &mut Dice) -> Vec<Row> {
    let mut rows = Vec::new();
    for _ in 0..120 {
        // Mostly near the change of the clock, some far away, with a hole of some days.
        let days = if dice.roll(3) == 0 { 70 } else { 3 };
        let far = i64::try_from(dice.roll(days * 86_400_000_000)).unwrap();
        let at = if dice.roll(2) == 0 { around - far } else { around + far };
        if (around + 5 * 86_400_000_000..around + 12 * 86_400_000_000).contains(&at) {
            continue;
        }
        let width = dice.roll(5);
        let width = (width > 0).then(|| i64::try_from(width * 100).unwrap());
        let country = [Some("DE"), Some("FR"), None][usize::try_from(dice.roll(3)).unwrap()];
        rows.push((at, format!("v{}", dice.roll(9)), width, country));
    }
    rows
}

pub(crate) fn events(rows: &[Row]) -> Vec<Event> {
    let event = |(index, (at, visitor, width, country)): (usize, &Row)| {
        let mut event = Event::with_capacity(8);
        event.set(Column::EventId, format!("e{index}"));
        event.set_ts(Column::Ts, *at);
        event.set_ts(Column::ReceivedAt, *at);
        event.set(Column::VisitorId, visitor.as_str());
        event.set(Column::EventType, "page");
        event.set(Column::Protocol, "native");
        if let Some(width) = width {
            event.set_int(Column::ViewportW, *width);
        }
        if let Some(country) = country {
            event.set(Column::GeoCountry, *country);
        }
        event
    };
    rows.iter().enumerate().map(event).collect()
}

fn model() -> String {
    let mut text =
        "cubes:\n  - name: E\n    sql_table: events\n    dimensions:\n      - {name: at, sql: ts, type: time}\n      \
                    - {name: country, sql: geo_country, type: string}\n    measures:\n"
            .to_owned();
    for (index, case) in CASES.iter().enumerate() {
        let kinds = [
            ("n", "type: count".to_owned()),
            (
                "few",
                "type: count, filters: [{sql: \"{CUBE}.viewport_w > 300\"}]".to_owned(),
            ),
            ("s", "type: sum, sql: viewport_w".to_owned()),
            ("a", "type: avg, sql: viewport_w".to_owned()),
            ("x", "type: max, sql: viewport_w".to_owned()),
            ("u", "type: count_distinct, sql: visitor_id".to_owned()),
        ];
        for (name, kind) in kinds {
            let _ = writeln!(
                text,
                "      - {{name: {name}{index}, {kind}, rolling_window: {{{}}}}}",
                case.window
            );
        }
    }
    text
}

pub(crate) fn local(at: i64, tz: Tz) -> NaiveDateTime {
    DateTime::from_timestamp_micros(at)
        .unwrap()
        .with_timezone(&tz)
        .naive_local()
}

/// Whether the window of the bucket from `start` to before `end` sees `at`, in the words of Cube's SQL.
fn sees(case: &Case, (start, end): (NaiveDateTime, NaiveDateTime), at: NaiveDateTime) -> bool {
    let date_to = end - TimeDelta::milliseconds(1);
    if let Some(longer) = case.to_date {
        return at >= longer.truncate(start) && at < end;
    }
    let at = case.unit.truncate(at);
    let edge = if case.from_start { start } else { date_to };
    let bound = |text: &str, count: i64| match text {
        "" => edge,
        text => Interval::parse(text).unwrap().add(edge, count).unwrap(),
    };
    let after = match case.reach.0 {
        "*" => true,
        text if case.from_start => at >= bound(text, -1),
        text => at > bound(text, -1),
    };
    let before = match case.reach.1 {
        "*" => true,
        text if case.from_start => at < bound(text, 1),
        text => at <= bound(text, 1),
    };
    after && before
}

fn number(value: Option<f64>) -> String {
    value.map_or("null".to_owned(), |value| format!("{value:.4}"))
}

/// The six measures of the rows that a window sees.
fn measures(rows: &[&Row]) -> String {
    if rows.is_empty() {
        return "null null null null null 0.0000".to_owned();
    }
    let float = |count: usize| f64::from(u32::try_from(count).unwrap());
    let widths: Vec<f64> = rows
        .iter()
        .filter_map(|row| row.2)
        .map(|width| f64::from(i32::try_from(width).unwrap()))
        .collect();
    let sum = (!widths.is_empty()).then(|| widths.iter().sum::<f64>());
    let few = widths.iter().filter(|width| **width > 300.0).count();
    let visitors: BTreeSet<&String> = rows.iter().map(|row| &row.1).collect();
    let all = [
        Some(float(rows.len())),
        Some(float(few)),
        sum,
        sum.map(|sum| sum / float(widths.len())),
        widths.iter().copied().reduce(f64::max),
        Some(float(visitors.len())),
    ];
    all.map(number).join(" ")
}

fn oracle(case: &Case, rows: &[Row], tz: Tz, range: (NaiveDateTime, NaiveDateTime), by_country: bool) -> Vec<String> {
    let granularity = natural(TimeUnit::from_name(case.granularity).unwrap()).unwrap();
    let mut lines = Vec::new();
    let mut start = granularity.bucket(range.0).unwrap();
    while start <= range.1 {
        let end = granularity.next(start).unwrap();
        let seen = rows.iter().filter(|row| sees(case, (start, end), local(row.0, tz)));
        let label = date_range::format(start);
        let mut groups: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
        for row in seen {
            let country = if by_country { row.3.unwrap_or("null") } else { "" };
            groups.entry(country).or_default().push(row);
        }
        if groups.is_empty() {
            groups.insert(if by_country { "null" } else { "" }, Vec::new());
        }
        for (country, rows) in groups {
            lines.push(format!("{country} {label} {}", measures(&rows)).trim_start().to_owned());
        }
        start = end;
    }
    lines.sort();
    lines
}

async fn answered(
    fixture: &Fixture,
    index: usize,
    tz: Tz,
    range: (NaiveDateTime, NaiveDateTime),
    by_country: bool,
) -> Vec<String> {
    let names = ["n", "few", "s", "a", "x", "u"].map(|name| format!("E.{name}{index}"));
    let dimensions: &[&str] = if by_country { &["E.country"] } else { &[] };
    let query = serde_json::json!({
        "measures": names,
        "dimensions": dimensions,
        "timeDimensions": [{
            "dimension": "E.at",
            "granularity": CASES[index].granularity,
            "dateRange": [date_range::format(range.0), date_range::format(range.1)],
        }],
        "timezone": tz.name(),
        "limit": 50_000,
    });
    let answer = fixture.ask(&parse(&query).unwrap()).await.unwrap();
    let cell = |cell: &Cell| match cell {
        Cell::Null => "null".to_owned(),
        Cell::Number(text) => number(text.parse().ok()),
        Cell::Text(text) | Cell::Time(text) => text.clone(),
        Cell::Bool(value) => value.to_string(),
    };
    let line = |row: &Vec<Cell>| row.iter().map(cell).collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = answer.rows.iter().map(line).collect();
    lines.sort();
    lines
}

/// `TALLY_WINDOW_ROUNDS` rounds of random rows around every change of the clock.
#[tokio::test]
async fn windows_agree_with_a_naive_evaluation() {
    let rounds: u64 = std::env::var("TALLY_WINDOW_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    let yaml = model();
    for round in 0..rounds {
        for (at, (zone, change)) in ZONES.iter().enumerate() {
            let tz: Tz = zone.parse().unwrap();
            let around = DateTime::parse_from_rfc3339(change).unwrap().timestamp_micros();
            let mut dice = Dice(round * 100 + u64::try_from(at).unwrap());
            let rows = rows(around, &mut dice);
            let fixture = Fixture::new(&yaml, &events(&rows));
            for (index, case) in CASES.iter().enumerate() {
                let days = if case.granularity == "hour" { 2 } else { 20 };
                // The range begins and ends within buckets.
                let day = local(around, tz);
                let range = (day - TimeDelta::days(days), day + TimeDelta::days(days));
                let range = (range.0.whole_millis(), range.1.whole_millis());
                for by_country in [false, true] {
                    let expected = oracle(case, &rows, tz, range, by_country);
                    let got = answered(&fixture, index, tz, range, by_country).await;
                    assert_eq!(
                        got, expected,
                        "{zone} {} {} round {round}",
                        case.granularity, case.window
                    );
                }
            }
        }
    }
}

trait Whole {
    fn whole_millis(self) -> Self;
}

impl Whole for NaiveDateTime {
    /// Without what is finer than a millisecond.
    fn whole_millis(self) -> Self {
        DateTime::from_timestamp_millis(self.and_utc().timestamp_millis())
            .unwrap()
            .naive_utc()
    }
}

#[tokio::test]
async fn too_many_buckets_are_refused() {
    let fixture = Fixture::new(&model(), &[]);
    let query = serde_json::json!({
        "measures": ["E.n0"],
        "timeDimensions": [{"dimension": "E.at", "granularity": "second", "dateRange": ["2024-01-01", "2024-01-02"]}],
    });
    let error = fixture.ask(&parse(&query).unwrap()).await.unwrap_err();
    assert!(error.message().contains("over limit (50000)"), "{error}");
}
