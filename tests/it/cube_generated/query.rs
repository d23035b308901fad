//! Random queries over the model `model.yml`.

use super::data::{COUNTRIES, PAGES};
use crate::support::Random;
use chrono::{NaiveDate, NaiveDateTime, TimeDelta};
use chrono_tz::Tz;
use serde_json::{Map, Value, json};

/// The cube.
pub const CUBE: &str = "Visits";

const MEASURES: &[&str] = &[
    "count",
    "totalAmount",
    "averageAmount",
    "leastQuantity",
    "mostAmount",
    "pages",
    "mobileCount",
    "mobileAmount",
    "mobileShare",
    "lastPage",
    "anyMobile",
    "firstSeen",
];
/// Measures that have a value for a single row.
const ROW_MEASURES: &[&str] = &[
    "count",
    "totalAmount",
    "averageAmount",
    "leastQuantity",
    "mostAmount",
    "mobileCount",
    "mobileAmount",
];
const DIMENSIONS: &[&str] = &[
    "page", "country", "quantity", "amount", "mobile", "size", "at", "seen", "id",
];
const GRANULARITIES: &[&str] = &["second", "minute", "hour", "day", "week", "month", "quarter", "year"];
const CUSTOM: &[&str] = &["fifteen_minutes", "ten_days", "sunday_week", "fiscal_year", "half_year"];
const ZONES: &[Tz] = &[
    Tz::UTC,
    Tz::America__New_York,
    Tz::Asia__Kolkata,
    Tz::Australia__Sydney,
    Tz::Australia__Lord_Howe,
    Tz::Europe__Berlin,
];
const TEXT_OPERATORS: &[&str] = &[
    "equals",
    "notEquals",
    "contains",
    "notContains",
    "startsWith",
    "notStartsWith",
    "endsWith",
    "notEndsWith",
    "set",
    "notSet",
];
const NUMBER_OPERATORS: &[&str] = &["equals", "notEquals", "gt", "gte", "lt", "lte", "set", "notSet"];
const DATE_OPERATORS: &[&str] = &[
    "inDateRange",
    "notInDateRange",
    "onTheDate",
    "beforeDate",
    "beforeOrOnDate",
    "afterDate",
    "afterOrOnDate",
    "set",
    "notSet",
];

/// A comparison of one member.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The member without its cube.
    pub member: &'static str,
    /// The operator.
    pub operator: &'static str,
    /// Its values.
    pub values: Vec<Option<String>>,
}

/// A filter.
#[derive(Debug, Clone)]
pub enum Node {
    /// All hold.
    And(Vec<Node>),
    /// One holds.
    Or(Vec<Node>),
    /// A comparison.
    Leaf(Leaf),
}

/// A time dimension.
#[derive(Debug, Clone)]
pub struct Time {
    /// The dimension.
    pub dimension: &'static str,
    /// The buckets.
    pub granularity: Option<&'static str>,
    /// First and last local time.
    pub range: Option<(NaiveDateTime, NaiveDateTime)>,
}

/// A query.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Measures.
    pub measures: Vec<&'static str>,
    /// Dimensions.
    pub dimensions: Vec<&'static str>,
    /// Time dimensions.
    pub times: Vec<Time>,
    /// Segments.
    pub segments: Vec<&'static str>,
    /// Filters on dimensions.
    pub filters: Vec<Node>,
    /// Filters on measures.
    pub having: Vec<Node>,
    /// Columns and whether they descend; `None` is Cube's default.
    pub order: Option<Vec<(String, bool)>>,
    /// Rows at the most.
    pub limit: Option<usize>,
    /// Rows left out.
    pub offset: Option<usize>,
    /// Whether rows are counted.
    pub total: bool,
    /// Whether rows are not grouped.
    pub ungrouped: bool,
    /// The zone.
    pub zone: Tz,
}

fn pick<T: Copy>(random: &mut Random, items: &[T]) -> T {
    items[random.below(items.len() as u64) as usize]
}

/// Up to `most` different ones.
fn some<T: Copy + PartialEq>(random: &mut Random, items: &[T], most: u64) -> Vec<T> {
    let mut chosen = Vec::new();
    for _ in 0..random.below(most + 1) {
        let item = pick(random, items);
        if !chosen.contains(&item) {
            chosen.push(item);
        }
    }
    chosen
}

fn date(random: &mut Random) -> NaiveDate {
    NaiveDate::from_ymd_opt(2024, 1, 1).unwrap() + TimeDelta::days(random.below(366) as i64)
}

