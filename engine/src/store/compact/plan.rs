//! Which files to merge: those of one day that are of a size, so that every row is rewritten a few times and no more.
//!
//! Files of a day are put into tiers by size, each [`GROWTH`] times the one before. A tier with [`GROWTH`] files is merged
//! into one file, which is then in a higher tier. So a day has at most `GROWTH - 1` files a tier, whatever the number of
//! flushes, and a row is rewritten once a tier. A day that nothing was added to for a while is merged into one file, or
//! into files of the largest size.

use crate::clock::Micros;
use crate::limits;
use crate::store::{DataFile, TableKind};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Files of a tier that are merged into one, and how many times larger the next tier's files are.
const GROWTH: usize = 8;
/// Bytes up to which files are in the lowest tier.
const FIRST_TIER_BYTES: u64 = 128 * 1024;

/// Files to be merged into one.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Their day.
    pub date: String,
    /// At least two, the oldest first.
    pub files: Vec<Arc<DataFile>>,
}

impl Job {
    /// Bytes to read.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }

    /// How much a query gains for each byte read here: files less, for the bytes.
    fn gain(&self) -> f64 {
        (self.files.len() - 1) as f64 / (self.bytes() + FIRST_TIER_BYTES) as f64
    }
}

/// What is worth merging now, if anything. `bytes_max` bounds one job's input.
pub fn next(kind: TableKind, files: &[Arc<DataFile>], now: Micros, bytes_max: u64) -> Option<Job> {
    let mut days: BTreeMap<&str, Vec<&Arc<DataFile>>> = BTreeMap::new();
    for file in files {
        // What another program wrote in an order of its own cannot be merged in passing.
        if kind == TableKind::Rejected || file.is_sorted {
            days.entry(file.date.as_str()).or_default().push(file);
        }
    }
    let jobs = days.into_values().filter_map(|files| of_day(files, now, bytes_max));
    jobs.max_by(|a, b| a.gain().total_cmp(&b.gain()))
}

fn of_day(mut files: Vec<&Arc<DataFile>>, now: Micros, bytes_max: u64) -> Option<Job> {
    let target = limits::COMPACTED_FILE_BYTES.min(bytes_max);
    files.retain(|file| file.size_bytes < target);
    let newest = files.iter().map(|file| file.modified_millis).max()?;
    let quiet_millis = now.div_euclid(1000) - newest;
    if quiet_millis >= i64::try_from(limits::COMPACTION_QUIET_MS).unwrap_or(i64::MAX) {
        return job(files, bytes_max);
    }
    let mut tiers: BTreeMap<u32, Vec<&Arc<DataFile>>> = BTreeMap::new();
    for file in files {
        tiers.entry(tier(file.size_bytes)).or_default().push(file);
    }
    let full = tiers.into_values().filter(|files| files.len() >= GROWTH);
    let jobs = full.filter_map(|files| job(files, bytes_max));
    jobs.max_by(|a, b| a.gain().total_cmp(&b.gain()))
}

fn tier(bytes: u64) -> u32 {
    let mut tier = 0;
    let mut bound = FIRST_TIER_BYTES;
    while bytes > bound {
        tier += 1;
        bound = bound.saturating_mul(GROWTH as u64);
    }
    tier
}

/// The smallest of `files` that fit into one job, when there are two.
fn job(mut files: Vec<&Arc<DataFile>>, bytes_max: u64) -> Option<Job> {
    files.sort_by(|a, b| (a.size_bytes, &a.log_path).cmp(&(b.size_bytes, &b.log_path)));
    let mut bytes = 0;
    let fits = files.iter().take(limits::COMPACTION_FILES_MAX).take_while(|file| {
        bytes += file.size_bytes;
        bytes <= bytes_max
    });
    let count = fits.count();
    files.truncate(count);
    if files.len() < 2 {
        return None;
    }
    files.sort_by(|a, b| (a.modified_millis, &a.log_path).cmp(&(b.modified_millis, &b.log_path)));
    Some(Job {
        date: files.first()?.date.clone(),
        files: files.into_iter().cloned().collect(),
    })
}
