//! The write-ahead log in the store: a group is one object, put if absent and acknowledged when it is there.
//!
//! `wal/<epoch>/<number>.wal`: every writer has the folder of its epoch, and gives its groups consecutive numbers. Who
//! takes the store over puts a seal under the number that the earlier writer would use next; if that one is faster, the
//! seal moves on to the number after. So a group is either before the seal, and read by the new writer, or it is refused
//! and never acknowledged. A seal stays for ever: nobody knows how long a process can be paused. It has 66 bytes, and
//! every start of a server leaves one.
//!
//! The newest group of the own epoch is never dropped, so that a successor finds the number. Record numbers are the epoch
//! in the upper bits and a count in the lower ones: they grow over all epochs, and the tables' marks stay comparable.

mod ids;
mod object;

#[cfg(test)]
mod tests;

use super::create::{Created, create};
use super::{Fence, paths};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::wal::index::hour_of;
use crate::wal::{EncodedRecord, EventKey, Hour, ScratchIndex, Seq, Wal};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use ids::{IdObjects, delete, get};
use object::{Group, Object};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;

/// Name of this log in the tables' marks: one for all writers, because the numbers grow from one to the next.
const WRITER_ID: &str = "tally-store-wal";
/// Bits of a record's number below the epoch: a trillion records of one process.
const COUNT_BITS: u32 = 40;
/// Folder of the index of ids in the data folder.
const INDEX_FOLDER: &str = "event-ids";

/// How to open an [`ObjectWal`].
#[derive(Debug)]
pub struct Options {
    /// Where the log is.
    pub store: Arc<dyn ObjectStore>,
    /// The right to write it.
    pub fence: Arc<Fence>,
    /// A folder for the index of ids, which is made anew.
    pub data_dir: PathBuf,
    /// Keeps other processes out of the data folder; `None` when somebody else holds the lock.
    pub lock: Option<File>,
    /// The source of time.
    pub clock: Arc<dyn Clock>,
    /// Least time between two groups, milliseconds.
    pub group_interval_ms: u64,
    /// Bytes of groups that replay may have read ahead.
    pub read_ahead_bytes: usize,
}

/// Where a group is: epoch and number.
type Place = (u64, u64);

/// A group in the store.
#[derive(Debug, Clone, Copy)]
struct Live {
    place: Place,
    bytes: u64,
    /// Number of its last record; known once it is replayed.
    last_seq: Seq,
}

/// The ids of one group, until they are in an object of ids.
#[derive(Debug)]
struct Unsaved {
    last_seq: Seq,
    hour: Hour,
    keys: Vec<EventKey>,
}

/// Groups on their way from the store.
struct Reading<'a> {
    groups: BoxStream<'a, Result<(Live, Option<Bytes>)>>,
    before: Option<Live>,
}

#[derive(Debug)]
struct State {
    /// Number of the next group.
    number_next: u64,
    /// Number of the next record.
    seq_next: Seq,
    /// All groups in the store, the oldest first.
    groups: VecDeque<Live>,
    unsaved: VecDeque<Unsaved>,
    unsaved_keys: usize,
    /// Records below this may be dropped.
    dropped_below: Seq,
}

impl State {
    fn add(&mut self, group: Live, hour: Hour, keys: &[EventKey]) {
        self.groups.push_back(group);
        if !keys.is_empty() {
            self.unsaved_keys += keys.len();
            self.unsaved.push_back(Unsaved {
                last_seq: group.last_seq,
                hour,
                keys: keys.to_vec(),
            });
        }
    }

    /// The ids of groups that end before `seq`, by hour.
    fn take_unsaved(&mut self, seq: Seq) -> BTreeMap<Hour, Vec<EventKey>> {
        let mut taken: BTreeMap<Hour, Vec<EventKey>> = BTreeMap::new();
        while let Some(group) = self.unsaved.pop_front_if(|group| group.last_seq < seq) {
            self.unsaved_keys -= group.keys.len();
            taken.entry(group.hour).or_default().extend(group.keys);
        }
        taken
    }
}

