//! What a query must answer, worked out row by row: the contract once more, with nothing of the engine.

use super::data::Row;
use super::query::{Asked, Leaf, Node, Time};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// No value.
    Null,
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// A truth value.
    Bool(bool),
    /// A time without zone.
    Time(NaiveDateTime),
}

impl Cell {
    /// As it is written, for comparing: numbers by value, times to the millisecond.
    pub fn shown(&self) -> String {
        match self {
            Cell::Null => "null".to_owned(),
            Cell::Number(number) => format!("{number:.9e}"),
            Cell::Text(text) => format!("{text:?}"),
            Cell::Bool(flag) => flag.to_string(),
            Cell::Time(at) => format!("{:?}", at.format("%Y-%m-%dT%H:%M:%S%.3f").to_string()),
        }
    }

    /// Smaller first; no value is last.
    fn order(&self, other: &Cell) -> Ordering {
        match (self, other) {
            (Cell::Null, Cell::Null) => Ordering::Equal,
            (Cell::Null, _) => Ordering::Greater,
            (_, Cell::Null) => Ordering::Less,
            (Cell::Number(a), Cell::Number(b)) => a.partial_cmp(b).unwrap(),
            (Cell::Text(a), Cell::Text(b)) => a.cmp(b),
            (Cell::Bool(a), Cell::Bool(b)) => a.cmp(b),
            (Cell::Time(a), Cell::Time(b)) => a.cmp(b),
            _ => panic!("{self:?} and {other:?} do not compare"),
        }
    }
}

fn text(value: Option<&str>) -> Cell {
    value.map_or(Cell::Null, |text| Cell::Text(text.to_owned()))
}

fn number(value: Option<f64>) -> Cell {
    value.map_or(Cell::Null, Cell::Number)
}

fn time(value: Option<DateTime<Utc>>) -> Cell {
    value.map_or(Cell::Null, |at| Cell::Time(at.naive_utc()))
}

/// A dimension of a row; times in UTC.
fn dimension(row: &Row, name: &str) -> Cell {
    match name {
        "id" => Cell::Text(row.id.clone()),
        "at" => time(Some(row.at)),
        "seen" => time(row.seen),
        "page" => text(row.page),
        "country" => text(row.country),
        "quantity" => number(row.quantity.map(|n| n as f64)),
        "amount" => number(row.amount),
        "mobile" => row.mobile.map_or(Cell::Null, Cell::Bool),
        "size" => text(Some(match row.quantity {
            Some(n) if n < 3 => "small",
            Some(n) if n < 7 => "medium",
            _ => "large",
        })),
        other => panic!("no dimension {other}"),
    }
}

fn instant(row: &Row, name: &str) -> Option<DateTime<Utc>> {
    if name == "at" { Some(row.at) } else { row.seen }
}

fn midnight(year: i32, month: u32, day: u32) -> NaiveDateTime {
    NaiveDate::from_ymd_opt(year, month, day)
        .unwrap()
        .and_hms_opt(0, 0, 0)
        .unwrap()
}

/// Every `months` months, counted from the first of `from`.
fn months(local: NaiveDateTime, from: (i32, i32), months: i32) -> NaiveDateTime {
    let since = (local.year() - from.0) * 12 + local.month0() as i32 - (from.1 - 1);
    let begin = from.0 * 12 + from.1 - 1 + since.div_euclid(months) * months;
    midnight(begin.div_euclid(12), begin.rem_euclid(12) as u32 + 1, 1)
}

/// The beginning of the bucket that holds a local time.
pub fn bucket(local: NaiveDateTime, granularity: &str) -> NaiveDateTime {
    let day = local.date().and_hms_opt(0, 0, 0).unwrap();
    let second = local - TimeDelta::nanoseconds(i64::from(local.nanosecond()));
    let week = |local: NaiveDateTime| {
        let day = local.date().and_hms_opt(0, 0, 0).unwrap();
        day - TimeDelta::days(i64::from(day.weekday().num_days_from_monday()))
    };
    match granularity {
        "second" => second,
        "minute" => second - TimeDelta::seconds(i64::from(local.second())),
        "hour" => day + TimeDelta::hours(i64::from(local.hour())),
        "day" => day,
        "week" => week(local),
        "month" => months(local, (2024, 1), 1),
        "quarter" => months(local, (2024, 1), 3),
        "half_year" => months(local, (2024, 1), 6),
        "year" => months(local, (2024, 1), 12),
        "fiscal_year" => months(local, (2024, 2), 12),
        "fifteen_minutes" => day + TimeDelta::minutes(i64::from(local.hour() * 60 + local.minute()) / 15 * 15),
        "ten_days" => {
            let origin = midnight(2024, 1, 3);
            origin + TimeDelta::days((day - origin).num_days().div_euclid(10) * 10)
        }
        "sunday_week" => week(local + TimeDelta::days(1)) - TimeDelta::days(1),
        other => panic!("no granularity {other}"),
    }
}

