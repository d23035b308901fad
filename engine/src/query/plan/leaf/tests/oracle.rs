//! Random models of two to four cubes with few rows, asked at random, against nested loops over those rows.
//!
//! `TALLY_JOIN_CASES` says how many models are tried.

use crate::query::tests::{Fixture, parse};
use crate::query::{Cell, Query};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// A small generator, so that a case is named by its seed alone.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % most
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    fn maybe(&mut self, most: u64) -> Option<i64> {
        (!self.one_in(4)).then(|| self.below(most) as i64)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    ManyToOne,
    OneToMany,
    OneToOne,
}

/// A row: an id, a key into each other cube, a dimension and a number.
#[derive(Debug, Clone)]
struct Row {
    id: i64,
    keys: Vec<Option<i64>>,
    group: Option<i64>,
    number: Option<i64>,
}

#[derive(Debug, Clone)]
struct Case {
    rows: Vec<Vec<Row>>,
    joins: Vec<(usize, usize, Kind)>,
}

impl Case {
    fn new(random: &mut Random) -> Self {
        let cubes = 2 + random.below(3) as usize;
        let mut rows = Vec::new();
        for _ in 0..cubes {
            let count = random.below(6);
            let row = |id: u64, random: &mut Random| Row {
                id: id as i64,
                keys: (0..cubes).map(|_| random.maybe(6)).collect(),
                group: random.maybe(3),
                number: random.maybe(10),
            };
            rows.push((0..count).map(|id| row(id, random)).collect());
        }
        let mut joins = Vec::new();
        for cube in 1..cubes {
            let parent = random.below(cube as u64) as usize;
            let (from, to) = if random.one_in(3) {
                (cube, parent)
            } else {
                (parent, cube)
            };
            joins.push((
                from,
                to,
                [Kind::ManyToOne, Kind::OneToMany, Kind::OneToOne][random.below(3) as usize],
            ));
            // The same join said from the other side too.
            if random.one_in(3) {
                let (from, to, kind) = joins[joins.len() - 1];
                joins.push((
                    to,
                    from,
                    match kind {
                        Kind::ManyToOne => Kind::OneToMany,
                        Kind::OneToMany => Kind::ManyToOne,
                        Kind::OneToOne => Kind::OneToOne,
                    },
                ));
            }
        }
        Self { rows, joins }
    }

    fn yaml(&self) -> String {
        let mut yaml = String::from("cubes:\n");
        for (cube, rows) in self.rows.iter().enumerate() {
            let cell = |value: Option<i64>| {
                value.map_or("CAST(NULL AS BIGINT)".to_owned(), |n| format!("CAST({n} AS BIGINT)"))
            };
            let keys: Vec<String> = (0..self.rows.len()).map(|at| format!("k{at}")).collect();
            let mut values: Vec<String> = Vec::new();
            for row in rows {
                let keys: Vec<String> = row.keys.iter().map(|key| cell(*key)).collect();
                values.push(format!(
                    "({}, {}, {}, {})",
                    cell(Some(row.id)),
                    keys.join(", "),
                    cell(row.group),
                    cell(row.number)
                ));
            }
            let none = format!(
                "({}{})",
                "CAST(-1 AS BIGINT)",
                ", CAST(NULL AS BIGINT)".repeat(keys.len() + 2)
            );
            values.push(none);
            let _ = write!(
                yaml,
                "- name: C{cube}\n  sql: SELECT * FROM (VALUES {}) AS t(id, {}, g, n) WHERE id >= 0\n",
                values.join(", "),
                keys.join(", ")
            );
            let own: Vec<_> = self.joins.iter().filter(|(from, _, _)| *from == cube).collect();
            if !own.is_empty() {
                yaml += "  joins:\n";
            }
            for (from, to, kind) in own {
                let (relationship, condition) = match kind {
                    Kind::ManyToOne => ("many_to_one", format!("{{CUBE}}.k{to} = {{C{to}}}.id")),
                    Kind::OneToMany => ("one_to_many", format!("{{CUBE.id}} = {{C{to}}}.k{from}")),
                    Kind::OneToOne => ("one_to_one", format!("{{CUBE}}.id = {{C{to}.id}}")),
                };
                let _ = writeln!(
                    yaml,
                    "  - {{name: C{to}, relationship: {relationship}, sql: '{condition}'}}"
                );
            }
            yaml += "  dimensions:
  - {name: id, type: number, sql: id, primary_key: true, public: true}
  - {name: g, type: number, sql: g}
  measures:
  - {name: count, type: count}
  - {name: big, type: count, filters: [{sql: '{CUBE}.n > 4'}]}
  - {name: total, type: sum, sql: n}
  - {name: mean, type: avg, sql: n}
  - {name: least, type: min, sql: n}
  - {name: most, type: max, sql: n}
  - {name: values, type: count_distinct, sql: n}
  - {name: ratio, type: number, sql: '1.0 * {total} / NULLIF({count}, 0)'}
  - {name: own, type: number, sql: 'SUM({CUBE}.n * 2) - COUNT({CUBE}.n)'}
";
        }
        yaml
    }