/// A log in the store, with an index of ids on the local disk that is made anew at every start.
pub struct ObjectWal {
    store: Arc<dyn ObjectStore>,
    fence: Arc<Fence>,
    clock: Arc<dyn Clock>,
    runtime: Handle,
    index: Arc<ScratchIndex>,
    ids: tokio::sync::Mutex<IdObjects>,
    state: Mutex<State>,
    /// Held while a group is put.
    writing: tokio::sync::Mutex<()>,
    /// Groups found at the start, until they are replayed.
    found: Mutex<Vec<Live>>,
    group_interval: Duration,
    read_ahead_bytes: usize,
    is_stopped: AtomicBool,
    // Declared last: the lock is given up after the index is closed.
    _lock: Option<File>,
}

impl std::fmt::Debug for ObjectWal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectWal")
            .field("fence", &self.fence)
            .finish_non_exhaustive()
    }
}

impl ObjectWal {
    /// Opens the log: seals those of earlier writers, and finds what they left. The runtime must outlive it.
    ///
    /// # Errors
    /// `Storage` when the store cannot be read or written, or groups are missing; `Fenced` when a later writer was here.
    pub async fn open(options: Options) -> Result<Self> {
        let Options {
            store, fence, clock, ..
        } = options;
        let epoch = fence.epoch();
        let found = found(&store, epoch).await?;
        let index_folder = options.data_dir.join(INDEX_FOLDER);
        let index_clock = Arc::clone(&clock);
        let open = move || ScratchIndex::create(&index_folder, index_clock);
        let index = Arc::new(crate::blocking::blocking("making the index of event ids", open).await?);
        // After the list of groups: one that a fenced writer drops meanwhile has its ids saved before.
        let ids = IdObjects::load(&store, &index, hour_of(clock.now_micros())).await?;
        Ok(Self {
            store,
            fence,
            clock,
            runtime: Handle::current(),
            index,
            ids: tokio::sync::Mutex::new(ids),
            state: Mutex::new(State {
                number_next: 1,
                seq_next: (epoch << COUNT_BITS) + 1,
                groups: VecDeque::new(),
                unsaved: VecDeque::new(),
                unsaved_keys: 0,
                dropped_below: 0,
            }),
            writing: tokio::sync::Mutex::default(),
            found: Mutex::new(found),
            group_interval: Duration::from_millis(options.group_interval_ms),
            read_ahead_bytes: options.read_ahead_bytes,
            is_stopped: AtomicBool::new(false),
            _lock: options.lock,
        })
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }

    /// Puts one group, however long that takes: its name is used for nothing else, so that a put whose answer was lost
    /// cannot become another group later.
    async fn put_group(&self, records: &[Vec<u8>], keys: &[EventKey]) -> Result<Seq> {
        let _writing = self.writing.lock().await;
        self.fence.holds()?;
        if self.is_stopped() {
            return Err(stopped());
        }
        let (number, first) = {
            let state = self.state.lock();
            (state.number_next, state.seq_next)
        };
        let place = (self.fence.epoch(), number);
        let name = paths::wal_object(place.0, place.1);
        let hour = hour_of(self.clock.now_micros());
        let bytes = object::encode_group(place, first, hour, keys, records)?;
        let created = create(&self.store, &name, &bytes, |_| self.is_stopped()).await;
        match created {
            Ok(Created::Ours) => {}
            Ok(Created::Theirs(found)) => {
                let by = match object::decode(&name, place, &found) {
                    Ok(Object::Seal(by)) => by,
                    _ => place.0,
                };
                // Names the one who took over, if it can be asked for.
                if let Err(error) = self.fence.check().await {
                    tracing::debug!(%error, "a group of the log met another writer's object");
                }
                self.fence.lose(by, None);
                self.fence.holds()?;
            }
            Err(error) => return Err(stopped().with_source(error)),
        }
        // When the index cannot keep an id the group must not be acknowledged: a repeat would not be known. It is there,
        // and the next start reads it.
        if let Err(error) = self.index.insert(keys, hour) {
            self.stop();
            return Err(error);
        }
        let mut state = self.state.lock();
        state.number_next += 1;
        state.seq_next += records.len() as u64;
        let last_seq = state.seq_next - 1;
        let group = Live {
            place,
            bytes: bytes.len() as u64,
            last_seq,
        };
        state.add(group, hour, keys);
        Ok(first)
    }