fn times(random: &mut Random) -> Vec<Time> {
    let dimensions = some(random, &["at", "seen"], 2);
    let time = |dimension: &'static str| {
        let granularity = match random.below(4) {
            0 => None,
            1 if dimension == "at" => Some(pick(random, CUSTOM)),
            _ => Some(pick(random, GRANULARITIES)),
        };
        let range = (random.below(2) == 0 || granularity.is_none()).then(|| {
            let from = date(random);
            let to = from + TimeDelta::days(random.below(120) as i64);
            match random.below(3) {
                // Hours at which no clock changes.
                0 => (
                    from.and_hms_opt(10, 15, 0).unwrap(),
                    to.and_hms_opt(17, 30, 20).unwrap(),
                ),
                _ => (
                    from.and_hms_opt(0, 0, 0).unwrap(),
                    to.and_hms_milli_opt(23, 59, 59, 999).unwrap(),
                ),
            }
        });
        Time {
            dimension,
            granularity,
            range,
        }
    };
    dimensions.into_iter().map(time).collect()
}

fn texts(random: &mut Random, most: u64, mut value: impl FnMut(&mut Random) -> String) -> Vec<Option<String>> {
    let count = 1 + random.below(most);
    let mut values: Vec<Option<String>> = (0..count).map(|_| Some(value(random))).collect();
    if random.below(6) == 0 {
        values.push(None);
    }
    values
}

