//! Random rows of the model `model.yml`, as events and in memory.

use crate::support::Random;
use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use serde_json::{Value, json};

/// Pages, with what `LIKE` treats specially.
pub const PAGES: &[&str] = &[
    "/",
    "/a",
    "/a_b",
    "/axb",
    "/a%b",
    "/docs",
    "/docs/start",
    "/Docs",
    "/été",
];
/// Countries.
pub const COUNTRIES: &[&str] = &["DE", "FR", "US", "BR"];

/// One row.
#[derive(Debug, Clone)]
pub struct Row {
    /// The primary key.
    pub id: String,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// Another instant.
    pub seen: Option<DateTime<Utc>>,
    /// A text.
    pub page: Option<&'static str>,
    /// A text of few values.
    pub country: Option<&'static str>,
    /// A whole number.
    pub quantity: Option<i64>,
    /// A multiple of a quarter, so that sums are exact.
    pub amount: Option<f64>,
    /// A truth value.
    pub mobile: Option<bool>,
}

/// Days on which some zone changes its clocks, and ends of months and years.
const EDGES: &[(i32, u32, u32)] = &[
    (2024, 1, 1),
    (2024, 2, 29),
    (2024, 3, 10),
    (2024, 3, 31),
    (2024, 4, 7),
    (2024, 10, 6),
    (2024, 11, 3),
    (2024, 12, 31),
];

fn pick<T: Copy>(random: &mut Random, items: &[T]) -> T {
    items[random.below(items.len() as u64) as usize]
}

/// `None` once in `of`.
fn mostly<T>(random: &mut Random, of: u64, value: impl FnOnce(&mut Random) -> T) -> Option<T> {
    (random.below(of) > 0).then(|| value(random))
}

fn instant(random: &mut Random) -> DateTime<Utc> {
    let day = match random.below(3) {
        0 => {
            let (year, month, day) = pick(random, EDGES);
            NaiveDate::from_ymd_opt(year, month, day).unwrap()
        }
        _ => NaiveDate::from_ymd_opt(2024, 1, 1).unwrap() + TimeDelta::days(random.below(366) as i64),
    };
    let second = match random.below(4) {
        0 => 1800 * random.below(48),
        _ => random.below(86_400),
    };
    let micros = match random.below(4) {
        0 => 0,
        1 => 999_000 + random.below(1000),
        _ => random.below(1_000_000),
    };
    let midnight: NaiveDateTime = day.and_hms_opt(0, 0, 0).unwrap();
    (midnight + TimeDelta::seconds(second as i64) + TimeDelta::microseconds(micros as i64)).and_utc()
}

/// `count` rows.
pub fn rows(random: &mut Random, count: usize) -> Vec<Row> {
    let row = |n: usize, random: &mut Random| Row {
        id: format!("e{n:05}"),
        at: instant(random),
        seen: mostly(random, 4, instant),
        page: mostly(random, 8, |random| pick(random, PAGES)),
        country: mostly(random, 6, |random| pick(random, COUNTRIES)),
        quantity: mostly(random, 6, |random| random.below(10) as i64),
        amount: mostly(random, 5, |random| random.below(400) as f64 / 4.0 - 20.0),
        mobile: mostly(random, 6, |random| random.below(2) == 0),
    };
    (0..count).map(|n| row(n, random)).collect()
}

/// The row as a native event.
pub fn event(row: &Row) -> Value {
    let text = |at: &DateTime<Utc>| at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    json!({
        "event_id": row.id, "event": "visit", "anonymous_id": "someone", "origin": "server",
        "properties": {
            "at": text(&row.at), "seen": row.seen.as_ref().map(text), "page": row.page, "country": row.country,
            "quantity": row.quantity, "amount": row.amount, "mobile": row.mobile,
        },
    })
}
