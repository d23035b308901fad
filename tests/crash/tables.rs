//! What a stranger finds in the store: the files that the table log names, read without the server.

use datafusion::arrow::array::{Array, AsArray, Int64Array};
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// The content of a project's table of events.
pub struct Listing {
    /// How often each event id stands in the files.
    pub ids: HashMap<String, u64>,
    /// Files the table consists of.
    pub files: usize,
    /// Files in the table's folder that its log has never named: a writer did not get to its commit.
    pub orphans: usize,
}

/// Reads a project's table of events below `data_dir` by its log.
pub fn read_ids(data_dir: &Path, project: &str) -> Listing {
    let mut tables = Vec::new();
    find_tables(data_dir, &mut tables);
    let is_ours = |path: &PathBuf| {
        let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
        parts.iter().any(|part| part == project) && !parts.iter().any(|part| part == "rejected")
    };
    let table = tables
        .into_iter()
        .find(is_ours)
        .unwrap_or_else(|| panic!("no table of {project} below {data_dir:?}"));
    let (files, named) = live_files(&table);
    let mut present = Vec::new();
    find_files(&table, &mut present);
    let orphans = present.iter().filter(|path| !named.contains(*path)).count();
    let ids = tokio::runtime::Runtime::new().unwrap().block_on(count_ids(&files));
    Listing {
        ids,
        files: files.len(),
        orphans,
    }
}

/// Data files and what was to become one, below `folder`.
fn find_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find_files(&path, found);
        } else if path.to_string_lossy().contains(".parquet") && !path.to_string_lossy().contains("_delta_log") {
            found.push(path);
        }
    }
}

fn find_tables(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("_delta_log") {
            found.push(folder.to_owned());
        } else if path.is_dir() {
            find_tables(&path, found);
        }
    }
}

/// The files that the log adds and does not remove, and all that it ever named.
fn live_files(table: &Path) -> (Vec<PathBuf>, BTreeSet<PathBuf>) {
    let mut versions: Vec<PathBuf> = std::fs::read_dir(table.join("_delta_log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    versions.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    versions.sort();
    let (mut live, mut named) = (BTreeSet::new(), BTreeSet::new());
    let full = |path: &String| table.join(path.replace("%3D", "="));
    for version in versions {
        for line in std::fs::read_to_string(&version).unwrap().lines() {
            let action: Value = serde_json::from_str(line).unwrap();
            if let Some(path) = action["add"]["path"].as_str() {
                live.insert(path.to_owned());
                named.insert(full(&path.to_owned()));
            }
            if let Some(path) = action["remove"]["path"].as_str() {
                live.remove(path);
            }
        }
    }
    (live.iter().map(full).collect(), named)
}

/// How often each event id stands in the files.
pub async fn count_ids(files: &[PathBuf]) -> HashMap<String, u64> {
    let context = SessionContext::new();
    let paths: Vec<String> = files.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let options = ParquetReadOptions {
        file_extension: ".parquet",
        ..ParquetReadOptions::default()
    };
    let frame = context.read_parquet(paths, options).await.unwrap();
    context.register_table("t", frame.into_view()).unwrap();
    let counted = context
        .sql("SELECT event_id, count(*) AS n FROM t GROUP BY event_id")
        .await
        .unwrap();
    let mut counts = HashMap::new();
    for batch in counted.collect().await.unwrap() {
        let ids =
            datafusion::arrow::compute::cast(batch.column(0), &datafusion::arrow::datatypes::DataType::Utf8).unwrap();
        let ids = ids.as_string::<i32>();
        let n: &Int64Array = batch.column(1).as_any().downcast_ref().unwrap();
        for row in 0..ids.len() {
            counts.insert(ids.value(row).to_owned(), n.value(row) as u64);
        }
    }
    counts
}
