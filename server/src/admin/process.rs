//! What the process uses, as the system tells it. On systems without `/proc` these metrics stay at 0.

use engine::metrics::Metrics;
use std::fs;

/// Bytes of a page and ticks of a second, as Linux has them on all machines this is built for.
const PAGE_BYTES: u64 = 4096;
const TICK_MICROS: u64 = 10_000;

/// Sets the metrics of the process.
pub(super) fn observe(metrics: &Metrics) {
    if let Some(resident) = Resident::now() {
        metrics.process_resident_bytes.set(resident.all);
        metrics.process_anonymous_bytes.set(resident.anonymous);
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        // One of them is the folder that is being read.
        metrics.process_open_fds.set(entries.count().saturating_sub(1) as u64);
    }
    if let Some(stat) = Stat::read() {
        metrics.process_threads.set(stat.threads);
        metrics.process_cpu_micros.set(stat.cpu_micros);
        if let Some(boot) = boot_seconds() {
            metrics.process_start_micros.set(boot * 1_000_000 + stat.start_micros);
        }
    }
}

/// Bytes of memory that are resident.
#[derive(Debug, PartialEq, Eq)]
struct Resident {
    all: u64,
    /// What the process holds itself. The rest is pages of files, above all of the binary, which the system takes back when
    /// it needs them.
    anonymous: u64,
}

impl Resident {
    fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/statm").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split_whitespace().skip(1);
        let mut bytes = || Some(fields.next()?.parse::<u64>().ok()? * PAGE_BYTES);
        let (all, of_files) = (bytes()?, bytes()?);
        Some(Self {
            all,
            anonymous: all.saturating_sub(of_files),
        })
    }
}

struct Stat {
    cpu_micros: u64,
    threads: u64,
    /// After the boot.
    start_micros: u64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The command's name may hold spaces and parentheses; the fields are counted from the last of these.
        let fields: Vec<&str> = text.rsplit(')').next()?.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            cpu_micros: (number(11)? + number(12)?) * TICK_MICROS,
            threads: number(17)?,
            start_micros: number(19)? * TICK_MICROS,
        })
    }
}

fn boot_seconds() -> Option<u64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_moves_no_field() {
        let text = "42 (a) b) c) S 1 2 3 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 7 0 12345 999 88";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(
            (stat.cpu_micros, stat.threads, stat.start_micros),
            (3_000_000, 7, 123_450_000)
        );
        assert!(Stat::parse("nonsense").is_none());
    }

    #[test]
    fn memory_is_told_with_and_without_files() {
        let found = Resident::parse("577519 69145 22963 43298 0 101010 0\n").unwrap();
        assert_eq!((found.all, found.anonymous), (69_145 * 4096, (69_145 - 22_963) * 4096));
        assert_eq!(Resident::parse("1 2"), None);
        assert_eq!(Resident::parse("nonsense"), None);
    }
}
