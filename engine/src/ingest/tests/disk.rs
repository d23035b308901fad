//! A write-ahead log in memory for simulations: what was written outlives the log that wrote it, as on a disk.

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::limits;
use crate::wal::{EncodedRecord, EventKey, Seq, Wal};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is on stable storage.
#[derive(Debug, Default)]
struct Image {
    /// Records by segment; the last segment is in use.
    segments: Vec<BTreeMap<Seq, Vec<u8>>>,
    /// Hours by which ids were received.
    keys: HashMap<EventKey, i64>,
    last_seq: Seq,
}

/// The disk. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<Image>>);

/// What the next write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NextWrite {
    #[default]
    Well,
    /// It fails and left nothing.
    FailsBefore,
    /// It fails and is on the disk all the same.
    FailsAfter,
}

/// A log on a [`Disk`].
#[derive(Debug)]
pub struct DiskWal {
    disk: Disk,
    clock: Arc<dyn Clock>,
    next: Mutex<NextWrite>,
    is_failed: AtomicBool,
}

const HOUR_MICROS: i64 = 3_600_000_000;

impl DiskWal {
    /// Opens the log: what was in use is sealed.
    pub fn open(disk: &Disk, clock: Arc<dyn Clock>) -> Self {
        disk.0.lock().segments.push(BTreeMap::new());
        Self {
            disk: disk.clone(),
            clock,
            next: Mutex::default(),
            is_failed: AtomicBool::new(false),
        }
    }

    /// Decides the next write.
    pub fn set_next(&self, next: NextWrite) {
        *self.next.lock() = next;
    }

    fn hour(&self) -> i64 {
        self.clock.now_micros().div_euclid(HOUR_MICROS)
    }
}

impl Wal for DiskWal {
    fn writer_id(&self) -> &str {
        "simulated"
    }

    fn contains(&self, key: &EventKey) -> Result<bool> {
        let hour = self.disk.0.lock().keys.get(key).copied();
        Ok(hour.is_some_and(|hour| self.hour() - hour <= i64::from(limits::DEDUP_DAYS) * 24))
    }

    fn write(&self, records: Vec<Vec<u8>>, keys: &[EventKey]) -> Result<Seq> {
        let failed = || Error::storage("the simulated log failed");
        let next = std::mem::take(&mut *self.next.lock());
        if self.is_failed.load(Ordering::SeqCst) || next == NextWrite::FailsBefore {
            self.is_failed.store(true, Ordering::SeqCst);
            return Err(failed());
        }
        let mut image = self.disk.0.lock();
        let first = image.last_seq + 1;
        for record in records {
            image.last_seq += 1;
            let seq = image.last_seq;
            image.segments.last_mut().unwrap().insert(seq, record);
        }
        let hour = self.hour();
        image.keys.extend(keys.iter().map(|key| (*key, hour)));
        if next == NextWrite::FailsAfter {
            self.is_failed.store(true, Ordering::SeqCst);
            return Err(failed());
        }
        Ok(first)
    }

    fn rotate(&self, _: u64) -> Result<()> {
        let mut image = self.disk.0.lock();
        if !image.segments.last().unwrap().is_empty() {
            image.segments.push(BTreeMap::new());
        }
        Ok(())
    }

    fn trim(&self, seq: Seq) -> Result<()> {
        let mut image = self.disk.0.lock();
        let active = image.segments.pop().unwrap();
        image
            .segments
            .retain(|segment| segment.last_key_value().is_some_and(|(last, _)| *last >= seq));
        image.segments.push(active);
        Ok(())
    }

    fn replay_encoded(&self, each: &mut dyn FnMut(Seq, EncodedRecord) -> Result<()>) -> Result<()> {
        let records: Vec<(Seq, Vec<u8>)> = {
            let image = self.disk.0.lock();
            let all = image.segments.iter().flatten();
            all.map(|(seq, record)| (*seq, record.clone())).collect()
        };
        for (seq, bytes) in records {
            each(seq, EncodedRecord::new(bytes))?;
        }
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        let image = self.disk.0.lock();
        image
            .segments
            .iter()
            .flatten()
            .map(|(_, record)| record.len() as u64)
            .sum()
    }
}
