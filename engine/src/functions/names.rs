//! Names: which belong to ClickHouse, and which is the nearest to one that does not exist.

use super::aggregate;
use super::table::{Kind, TABLE};
use std::collections::HashSet;
use std::sync::LazyLock;

/// All functions of a ClickHouse server, one a line: `data/clickhouse/generate.py names` asks one for them.
const ALL: &str = include_str!("names.txt");

/// Words that stand before a parenthesis in any SQL.
const WORDS: &[&str] = &[
    "all",
    "and",
    "any",
    "array",
    "as",
    "between",
    "by",
    "case",
    "cast",
    "distinct",
    "else",
    "except",
    "exists",
    "extract",
    "filter",
    "from",
    "having",
    "if_exists",
    "in",
    "interval",
    "intersect",
    "is",
    "join",
    "like",
    "limit",
    "not",
    "on",
    "or",
    "order",
    "over",
    "partition",
    "select",
    "some",
    "then",
    "trim",
    "tuple",
    "union",
    "using",
    "values",
    "when",
    "where",
    "with",
    "substring",
    "position",
    "overlay",
    "left",
    "right",
    "format",
    "map",
    "row",
    "date",
    "time",
    "timestamp",
];

static NAMES: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let ours = TABLE
        .iter()
        .flat_map(|row| std::iter::once(&row.name).chain(row.aliases));
    let all = ALL
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    all.chain(ours.copied())
        .map(str::to_ascii_lowercase)
        .filter(|name| !WORDS.contains(&name.as_str()))
        .collect()
});

/// Whether `name` is a function of ClickHouse, answered here or not, an aggregate with combinators included.
pub fn is_clickhouse(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    if WORDS.contains(&name.as_str()) {
        return false;
    }
    NAMES.contains(&name) || aggregate::Parsed::new(&name).is_some_and(|parsed| parsed.has_combinators())
}

/// The answered function whose name is nearest to `name`, aggregates with the commonest combinators among them.
pub fn nearest(name: &str) -> String {
    let wanted = name.to_ascii_lowercase();
    let names = TABLE.iter().flat_map(|row| {
        let endings: &[&str] = match row.kind {
            Kind::Aggregate(_) => &["", "If", "OrNull", "Distinct"],
            _ => &[""],
        };
        let names = std::iter::once(&row.name).chain(row.aliases);
        names.flat_map(move |name| endings.iter().map(move |ending| format!("{name}{ending}")))
    });
    let nearest = names.min_by_key(|known| {
        (
            strsim::damerau_levenshtein(&known.to_ascii_lowercase(), &wanted),
            known.clone(),
        )
    });
    nearest.unwrap_or_default()
}