fn local(at: DateTime<Utc>, zone: Tz) -> NaiveDateTime {
    at.with_timezone(&zone).naive_local()
}

/// What a `LIKE` with `pattern` in it finds, without regard to case.
fn matches(operator: &str, subject: &str, pattern: &str) -> bool {
    let (subject, pattern) = (subject.to_lowercase(), pattern.to_lowercase());
    match operator {
        "contains" | "notContains" => subject.contains(&pattern),
        "startsWith" | "notStartsWith" => subject.starts_with(&pattern),
        _ => subject.ends_with(&pattern),
    }
}

/// A value a client sends, as a value of the kind of `like`.
fn parsed(value: &str, like: &Cell) -> Cell {
    match like {
        Cell::Number(_) => Cell::Number(value.parse().unwrap()),
        Cell::Bool(_) => Cell::Bool(value == "true"),
        _ => Cell::Text(value.to_owned()),
    }
}

/// Whether a value passes a filter that is no date filter.
fn passes(cell: &Cell, leaf: &Leaf) -> bool {
    let null_asked = leaf.values.iter().any(Option::is_none);
    let values: Vec<&str> = leaf.values.iter().flatten().map(String::as_str).collect();
    let negated = leaf.operator.starts_with("not");
    match leaf.operator {
        "set" => *cell != Cell::Null,
        "notSet" => *cell == Cell::Null,
        "gt" | "gte" | "lt" | "lte" => {
            if *cell == Cell::Null {
                return false;
            }
            let order = cell.order(&parsed(values[0], cell));
            match leaf.operator {
                "gt" => order.is_gt(),
                "gte" => order.is_ge(),
                "lt" => order.is_lt(),
                _ => order.is_le(),
            }
        }
        _ if *cell == Cell::Null => negated != null_asked,
        "equals" | "notEquals" => values.iter().any(|value| parsed(value, cell) == *cell) != negated,
        _ => {
            let Cell::Text(subject) = cell else {
                panic!("{cell:?} is no text")
            };
            values.iter().any(|value| matches(leaf.operator, subject, value)) != negated
        }
    }
}

/// Whether an instant passes a date filter whose values are local dates.
fn date_passes(at: Option<DateTime<Utc>>, leaf: &Leaf, zone: Tz) -> bool {
    match (leaf.operator, at) {
        ("set", at) => return at.is_some(),
        ("notSet", at) => return at.is_none(),
        (_, None) => return false,
        _ => {}
    }
    let local = local(at.unwrap(), zone);
    let date = |index: usize| NaiveDate::parse_from_str(leaf.values[index].as_deref().unwrap(), "%Y-%m-%d").unwrap();
    let begin = date(0).and_hms_opt(0, 0, 0).unwrap();
    let inside = |last: NaiveDate| date(0) <= local.date() && local.date() <= last;
    // A millisecond is the smallest step of a client's clock.
    let step = TimeDelta::milliseconds(1);
    match leaf.operator {
        "inDateRange" => inside(date(1)),
        "notInDateRange" => !inside(date(1)),
        "onTheDate" => inside(date(0)),
        "beforeDate" => local < begin,
        "afterOrOnDate" => local >= begin,
        "beforeOrOnDate" => local < begin + step,
        "afterDate" => local >= begin + step,
        other => panic!("no operator {other}"),
    }
}

fn holds(node: &Node, leaf: &dyn Fn(&Leaf) -> bool) -> bool {
    match node {
        Node::And(inner) => inner.iter().all(|node| holds(node, leaf)),
        Node::Or(inner) => inner.iter().any(|node| holds(node, leaf)),
        Node::Leaf(one) => leaf(one),
    }
}

fn in_segment(row: &Row, segment: &str) -> bool {
    match segment {
        "onMobile" => row.mobile == Some(true),
        _ => matches!(row.country, Some("DE" | "FR")),
    }
}

fn in_range(row: &Row, time: &Time, zone: Tz) -> bool {
    let Some((from, to)) = time.range else { return true };
    instant(row, time.dimension).is_some_and(|at| {
        let local = local(at, zone);
        from <= local && local < to + TimeDelta::milliseconds(1)
    })
}

fn selected(row: &Row, asked: &Asked) -> bool {
    let leaf = |leaf: &Leaf| match leaf.member {
        "at" | "seen" => date_passes(instant(row, leaf.member), leaf, asked.zone),
        name => passes(&dimension(row, name), leaf),
    };
    asked.segments.iter().all(|segment| in_segment(row, segment))
        && asked.times.iter().all(|time| in_range(row, time, asked.zone))
        && asked.filters.iter().all(|node| holds(node, &leaf))
}

