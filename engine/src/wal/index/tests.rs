use super::*;
use crate::clock::FixedClock;

fn key(n: u128) -> EventKey {
    // Spread as hashes are, and in order.
    EventKey::from_bytes((n << 100).to_be_bytes())
}

/// Bytes that this thread has read so far, from files and from the system's cache of them.
fn bytes_read() -> u64 {
    let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
    line.parse().unwrap()
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "reads are counted by Linux")]
fn a_look_up_among_a_million_ids_reads_little() {
    const IDS: u128 = 1_200_000;
    const LOOKUPS: u128 = 400;
    let folder = tempfile::tempdir().unwrap();
    let clock = FixedClock::new(1_735_689_600_000_000);
    let now = hour_of(clock.now_micros());
    let index = ScratchIndex::create(&folder.path().join("ids"), clock).unwrap();
    let keys: Vec<EventKey> = (0..IDS).map(|n| key(2 * n)).collect();
    index.load(&keys, now).unwrap();
    index.events.major_compact().unwrap();
    let before = bytes_read();
    for n in 0..LOOKUPS {
        let at = n * (IDS / LOOKUPS);
        assert!(index.contains(&key(2 * at)).unwrap());
        assert!(!index.contains(&key(2 * at + 1)).unwrap());
    }
    let each = (bytes_read() - before) / (2 * LOOKUPS as u64);
    assert!(each < 32 * 1024, "{each} bytes are read for each look-up");
}
