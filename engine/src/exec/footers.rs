//! Footers of Parquet files that are kept between queries.

use crate::store::verified::ProvedFooters;
use datafusion::execution::cache::Cache;
use datafusion::execution::cache::cache_manager::CachedFileMetadataEntry;
use datafusion::execution::cache::default_cache::DefaultCache;
use object_store::path::Path;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// Parsed footers, by the files' names.
pub(super) type Parsed = DefaultCache<Path, CachedFileMetadataEntry>;

/// The footers that are kept. Cheap to clone.
#[derive(Clone)]
pub struct KeptFooters {
    pub(super) parsed: Arc<Parsed>,
    /// Files whose footers were verified.
    pub(super) proved: Arc<ProvedFooters>,
}

impl fmt::Debug for KeptFooters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptFooters")
            .field("memory_bytes", &self.memory_bytes())
            .finish_non_exhaustive()
    }
}

impl KeptFooters {
    /// None yet, and parsed ones of `bytes_max` at the most.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            parsed: Arc::new(Parsed::new(bytes_max)),
            proved: Arc::default(),
        }
    }

    /// Bytes of the parsed ones.
    pub fn memory_bytes(&self) -> usize {
        self.parsed.memory_used()
    }

    /// Forgets those of files that are not among `live`. Merges take files away all the time, and nobody would ask for theirs
    /// again: they would stay until the bound is reached.
    pub fn retain(&self, live: &HashSet<Path>) {
        for path in self.parsed.list_entries().into_keys() {
            if !live.contains(&path) {
                self.parsed.remove(&path);
            }
        }
        self.proved.retain(live);
    }
}