    fn meets(&self, (from, to, kind): (usize, usize, Kind), row: &Row, other: &Row) -> bool {
        match kind {
            Kind::ManyToOne => row.keys[to] == Some(other.id),
            Kind::OneToMany => other.keys[from] == Some(row.id),
            Kind::OneToOne => row.id == other.id,
        }
    }

    /// The joins from `root` to `cube`; there is one way at the most.
    fn way(&self, root: usize, cube: usize, without: &BTreeSet<usize>) -> Option<Vec<(usize, usize, Kind)>> {
        if root == cube {
            return Some(Vec::new());
        }
        let mut without = without.clone();
        without.insert(root);
        let next = self
            .joins
            .iter()
            .filter(|(from, to, _)| *from == root && !without.contains(to));
        for join in next {
            if let Some(mut rest) = self.way(join.1, cube, &without) {
                rest.insert(0, *join);
                return Some(rest);
            }
        }
        None
    }

    /// The joined rows of `cubes`, an index for each cube; `None` when no cube leads to all others.
    fn joined(&self, cubes: &[usize]) -> Option<Vec<Vec<Option<usize>>>> {
        let reaches = |root: &usize| {
            cubes
                .iter()
                .all(|cube| self.way(*root, *cube, &BTreeSet::new()).is_some())
        };
        let root = *cubes.iter().find(|root| reaches(root))?;
        let mut joins: Vec<(usize, usize, Kind)> = Vec::new();
        for cube in cubes {
            for join in self.way(root, *cube, &BTreeSet::new())? {
                if !joins.contains(&join) {
                    joins.push(join);
                }
            }
        }
        let start = |row: usize| (0..self.rows.len()).map(|cube| (cube == root).then_some(row)).collect();
        let mut all: Vec<Vec<Option<usize>>> = (0..self.rows[root].len()).map(start).collect();
        for join in joins {
            let mut next = Vec::new();
            for row in all {
                let before = next.len();
                if let Some(at) = row[join.0] {
                    for (other, candidate) in self.rows[join.1].iter().enumerate() {
                        if self.meets(join, &self.rows[join.0][at], candidate) {
                            let mut met = row.clone();
                            met[join.1] = Some(other);
                            next.push(met);
                        }
                    }
                }
                if next.len() == before {
                    next.push(row);
                }
            }
            all = next;
        }
        Some(all)
    }

    /// A measure over distinct rows of one cube.
    fn measure(&self, name: &str, cube: usize, rows: &BTreeSet<usize>) -> Option<f64> {
        let numbers: Vec<i64> = rows.iter().filter_map(|row| self.rows[cube][*row].number).collect();
        let sum = (!numbers.is_empty()).then(|| numbers.iter().sum::<i64>() as f64);
        match name {
            "count" => Some(rows.len() as f64),
            "big" => Some(numbers.iter().filter(|n| **n > 4).count() as f64),
            "total" => sum,
            "mean" => sum.map(|sum| sum / numbers.len() as f64),
            "least" => numbers.iter().min().map(|n| *n as f64),
            "most" => numbers.iter().max().map(|n| *n as f64),
            "values" => Some(numbers.iter().collect::<BTreeSet<_>>().len() as f64),
            "ratio" => sum.map(|sum| sum / rows.len() as f64),
            _ => sum.map(|sum| 2.0 * sum - numbers.len() as f64),
        }
    }
}

const MEASURES: &[&str] = &[
    "count", "big", "total", "mean", "least", "most", "values", "ratio", "own",
];

