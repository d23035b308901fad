//! The one memory budget, divided: what each part of the engine may hold.
//!
//! Sixteenths of the whole. What no part counts (decoded pages on their way, the copy that an aggregation sorts when it
//! spills, the log's own memory, the allocator's reserve) comes on top, so the sum of the parts stays below the whole.

/// Least memory of merges, bytes: a few wide files at once.
const COMPACTION_BYTES_MIN: usize = 16 * 1024 * 1024;
/// Most memory of parsed footers, bytes: some ten thousand files.
const FOOTER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes for each part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Requests on their way and rows that are not yet in files; replay obeys it too.
    pub ingest: usize,
    /// Running queries together.
    pub queries: usize,
    /// Merges of files.
    pub compaction: usize,
    /// Parsed footers of Parquet files.
    pub footers: usize,
    /// Blocks of remote files; 0 when the files are on this machine.
    pub blocks: usize,
}

impl Budget {
    /// Divides `memory_bytes`. One sixteenth is left to the answers that the edge keeps, and two to what
    /// nobody counts; of these, and of the queries', a cache of blocks is taken for remote files.
    pub fn new(memory_bytes: usize, is_remote: bool) -> Self {
        let part = memory_bytes / 16;
        let blocks = if is_remote { 2 * part } else { 0 };
        Self {
            ingest: 4 * part,
            queries: 6 * part - blocks / 2,
            compaction: (2 * part).max(COMPACTION_BYTES_MIN),
            footers: part.min(FOOTER_BYTES_MAX),
            blocks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_and_the_kept_answers_fit_into_the_whole() {
        for memory in [128 << 20, 256 << 20, 8 << 30, 64 << 30_usize] {
            for is_remote in [false, true] {
                let budget = Budget::new(memory, is_remote);
                let answers = memory / 16;
                let Budget {
                    ingest,
                    queries,
                    compaction,
                    footers,
                    blocks,
                } = budget;
                let sum = ingest + queries + compaction + footers + blocks + answers;
                assert!(sum <= memory, "{budget:?} of {memory}");
                assert_eq!(is_remote, blocks > 0);
            }
        }
    }
}
