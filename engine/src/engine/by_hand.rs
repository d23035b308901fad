//! The options that tests and measurements change some of.

use super::{EngineOptions, Mode};
use crate::clock::Clock;
use crate::ingest::DiskReserve;
use crate::limits;
use std::path::Path;
use std::sync::Arc;

impl EngineOptions {
    /// An engine that flushes when it is told to, on a store in memory and without models of its own.
    pub fn by_hand(data_dir: &Path, clock: Arc<dyn Clock>) -> Self {
        Self {
            mode: Mode::LocalWal,
            instance: "a test".to_owned(),
            store_url: "memory:".to_owned(),
            store_options: Vec::new(),
            data_dir: data_dir.to_owned(),
            models_dir: None,
            memory_bytes: 256 << 20,
            flush_interval_ms: 3_600_000,
            flush_rows_max: 1_000_000,
            flush_bytes_max: 256 << 20,
            cache: None,
            disk_reserve: DiskReserve::Bytes(0),
            sessions_padding: false,
            query_threads: 1,
            query_timeout: limits::QUERY_TIMEOUT_DEFAULT,
            clock,
        }
    }
}
