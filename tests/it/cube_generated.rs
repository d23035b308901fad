//! Generated queries against a naive evaluation of the same rows.
//!
//! Every query is asked four times: of rows in the buffer and of rows in three Parquet files, with one partition and with
//! two. TALLY_GENERATED_QUERIES is the number of queries, TALLY_GENERATED_SEED where they begin.

mod data;
mod naive;
mod query;

use crate::server::{Server, Wanted};
use crate::support::Random;
use crate::support::client::{Client, Reply};
use data::Row;
use naive::{Answered, Cell};
use query::{Asked, CUBE};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

const PROJECT: &str = "shop";
const WRITE_KEY: &str = "shop-key";
const ROWS: usize = 400;
/// Queries of a usual run.
const QUERIES: u64 = 120;

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name} is a number"))
    })
}

/// A server that holds `rows`: in the buffer, or flushed in three parts.
fn server(rows: &[Row], flushed: bool, threads: usize) -> Server {
    let mut wanted = Wanted::flushing(1_000_000, 3_600_000);
    wanted.settings.query_threads = threads;
    let server = Server::start_with(wanted);
    let cubes = server.models_dir().join("cubes");
    std::fs::create_dir_all(&cubes).unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cube_generated/model.yml");
    std::fs::copy(model, cubes.join("visits.yml")).unwrap();
    for part in rows.chunks(rows.len().div_ceil(3)) {
        let events: Value = part.iter().map(data::event).collect();
        let reply = server.client().ingest(WRITE_KEY, &events);
        assert_eq!(reply.status, 200, "{}", reply.text());
        if flushed {
            server.flush();
        }
    }
    // Model files are read within a second of being written.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let count = json!({"measures": [format!("{CUBE}.count")]});
    while server.client().load(PROJECT, &count).status != 200 {
        assert!(
            std::time::Instant::now() < deadline,
            "{:#?}",
            server.model_problems(PROJECT)
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    server
}

/// A cell of an answer as [`Cell::shown`] shows what is expected.
fn shown(value: &Value, expected: &Cell) -> String {
    let text = value.as_str();
    match expected {
        Cell::Number(_) => text
            .and_then(|text| text.parse().ok())
            .map_or_else(|| value.to_string(), |number| Cell::Number(number).shown()),
        _ => value.to_string(),
    }
}

/// The columns of a row as one text.
fn line(columns: &[(String, String)]) -> String {
    columns
        .iter()
        .map(|(name, cell)| format!("{name}={cell}"))
        .collect::<Vec<_>>()
        .join(" ")
}

fn expected_line(row: &Answered) -> String {
    line(
        &row.iter()
            .map(|(name, cell)| (name.clone(), cell.shown()))
            .collect::<Vec<_>>(),
    )
}

/// What the row of an answer shows for the columns of `like`.
fn got_line(row: &Map<String, Value>, like: &Answered) -> Result<String, String> {
    let cell = |(name, expected): (&String, &Cell)| {
        let value = row
            .get(&format!("{CUBE}.{name}"))
            .ok_or_else(|| format!("no column {name} in {row:?}"))?;
        Ok((name.clone(), shown(value, expected)))
    };
    like.iter()
        .map(cell)
        .collect::<Result<Vec<_>, String>>()
        .map(|columns| line(&columns))
}

/// A row that has a value in every column, to know their kinds.
fn kinds(rows: &[Answered]) -> Answered {
    let mut kinds = Answered::new();
    for (name, cell) in rows.iter().flatten() {
        if *cell != Cell::Null || !kinds.contains_key(name) {
            kinds.insert(name.clone(), cell.clone());
        }
    }
    kinds
}

fn check(asked: &Asked, all: &[Answered], reply: &Reply) -> Result<(), String> {
    if reply.status != 200 {
        return Err(format!("status {}: {}", reply.status, reply.text()));
    }
    let body = reply.json();
    if asked.total && body["total"].as_u64() != Some(all.len() as u64) {
        return Err(format!("total {} instead of {}", body["total"], all.len()));
    }
    let rows = body["data"].as_array().ok_or("no rows")?;
    let expected: Vec<&Answered> = all
        .iter()
        .skip(asked.offset.unwrap_or(0))
        .take(asked.limit.unwrap_or(usize::MAX))
        .collect();
    if rows.len() != expected.len() {
        return Err(format!("{} rows instead of {}", rows.len(), expected.len()));
    }
    let kinds = kinds(all);
    let order: Vec<String> = asked.order_columns().into_iter().map(|(column, _)| column).collect();
    let ordering = |row: &Answered| -> Answered {
        let cells = order.iter().map(|name| (name.clone(), row[name].clone()));
        cells.collect()
    };
    let mut left: BTreeMap<String, usize> = BTreeMap::new();
    for row in all {
        *left.entry(expected_line(row)).or_default() += 1;
    }
    for (index, (row, expected)) in rows.iter().zip(expected).enumerate() {
        let row = row.as_object().ok_or("a row is no object")?;
        let got = got_line(row, &kinds)?;
        match left.get_mut(&got) {
            Some(count) if *count > 0 => *count -= 1,
            _ => return Err(format!("row {index} is not expected at all: {got}")),
        }
        let (ours, theirs) = (got_line(row, &ordering(&kinds))?, expected_line(&ordering(expected)));
        if ours != theirs {
            return Err(format!("row {index} is out of order: {ours} instead of {theirs}"));
        }
    }
    Ok(())
}

fn ask(client: &Client, asked: &Asked) -> Reply {
    client.load(PROJECT, &asked.json())
}

#[test]
fn generated_queries_answer_as_a_naive_evaluation() {
    let seed = from_environment("TALLY_GENERATED_SEED", 1);
    let count = from_environment("TALLY_GENERATED_QUERIES", QUERIES);
    let mut random = Random::new(seed);
    let rows = data::rows(&mut random, ROWS);
    let servers: Vec<(String, Server)> = [(false, 1), (false, 2), (true, 1), (true, 2)]
        .into_iter()
        .map(|(flushed, threads)| {
            let place = if flushed { "Parquet" } else { "the buffer" };
            (
                format!("{place}, {threads} partitions"),
                server(&rows, flushed, threads),
            )
        })
        .collect();
    let clients: Vec<(&str, Client)> = servers
        .iter()
        .map(|(name, server)| (name.as_str(), server.client()))
        .collect();
    let mut wrong = Vec::new();
    for number in 0..count {
        let asked = Asked::random(&mut random);
        let all = naive::answer(&rows, &asked);
        for (name, client) in &clients {
            if let Err(difference) = check(&asked, &all, &ask(client, &asked)) {
                wrong.push(format!(
                    "query {number} of seed {seed}, {name}: {difference}\n  {}",
                    asked.json()
                ));
                break;
            }
        }
        assert!(wrong.len() < 20, "{}", wrong.join("\n"));
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}