fn sum(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

/// A measure over rows.
fn measure(rows: &[&Row], name: &str) -> Cell {
    let mobile = || rows.iter().filter(|row| row.mobile == Some(true));
    let amounts = || rows.iter().filter_map(|row| row.amount);
    let count = rows.len() as f64;
    match name {
        "count" => Cell::Number(count),
        "totalAmount" => number(sum(amounts())),
        "averageAmount" => number(sum(amounts()).map(|sum| sum / amounts().count() as f64)),
        "leastQuantity" => number(rows.iter().filter_map(|row| row.quantity).min().map(|n| n as f64)),
        "mostAmount" => number(amounts().reduce(f64::max)),
        "pages" => Cell::Number(rows.iter().filter_map(|row| row.page).collect::<BTreeSet<_>>().len() as f64),
        "mobileCount" => Cell::Number(mobile().count() as f64),
        "mobileAmount" => {
            let large = mobile().filter(|row| row.quantity.is_some_and(|n| n > 2));
            number(sum(large.filter_map(|row| row.amount)))
        }
        "mobileShare" if rows.is_empty() => Cell::Null,
        "mobileShare" => Cell::Number(100.0 * mobile().count() as f64 / count),
        "lastPage" => text(rows.iter().filter_map(|row| row.page).max()),
        "anyMobile" => Cell::Bool(mobile().count() > 0),
        "firstSeen" => time(rows.iter().filter_map(|row| row.seen).min()),
        other => panic!("no measure {other}"),
    }
}

/// A measure of an ungrouped query.
fn row_measure(row: &Row, name: &str) -> Cell {
    let mobile = row.mobile == Some(true);
    match name {
        "count" => Cell::Number(1.0),
        "mobileCount" => number(mobile.then_some(1.0)),
        "mobileAmount" if !(mobile && row.quantity.is_some_and(|n| n > 2)) => Cell::Null,
        "totalAmount" | "averageAmount" | "mostAmount" | "mobileAmount" => number(row.amount),
        "leastQuantity" => number(row.quantity.map(|n| n as f64)),
        other => panic!("{other} is not asked ungrouped"),
    }
}

/// A row of an answer: columns by their short names (`page`, `at.day`).
pub type Answered = BTreeMap<String, Cell>;

fn keys(row: &Row, asked: &Asked) -> Answered {
    let mut keys: Answered = asked
        .dimensions
        .iter()
        .map(|name| ((*name).to_owned(), dimension(row, name)))
        .collect();
    for time in &asked.times {
        let Some(granularity) = time.granularity else { continue };
        let at = instant(row, time.dimension).map(|at| Cell::Time(bucket(local(at, asked.zone), granularity)));
        keys.insert(format!("{}.{granularity}", time.dimension), at.unwrap_or(Cell::Null));
    }
    keys
}

fn grouped(rows: &[&Row], asked: &Asked) -> Vec<Answered> {
    let mut groups: BTreeMap<String, (Answered, Vec<&Row>)> = BTreeMap::new();
    let exact = |keys: &Answered| format!("{keys:?}");
    for row in rows {
        let keys = keys(row, asked);
        groups
            .entry(exact(&keys))
            .or_insert_with(|| (keys, Vec::new()))
            .1
            .push(row);
    }
    if !asked.groups() && groups.is_empty() {
        groups.insert(String::new(), (Answered::new(), Vec::new()));
    }
    let kept = |rows: &[&Row]| {
        let leaf = |leaf: &Leaf| passes(&measure(rows, leaf.member), leaf);
        asked.having.iter().all(|node| holds(node, &leaf))
    };
    let groups = groups.into_values().filter(|(_, rows)| kept(rows));
    let with_measures = |(mut keys, rows): (Answered, Vec<&Row>)| {
        let measures = asked
            .measures
            .iter()
            .map(|name| ((*name).to_owned(), measure(&rows, name)));
        keys.extend(measures);
        keys
    };
    groups.map(with_measures).collect()
}

/// All rows of the answer in their order, before limit and offset.
pub fn answer(rows: &[Row], asked: &Asked) -> Vec<Answered> {
    let rows: Vec<&Row> = rows.iter().filter(|row| selected(row, asked)).collect();
    let mut answered: Vec<Answered> = match asked.ungrouped {
        true => rows
            .iter()
            .map(|row| {
                let mut cells = keys(row, asked);
                let measures = asked
                    .measures
                    .iter()
                    .map(|name| ((*name).to_owned(), row_measure(row, name)));
                cells.extend(measures);
                cells
            })
            .collect(),
        false => grouped(&rows, asked),
    };
    let order = asked.order_columns();
    answered.sort_by(|a, b| {
        let compared = order.iter().map(|(column, desc)| {
            let order = a[column].order(&b[column]);
            if *desc { order.reverse() } else { order }
        });
        compared.fold(Ordering::Equal, Ordering::then)
    });
    answered
}