fn leaf(random: &mut Random, member: &'static str) -> Leaf {
    let (operators, values): (&[&'static str], Vec<Option<String>>) = match member {
        "quantity" | "amount" | "totalAmount" | "averageAmount" | "leastQuantity" | "mostAmount" | "count"
        | "pages" | "mobileCount" | "mobileAmount" | "mobileShare" => {
            let value = |random: &mut Random| match random.below(3) {
                0 => (random.below(120) as f64 / 4.0 - 5.0).to_string(),
                _ => random.below(12).to_string(),
            };
            (NUMBER_OPERATORS, texts(random, 2, value))
        }
        "mobile" | "anyMobile" => {
            let value = |random: &mut Random| (random.below(2) == 0).to_string();
            (&["equals", "notEquals", "set", "notSet"], texts(random, 1, value))
        }
        "at" | "seen" => {
            let from = date(random);
            let to = from + TimeDelta::days(random.below(90) as i64);
            (DATE_OPERATORS, vec![Some(from.to_string()), Some(to.to_string())])
        }
        "country" => {
            let value = |random: &mut Random| pick(random, COUNTRIES).to_owned();
            (TEXT_OPERATORS, texts(random, 3, value))
        }
        "size" => {
            let value = |random: &mut Random| pick(random, &["small", "medium", "large", "l", "M"]).to_owned();
            (TEXT_OPERATORS, texts(random, 2, value))
        }
        _ => {
            let value = |random: &mut Random| match random.below(2) {
                0 => pick(random, PAGES).to_owned(),
                _ => pick(random, &["a", "_", "%", "DOCS", "/", "tart", "\\", "É", "'"]).to_owned(),
            };
            (TEXT_OPERATORS, texts(random, 2, value))
        }
    };
    let operator = pick(random, operators);
    let values = match operator {
        "set" | "notSet" => Vec::new(),
        "gt" | "gte" | "lt" | "lte" => values.into_iter().take(1).collect(),
        "inDateRange" | "notInDateRange" => values,
        _ if matches!(member, "at" | "seen") => values.into_iter().take(1).collect(),
        _ => values,
    };
    Leaf {
        member,
        operator,
        values,
    }
}

fn node(random: &mut Random, members: &[&'static str], depth: u32) -> Node {
    if depth == 0 || random.below(3) > 0 {
        let member = pick(random, members);
        return Node::Leaf(leaf(random, member));
    }
    let inner = (0..1 + random.below(3))
        .map(|_| node(random, members, depth - 1))
        .collect();
    if random.below(2) == 0 {
        Node::And(inner)
    } else {
        Node::Or(inner)
    }
}

fn nodes(random: &mut Random, members: &[&'static str]) -> Vec<Node> {
    let count = random.below(3);
    (0..count).map(|_| node(random, members, 3)).collect()
}

impl Asked {
    /// The next query.
    pub fn random(random: &mut Random) -> Self {
        loop {
            let asked = Self::attempt(random);
            if !asked.measures.is_empty() || asked.groups() {
                return asked;
            }
        }
    }

    fn attempt(random: &mut Random) -> Self {
        let ungrouped = random.below(8) == 0;
        let mut asked = Self {
            measures: some(random, if ungrouped { ROW_MEASURES } else { MEASURES }, 3),
            dimensions: some(random, DIMENSIONS, 2),
            times: times(random),
            segments: match random.below(4) {
                0 => some(random, &["onMobile", "european"], 2),
                _ => Vec::new(),
            },
            filters: nodes(random, DIMENSIONS),
            having: Vec::new(),
            order: None,
            limit: None,
            offset: None,
            total: random.below(6) == 0,
            ungrouped,
            zone: pick(random, ZONES),
        };
        if ungrouped && !asked.dimensions.contains(&"id") {
            asked.dimensions.push("id");
        }
        if !ungrouped && random.below(4) == 0 {
            // A time is no number, and no client filters by it.
            let members: Vec<&str> = MEASURES.iter().copied().filter(|name| *name != "firstSeen").collect();
            asked.having = nodes(random, &members);
        }
        if random.below(2) == 0 {
            asked.order = Some(asked.random_order(random));
        }
        if random.below(3) == 0 {
            asked.limit = Some(random.below(12) as usize);
            asked.offset = (random.below(2) == 0).then(|| random.below(6) as usize);
        }
        asked
    }

    fn columns(&self) -> Vec<String> {
        let times = self.times.iter().filter_map(Time::column);
        let names = self
            .dimensions
            .iter()
            .chain(&self.measures)
            .map(|name| (*name).to_owned());
        names.chain(times).collect()
    }

    fn random_order(&self, random: &mut Random) -> Vec<(String, bool)> {
        let mut left = self.columns();
        let mut order = Vec::new();
        while !left.is_empty() && random.below(3) > 0 {
            let column = left.swap_remove(random.below(left.len() as u64) as usize);
            order.push((column, random.below(2) == 0));
        }
        order
    }

    /// Whether rows are grouped by anything.
    pub fn groups(&self) -> bool {
        !self.dimensions.is_empty() || self.times.iter().any(|time| time.granularity.is_some())
    }

    /// The columns that order the rows, with Cube's default where none is given.
    pub fn order_columns(&self) -> Vec<(String, bool)> {
        if let Some(order) = &self.order {
            return order.clone();
        }
        let bucketed = self.times.iter().find_map(Time::column);
        match (bucketed, self.measures.first(), self.dimensions.first()) {
            (Some(column), _, _) => vec![(column, false)],
            (None, Some(measure), Some(_)) => vec![((*measure).to_owned(), true)],
            (None, None, Some(dimension)) => vec![((*dimension).to_owned(), false)],
            _ => Vec::new(),
        }
    }

    /// The query on the wire.
    pub fn json(&self) -> Value {
        let full = |name: &str| format!("{CUBE}.{name}");
        let mut query = Map::new();
        let mut set = |key: &str, value: Value| drop(query.insert(key.to_owned(), value));
        set("measures", self.measures.iter().map(|name| full(name)).collect());
        set("dimensions", self.dimensions.iter().map(|name| full(name)).collect());
        set("segments", self.segments.iter().map(|name| full(name)).collect());
        set("timeDimensions", self.times.iter().map(Time::json).collect());
        set(
            "filters",
            self.filters.iter().chain(&self.having).map(Node::json).collect(),
        );
        if let Some(order) = &self.order {
            let pair = |(column, desc): &(String, bool)| json!([full(column), if *desc { "desc" } else { "asc" }]);
            set("order", order.iter().map(pair).collect());
        }
        if let Some(limit) = self.limit {
            set("limit", json!(limit));
        }
        if let Some(offset) = self.offset {
            set("offset", json!(offset));
        }
        if self.total {
            set("total", json!(true));
        }
        if self.ungrouped {
            set("ungrouped", json!(true));
        }
        set("timezone", json!(self.zone.name()));
        Value::Object(query)
    }
}

impl Time {
    /// The column of its buckets.
    fn column(&self) -> Option<String> {
        Some(format!("{}.{}", self.dimension, self.granularity?))
    }

    fn json(&self) -> Value {
        let mut time = json!({"dimension": format!("{CUBE}.{}", self.dimension)});
        if let Some(granularity) = self.granularity {
            time["granularity"] = json!(granularity);
        }
        if let Some((from, to)) = self.range {
            let text = |at: NaiveDateTime| at.format("%Y-%m-%dT%H:%M:%S%.3f").to_string();
            time["dateRange"] = json!([text(from), text(to)]);
        }
        time
    }
}

impl Node {
    fn json(&self) -> Value {
        match self {
            Node::And(inner) => json!({"and": inner.iter().map(Node::json).collect::<Value>()}),
            Node::Or(inner) => json!({"or": inner.iter().map(Node::json).collect::<Value>()}),
            Node::Leaf(leaf) => {
                let mut filter = json!({"member": format!("{CUBE}.{}", leaf.member), "operator": leaf.operator});
                if !leaf.values.is_empty() {
                    filter["values"] = json!(leaf.values);
                }
                filter
            }
        }
    }
}
