//! Which files are past their time: whole days, because a day is a partition.

use super::DataFile;
use super::erase::day_of;
use crate::clock::{DAY_MICROS, Micros};
use std::sync::Arc;

/// The first instant that is kept when `days` are: the beginning of the UTC day that many days ago.
pub fn keep_from(now: Micros, days: u32) -> Micros {
    (now.div_euclid(DAY_MICROS) - i64::from(days)) * DAY_MICROS
}

/// The files whose days lie wholly before `keep_from`.
pub fn expired(files: &[Arc<DataFile>], keep_from: Micros) -> Vec<Arc<DataFile>> {
    let is_expired = |file: &&Arc<DataFile>| day_of(&file.date).is_some_and(|day| day + DAY_MICROS <= keep_from);
    files.iter().filter(is_expired).cloned().collect()
}