/// What is asked: measures and dimensions by cube, and conditions.
#[derive(Debug)]
struct Asked {
    measures: Vec<(&'static str, usize)>,
    groups: Vec<usize>,
    /// Rows whose dimension in this cube is this.
    only: Option<(usize, i64)>,
    /// Groups whose measure is greater than this.
    greater: Option<(&'static str, usize, i64)>,
}

impl Asked {
    fn new(random: &mut Random, cubes: usize) -> Self {
        let cube = |random: &mut Random| random.below(cubes as u64) as usize;
        let name = |random: &mut Random| MEASURES[random.below(MEASURES.len() as u64) as usize];
        let mut measures: Vec<(&'static str, usize)> = Vec::new();
        for _ in 0..1 + random.below(4) {
            let one = (name(random), cube(random));
            if !measures.contains(&one) {
                measures.push(one);
            }
        }
        let mut groups: Vec<usize> = Vec::new();
        for _ in 0..random.below(3) {
            let one = cube(random);
            if !groups.contains(&one) {
                groups.push(one);
            }
        }
        Self {
            measures,
            groups,
            only: random.one_in(3).then(|| (cube(random), random.below(3) as i64)),
            greater: random
                .one_in(3)
                .then(|| (name(random), cube(random), random.below(5) as i64)),
        }
    }

    fn query(&self) -> Query {
        let mut filters = Vec::new();
        if let Some((cube, value)) = self.only {
            filters.push(json!({"member": format!("C{cube}.g"), "operator": "equals", "values": [value.to_string()]}));
        }
        if let Some((name, cube, value)) = self.greater {
            filters.push(json!({"member": format!("C{cube}.{name}"), "operator": "gt", "values": [value.to_string()]}));
        }
        let measures: Vec<String> = self
            .measures
            .iter()
            .map(|(name, cube)| format!("C{cube}.{name}"))
            .collect();
        let dimensions: Vec<String> = self.groups.iter().map(|cube| format!("C{cube}.g")).collect();
        parse(&json!({"measures": measures, "dimensions": dimensions, "filters": filters})).unwrap()
    }

    /// The cubes in the order in which the query names them.
    fn cubes(&self) -> Vec<usize> {
        let measures = self.measures.iter().map(|(_, cube)| *cube);
        let rows = self.only.iter().map(|(cube, _)| *cube);
        let having = self.greater.iter().map(|(_, cube, _)| *cube);
        let mut all: Vec<usize> = Vec::new();
        for cube in measures.chain(self.groups.iter().copied()).chain(rows).chain(having) {
            if !all.contains(&cube) {
                all.push(cube);
            }
        }
        all
    }

    /// The answer by nested loops, its rows sorted; `None` when the cubes cannot be joined.
    fn answer(&self, case: &Case) -> Option<Vec<Vec<Option<f64>>>> {
        let mut groups: BTreeMap<Vec<Option<i64>>, Vec<BTreeSet<usize>>> = BTreeMap::new();
        let empty = vec![BTreeSet::new(); case.rows.len()];
        if self.groups.is_empty() {
            groups.insert(Vec::new(), empty.clone());
        }
        let group_of = |row: &[Option<usize>], cube: usize| row[cube].and_then(|at| case.rows[cube][at].group);
        for row in case.joined(&self.cubes())? {
            if self
                .only
                .is_some_and(|(cube, value)| group_of(&row, cube) != Some(value))
            {
                continue;
            }
            let key = self.groups.iter().map(|cube| group_of(&row, *cube)).collect();
            let found = groups.entry(key).or_insert_with(|| empty.clone());
            for (cube, at) in row.iter().enumerate() {
                found[cube].extend(at);
            }
        }
        let value = |name: &str, cube: usize, found: &[BTreeSet<usize>]| case.measure(name, cube, &found[cube]);
        let mut rows: Vec<Vec<Option<f64>>> = Vec::new();
        for (key, found) in &groups {
            if let Some((name, cube, least)) = self.greater
                && value(name, cube, found).is_none_or(|value| value <= least as f64)
            {
                continue;
            }
            let keys = key.iter().map(|key| key.map(|key| key as f64));
            let measures = self.measures.iter().map(|(name, cube)| value(name, *cube, found));
            rows.push(keys.chain(measures).collect());
        }
        rows.sort_by(|a, b| a.partial_cmp(b).unwrap());
        Some(rows)
    }
}

fn cells(rows: &[Vec<Cell>]) -> Vec<Vec<Option<f64>>> {
    let cell = |cell: &Cell| match cell {
        Cell::Null => None,
        Cell::Number(text) => Some(text.parse().unwrap()),
        other => panic!("{other:?} is no number"),
    };
    let mut rows: Vec<Vec<Option<f64>>> = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    rows.sort_by(|a, b| a.partial_cmp(b).unwrap());
    rows
}

fn same(left: &[Vec<Option<f64>>], right: &[Vec<Option<f64>>]) -> bool {
    let close = |a: &Option<f64>, b: &Option<f64>| match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() < 1e-6,
        (None, None) => true,
        _ => false,
    };
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .all(|(a, b)| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(a, b)))
}

#[tokio::test]
async fn joined_answers_are_those_of_nested_loops() {
    let cases: u64 = std::env::var("TALLY_JOIN_CASES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(40);
    let (mut answered, mut refused) = (0, 0);
    for seed in 1..=cases {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let case = Case::new(&mut random);
        let fixture = Fixture::new(&case.yaml(), &[]);
        for _ in 0..6 {
            let asked = Asked::new(&mut random, case.rows.len());
            let got = fixture.ask(&asked.query()).await;
            match (asked.answer(&case), got) {
                (Some(expected), Ok(answer)) => {
                    let got = cells(&answer.rows);
                    assert!(
                        same(&got, &expected),
                        "seed {seed}: {asked:?}\n{}\ngot {got:?}\nnot {expected:?}",
                        case.yaml()
                    );
                    answered += 1;
                }
                (None, Err(error)) => {
                    assert!(
                        error.message().starts_with("Can't find join path to join"),
                        "seed {seed}: {error}"
                    );
                    refused += 1;
                }
                (expected, got) => panic!("seed {seed}: {asked:?}\n{}\ngot {got:?}\nnot {expected:?}", case.yaml()),
            }
        }
    }
    assert!(answered > refused, "{answered} answered, {refused} refused");
}