    /// Puts the ids of groups that end before `seq` into objects of ids.
    async fn save_ids(&self, ids: &mut IdObjects, seq: Seq) -> Result<()> {
        let taken = self.state.lock().take_unsaved(seq);
        if taken.is_empty() {
            return Ok(());
        }
        let again = taken.clone();
        if let Err(error) = ids.save(&self.store, taken).await {
            let mut state = self.state.lock();
            for (hour, keys) in again {
                state.unsaved_keys += keys.len();
                state.unsaved.push_front(Unsaved {
                    last_seq: seq.saturating_sub(1),
                    hour,
                    keys,
                });
            }
            return Err(error);
        }
        Ok(())
    }

    async fn trim_below(&self, seq: Seq) -> Result<()> {
        let epoch = self.fence.epoch();
        let done: Vec<Live> = {
            let mut state = self.state.lock();
            state.dropped_below = state.dropped_below.max(seq);
            let newest = state.groups.back().map(|group| group.place);
            let is_done =
                |group: &&Live| group.last_seq < seq && !(group.place.0 == epoch && Some(group.place) == newest);
            state.groups.iter().take_while(is_done).copied().collect()
        };
        let Some(last) = done.last() else { return Ok(()) };
        self.fence.check().await?;
        let mut ids = self.ids.lock().await;
        self.save_ids(&mut ids, last.last_seq + 1).await?;
        // One after another: what is left is then always without a gap.
        for group in &done {
            delete(&self.store, &paths::wal_object(group.place.0, group.place.1)).await?;
            self.state.lock().groups.pop_front();
        }
        ids.tidy(&self.store, hour_of(self.clock.now_micros())).await
    }

    async fn save_many_ids(&self) -> Result<()> {
        let seq = {
            let state = self.state.lock();
            if state.unsaved_keys < limits::WAL_IDS_UNSAVED_MAX {
                return Ok(());
            }
            state.seq_next
        };
        let mut ids = self.ids.lock().await;
        self.save_ids(&mut ids, seq).await
    }

    /// Begins to read the groups that earlier writers left, some ahead of their use.
    fn read_found(&self) -> Reading<'_> {
        let found = std::mem::take(&mut *self.found.lock());
        let largest = found.iter().map(|group| group.bytes).max().unwrap_or(1).max(1);
        let fits = usize::try_from(self.read_ahead_bytes as u64 / largest).unwrap_or(1);
        let store = &self.store;
        let groups = futures::stream::iter(found)
            .map(move |group| async move {
                let name = paths::wal_object(group.place.0, group.place.1);
                Ok::<_, Error>((group, get(store, &name).await?))
            })
            .buffered(fits.clamp(1, limits::WAL_READS_AT_ONCE))
            .boxed();
        Reading { groups, before: None }
    }

    /// The next group. Its ids are in the index, and it counts as one of the log.
    async fn next_group(&self, reading: &mut Reading<'_>) -> Result<Option<(Place, Group)>> {
        while let Some((mut live, bytes)) = reading.groups.try_next().await? {
            let name = paths::wal_object(live.place.0, live.place.1);
            let Some(bytes) = bytes else {
                if self.is_dropped(reading.before).await? {
                    tracing::debug!(%name, "a group was dropped by the writer before while the log was read");
                    continue;
                }
                return Err(missing(&name));
            };
            let Object::Group(group) = object::decode(&name, live.place, &bytes)? else {
                return Err(Error::storage(format!(
                    "the object {name} is a seal where a group must be"
                )));
            };
            let before = reading.before.filter(|before| before.place.0 == live.place.0);
            if before.is_some_and(|before| before.last_seq + 1 != group.first_seq) {
                return Err(Error::storage(format!(
                    "the group {name} begins with record {}, which does not follow the group before it",
                    group.first_seq
                )));
            }
            live.last_seq = (group.first_seq + group.records.len() as u64).saturating_sub(1);
            reading.before = Some(live);
            self.index.insert(&group.keys, group.hour)?;
            self.state.lock().add(live, group.hour, &group.keys);
            self.save_many_ids().await?;
            return Ok(Some((live.place, group)));
        }
        Ok(None)
    }

    /// Whether a group that is not there any more was dropped by its writer, which drops the oldest first and only those
    /// whose rows are in the tables: then the one before it is gone as well.
    async fn is_dropped(&self, before: Option<Live>) -> Result<bool> {
        let Some(before) = before else { return Ok(true) };
        let name = paths::wal_object(before.place.0, before.place.1);
        match self.store.head(&name).await {
            Ok(_) => Ok(false),
            Err(object_store::Error::NotFound { .. }) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

fn stopped() -> Error {
    Error::storage(
        "the write-ahead log in the store takes nothing more until a restart; everything acknowledged so far is kept",
    )
}

/// The records of a group.
fn records(place: Place, group: &Group) -> impl Iterator<Item = (Seq, EncodedRecord)> {
    let source: Arc<str> = format!("the object {}", paths::wal_object(place.0, place.1)).into();
    (group.first_seq..).zip(&group.records).map(move |(seq, bytes)| {
        // In bytes of its own: a record that waits for its flush must not keep the whole group.
        let record = EncodedRecord::new(Bytes::copy_from_slice(bytes));
        (seq, record.read_from(Arc::clone(&source)))
    })
}

fn missing(name: &object_store::path::Path) -> Error {
    Error::storage(format!(
        "the write-ahead log lacks {name}: somebody deleted it, and the events in it are lost; restore it, or delete the \
         objects of its folder that come before it after making sure that their rows are in the tables"
    ))
}

impl Wal for ObjectWal {
    fn writer_id(&self) -> &str {
        WRITER_ID
    }

    fn contains(&self, key: &EventKey) -> Result<bool> {
        self.index.contains(key)
    }

    fn write(&self, records: Vec<Vec<u8>>, keys: &[EventKey]) -> Result<Seq> {
        if records.is_empty() && keys.is_empty() {
            return Ok(self.state.lock().seq_next);
        }
        self.runtime.block_on(self.put_group(&records, keys))
    }

    /// Every group is a segment of its own; this only bounds the ids in memory.
    fn rotate(&self, _: u64) -> Result<()> {
        self.runtime.block_on(self.save_many_ids())
    }

    fn trim(&self, seq: Seq) -> Result<()> {
        self.runtime.block_on(self.trim_below(seq))
    }

    /// The newest group stays until another takes its place, so an empty one is put.
    fn purge(&self) -> Result<()> {
        self.runtime.block_on(async {
            self.put_group(&[], &[]).await?;
            let below = self.state.lock().dropped_below;
            self.trim_below(below).await
        })
    }

    fn replay_encoded(&self, each: &mut dyn FnMut(Seq, EncodedRecord) -> Result<()>) -> Result<()> {
        let mut reading = self.read_found();
        // Not within one `block_on`: `each` may block as well.
        while let Some((place, group)) = self.runtime.block_on(self.next_group(&mut reading))? {
            records(place, &group).try_for_each(|(seq, record)| each(seq, record))?;
        }
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.state.lock().groups.iter().map(|group| group.bytes).sum()
    }

    fn replay_bytes(&self) -> u64 {
        self.size_bytes() + self.state.lock().groups.len() as u64 * limits::WAL_READ_COST_BYTES
    }

    fn group_interval(&self) -> Duration {
        self.group_interval
    }

    fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
    }

    fn leaves_late_commits(&self) -> bool {
        true
    }
}

/// All objects of the log, by epoch, in order.
async fn list(store: &Arc<dyn ObjectStore>, folder: object_store::path::Path) -> Result<BTreeMap<Place, u64>> {
    let listed: Vec<ObjectMeta> = store.list(Some(&folder)).try_collect().await?;
    let place = |object: &ObjectMeta| Some((paths::wal_place(&object.location)?, object.size));
    Ok(listed.iter().filter_map(place).collect())
}

/// Whether the store holds groups of a log.
///
/// # Errors
/// `Storage` when the store cannot be listed.
pub async fn holds_groups(store: &Arc<dyn ObjectStore>) -> Result<bool> {
    let all = list(store, paths::wal()).await?;
    Ok(all.values().any(|bytes| *bytes != object::SEAL_BYTES))
}

/// Ends the log of `epoch`, so that its writer can put no further group. `by` is the epoch of who does it.
///
/// # Errors
/// `Storage` when the store cannot be read or written.
pub async fn seal(store: &Arc<dyn ObjectStore>, epoch: u64, by: u64) -> Result<()> {
    for _ in 0..limits::SEAL_TRIES_MAX {
        let before = list(store, paths::wal_epoch(epoch)).await?;
        if before.values().any(|bytes| *bytes == object::SEAL_BYTES) {
            return Ok(());
        }
        let number = before.keys().next_back().map_or(1, |(_, number)| number + 1);
        let name = paths::wal_object(epoch, number);
        let bytes = object::encode_seal((epoch, number), by);
        let created = create(store, &name, &bytes, |tries| tries >= limits::PUT_TRIES_MAX).await?;
        if created != Created::Ours {
            // Its writer was faster, or another one seals it too.
            continue;
        }
        // The writer may have dropped the group that had this number and gone on: then the seal is in the wrong place.
        let after = list(store, paths::wal_epoch(epoch)).await?;
        if after.keys().next_back().is_none_or(|(_, last)| *last <= number) {
            return Ok(());
        }
        delete(store, &name).await?;
    }
    Err(Error::storage(format!(
        "the write-ahead log of the writer before (epoch {epoch}) could not be ended: it writes faster than this process; \
         stop it"
    )))
}

/// The groups of earlier writers, all of them ended, the oldest first.
async fn found(store: &Arc<dyn ObjectStore>, epoch: u64) -> Result<Vec<Live>> {
    let mut all = list(store, paths::wal()).await?;
    let is_sealed = |all: &BTreeMap<Place, u64>, epoch: u64| {
        let of_epoch = all.range((epoch, 0)..=(epoch, u64::MAX));
        of_epoch.into_iter().any(|(_, bytes)| *bytes == object::SEAL_BYTES)
    };
    let mut epochs: Vec<u64> = all.keys().map(|(epoch, _)| *epoch).collect();
    epochs.dedup();
    if let Some(later) = epochs.iter().find(|found| **found >= epoch) {
        let text = format!("the write-ahead log has groups of epoch {later}, and this writer has {epoch}");
        return Err(Error::new(ErrorKind::Fenced, text));
    }
    let open: Vec<u64> = epochs.into_iter().filter(|epoch| !is_sealed(&all, *epoch)).collect();
    for before in &open {
        seal(store, *before, epoch).await?;
    }
    if !open.is_empty() {
        all = list(store, paths::wal()).await?;
    }
    let mut before: Option<Place> = None;
    let mut groups = Vec::with_capacity(all.len());
    for (place, bytes) in all {
        if let Some((_, number)) = before.filter(|before| before.0 == place.0)
            && number + 1 != place.1
        {
            return Err(missing(&paths::wal_object(place.0, number + 1)));
        }
        before = Some(place);
        if bytes != object::SEAL_BYTES {
            groups.push(Live {
                place,
                bytes,
                last_seq: 0,
            });
        }
    }
    Ok(groups)
}

/// The number of records in an object of the log.
///
/// # Errors
/// `Storage`, naming the object, when it is damaged.
pub fn check_group(name: &Path, bytes: &Bytes) -> Result<u64> {
    let place = paths::wal_place(name).ok_or_else(|| Error::storage(format!("{name} is no object of the log")))?;
    match object::decode(name, place, bytes)? {
        Object::Group(group) => Ok(group.records.len() as u64),
        Object::Seal(_) => Ok(0),
    }
}

/// Reads an object of ids.
///
/// # Errors
/// `Storage`, naming the object, when it is damaged.
pub fn check_ids(name: &Path, bytes: &Bytes) -> Result<()> {
    let hour = paths::event_ids_hour(name).ok_or_else(|| Error::storage(format!("{name} is no object of ids")))?;
    object::decode_ids(name, hour, bytes).map(drop)
}
