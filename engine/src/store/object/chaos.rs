//! A store for tests that does to a caller what networks and services do: seeded, so that a failure can be repeated.
//!
//! It stands for the service, the network and the HTTP client together. The client repeats what object_store's repeats:
//! answers of 5xx and 429 for every method, broken connections only where a repeat is harmless. So a put-if-absent whose
//! success is answered with 500 meets its own object at the second try and comes back as "already exists".
//!
//! Time is the [`FixedClock`]'s: a stall moves it, and what is still on its way ([`Fault::Late`]) arrives when it has moved
//! far enough. The fate of a request depends on the seed, on its kind, on what it names, and on how often that was asked,
//! and not on what else happens at the same time.

use crate::clock::{Clock, FixedClock, Micros, SECOND_MICROS};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

/// Repeats of the HTTP client.
const RETRIES: u32 = 6;
/// The longest time something stays on its way after its caller was told that it failed.
const LATE_MICROS_MAX: u64 = 20_000_000;

/// What may happen to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// 503: nothing was done.
    Refused,
    /// 429: nothing was done.
    SlowDown,
    /// The connection broke before anything was done.
    Reset,
    /// It was done, and the answer was 500.
    DoneThen500,
    /// It was done, and the connection broke.
    DoneThenReset,
    /// The connection broke, and it is done some seconds later.
    Late,
    /// No answer for three seconds, then all is well.
    Stall,
    /// A put-if-absent is told "exists", and there is nothing: S3's 409 under contention.
    FalseConflict,
    /// The answer's bytes end early with an error.
    Cut,
    /// The answer's bytes end early as if they were all.
    CutSilently,
    /// The answer's bytes come in small pieces, a second apart.
    Slow,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Fault; 11] = [
        Fault::Refused,
        Fault::SlowDown,
        Fault::Reset,
        Fault::DoneThen500,
        Fault::DoneThenReset,
        Fault::Late,
        Fault::Stall,
        Fault::FalseConflict,
        Fault::Cut,
        Fault::CutSilently,
        Fault::Slow,
    ];
}

/// How often each fault happens, in thousandths of the requests it can happen to.
#[derive(Debug, Clone, Default)]
pub struct Weather(Vec<(Fault, u32)>);

impl Weather {
    /// No faults.
    pub fn calm() -> Self {
        Self::default()
    }

    /// Half of all answers are 503 and a fifth 429, and everything else happens too.
    pub fn storm() -> Self {
        Self(vec![
            (Fault::Refused, 500),
            (Fault::SlowDown, 200),
            (Fault::Reset, 20),
            (Fault::DoneThen500, 20),
            (Fault::DoneThenReset, 20),
            (Fault::Late, 20),
            (Fault::Stall, 20),
            (Fault::FalseConflict, 20),
            (Fault::Cut, 20),
            (Fault::CutSilently, 20),
            (Fault::Slow, 20),
        ])
    }

    /// Mostly well, and every fault in `each` thousandths.
    pub fn showers(each: u32) -> Self {
        Self(Fault::ALL.iter().map(|fault| (*fault, each)).collect())
    }

    /// Nothing is answered.
    pub fn down() -> Self {
        Self(vec![(Fault::Refused, 1000)])
    }

    fn fault(&self, mut at: u64) -> Option<Fault> {
        for (fault, share) in &self.0 {
            match at.checked_sub(u64::from(*share)) {
                Some(left) => at = left,
                None => return Some(*fault),
            }
        }
        None
    }
}

type Action = Arc<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// The store.
#[derive(Clone)]
pub struct ChaosStore {
    inner: Arc<InMemory>,
    state: Arc<State>,
}

struct State {
    seed: u64,
    clock: Arc<FixedClock>,
    weather: Mutex<Weather>,
    asked: Mutex<HashMap<u64, u64>>,
    seen: Mutex<BTreeMap<Fault, u64>>,
    /// What is still on its way, with the instant of its arrival.
    on_the_way: Mutex<Vec<(Micros, Action)>>,
    uploads: Mutex<Uploads>,
}

/// Uploads in parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Uploads {
    /// Begun.
    pub begun: u64,
    /// Completed, as the service sees it.
    pub completed: u64,
    /// Given up.
    pub aborted: u64,
}

impl fmt::Debug for ChaosStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChaosStore")
            .field("seed", &self.state.seed)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ChaosStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChaosStore({})", self.state.seed)
    }
}

fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What a request names, without what is random in it: data files go by their folder.
fn what(location: &Path) -> String {
    let text = location.to_string();
    match text.rsplit_once('/') {
        Some((folder, name)) if name.ends_with(".parquet") => folder.to_owned(),
        _ => text,
    }
}

fn broken(text: &str) -> Error {
    Error::Generic {
        store: "ChaosStore",
        source: text.into(),
    }
}

impl ChaosStore {
    /// A store over `inner`, which is what the service really holds.
    pub fn new(inner: Arc<InMemory>, seed: u64, clock: Arc<FixedClock>, weather: Weather) -> Self {
        Self {
            inner,
            state: Arc::new(State {
                seed,
                clock,
                weather: Mutex::new(weather),
                asked: Mutex::default(),
                seen: Mutex::default(),
                on_the_way: Mutex::default(),
                uploads: Mutex::default(),
            }),
        }
    }

    /// From now on the weather is this.
    pub fn set_weather(&self, weather: Weather) {
        *self.state.weather.lock() = weather;
    }

    /// How often each fault happened.
    pub fn seen(&self) -> BTreeMap<Fault, u64> {
        self.state.seen.lock().clone()
    }

    /// Uploads in parts so far.
    pub fn uploads(&self) -> Uploads {
        *self.state.uploads.lock()
    }

    /// Lets what is due by now arrive, or all that is on its way.
    pub async fn deliver(&self, all: bool) {
        let now = self.state.clock.now_micros();
        let due: Vec<Action> = {
            let mut on_the_way = self.state.on_the_way.lock();
            let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut *on_the_way)
                .into_iter()
                .partition(|(at, _)| all || *at <= now);
            *on_the_way = later;
            due.into_iter().map(|(_, action)| action).collect()
        };
        for action in due {
            // Its caller has long been told something else.
            let _ = action().await;
        }
    }

    fn wait(&self, micros: Micros) {
        self.state.clock.set(self.state.clock.now_micros() + micros);
    }

    /// The next fate of requests of this kind for this name, and a number for its details.
    fn fate(&self, kind: &str, location: &Path, can: &[Fault]) -> (Option<Fault>, u64) {
        let key = hash(kind) ^ hash(&what(location)).rotate_left(17);
        let count = {
            let mut asked = self.state.asked.lock();
            let count = asked.entry(key).or_insert(0);
            *count += 1;
            *count
        };
        let random = mix(self.state.seed ^ mix(key ^ mix(count)));
        let fault = self.state.weather.lock().fault(random % 1000);
        let fault = fault.filter(|fault| can.contains(fault));
        if let Some(fault) = fault {
            *self.state.seen.lock().entry(fault).or_insert(0) += 1;
        }
        (fault, mix(random))
    }

    /// Others run while one waits.
    async fn stall(&self) {
        self.wait(3 * SECOND_MICROS);
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }

    /// A change of the store, with the client's repeats.
    async fn change(&self, kind: &'static str, location: &Path, is_harmless_again: bool, action: Action) -> Result<()> {
        const CAN: &[Fault] = &[
            Fault::Refused,
            Fault::SlowDown,
            Fault::Reset,
            Fault::DoneThen500,
            Fault::DoneThenReset,
            Fault::Late,
            Fault::Stall,
        ];
        for tried in 0..=RETRIES {
            self.deliver(false).await;
            tokio::task::yield_now().await;
            let (fault, random) = self.fate(kind, location, CAN);
            let is_broken = matches!(fault, Some(Fault::Reset | Fault::DoneThenReset | Fault::Late));
            match fault {
                None => return action().await,
                Some(Fault::Stall) => {
                    self.stall().await;
                    return action().await;
                }
                Some(Fault::DoneThen500 | Fault::DoneThenReset) => {
                    let _ = action().await;
                }
                Some(Fault::Late) => {
                    let after = i64::try_from(random % LATE_MICROS_MAX).unwrap_or(0);
                    let at = self.state.clock.now_micros() + after;
                    self.state.on_the_way.lock().push((at, Arc::clone(&action)));
                }
                Some(_) => {}
            }
            if is_broken && !is_harmless_again {
                return Err(broken("the connection broke"));
            }
            self.wait(100_000 << tried.min(6));
        }
        Err(broken("503 after all repeats"))
    }

    /// A question to the store, with the client's repeats.
    async fn ask<'a, T>(
        &'a self,
        kind: &'static str,
        location: &Path,
        request: impl Fn() -> BoxFuture<'a, Result<T>> + Send,
    ) -> Result<T> {
        const CAN: &[Fault] = &[Fault::Refused, Fault::SlowDown, Fault::Reset, Fault::Stall];
        for tried in 0..=RETRIES {
            self.deliver(false).await;
            tokio::task::yield_now().await;
            match self.fate(kind, location, CAN).0 {
                None => return request().await,
                Some(Fault::Stall) => {
                    self.stall().await;
                    return request().await;
                }
                Some(_) => self.wait(100_000 << tried.min(6)),
            }
        }
        Err(broken("503 after all repeats"))
    }

    /// The answer's bytes, as far as they come.
    async fn body(&self, location: &Path, found: GetResult) -> Result<GetResult> {
        let (meta, range, attributes) = (found.meta.clone(), found.range.clone(), found.attributes.clone());
        let whole = found.bytes().await?;
        let (fault, random) = self.fate("body", location, &[Fault::Cut, Fault::CutSilently, Fault::Slow]);
        let at = usize::try_from(random % (whole.len() as u64 + 1)).unwrap_or(0);
        let first = whole.slice(..at);
        let pieces: Vec<Result<Bytes>> = match fault {
            Some(Fault::Cut) => vec![Ok(first), Err(broken("the connection broke in an answer"))],
            Some(Fault::CutSilently) if at < whole.len() => vec![Ok(first)],
            Some(Fault::Slow) => {
                self.wait(2 * SECOND_MICROS);
                vec![Ok(first), Ok(whole.slice(at..))]
            }
            _ => vec![Ok(whole)],
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(futures::stream::iter(pieces).boxed()),
            meta,
            range,
            attributes,
        })
    }
}

fn put_result() -> PutResult {
    PutResult {
        e_tag: None,
        version: None,
    }
}

#[async_trait]
impl ObjectStore for ChaosStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let is_create = opts.mode == PutMode::Create;
        if is_create && self.fate("conflict", location, &[Fault::FalseConflict]).0.is_some() {
            return Err(Error::AlreadyExists {
                path: location.to_string(),
                source: "409 ConditionalRequestConflict".into(),
            });
        }
        let is_harmless_again = opts.mode == PutMode::Overwrite;
        let (inner, name) = (Arc::clone(&self.inner), location.clone());
        let action: Action = Arc::new(move || {
            let (inner, name, payload, opts) = (Arc::clone(&inner), name.clone(), payload.clone(), opts.clone());
            async move { inner.put_opts(&name, payload, opts).await.map(drop) }.boxed()
        });
        self.change("put", location, is_harmless_again, action).await?;
        Ok(put_result())
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.ask("begin", location, || futures::future::ready(Ok(())).boxed())
            .await?;
        self.state.uploads.lock().begun += 1;
        Ok(Box::new(Upload {
            store: self.clone(),
            location: location.clone(),
            parts: Arc::default(),
            sent: 0,
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let is_head = options.head;
        let request = || {
            let (inner, name, options) = (Arc::clone(&self.inner), location.clone(), options.clone());
            async move { inner.get_opts(&name, options).await }.boxed()
        };
        let found = self.ask("get", location, request).await?;
        if is_head {
            return Ok(found);
        }
        self.body(location, found).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let deleted = locations.then(move |location| {
            let store = store.clone();
            async move {
                let location = location?;
                let (inner, name) = (Arc::clone(&store.inner), location.clone());
                let action: Action = Arc::new(move || {
                    let (inner, name) = (Arc::clone(&inner), name.clone());
                    async move { inner.delete(&name).await }.boxed()
                });
                store.change("delete", &location, true, action).await?;
                Ok::<Path, Error>(location)
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned());
        let listed = async move {
            let at = prefix.clone().unwrap_or_default();
            let request = || store.inner.list(prefix.as_ref()).try_collect::<Vec<_>>().boxed();
            let all = store.ask("list", &at, request).await?;
            let mut items: Vec<Result<ObjectMeta>> = all.into_iter().map(Ok).collect();
            if let (Some(_), random) = store.fate("pages", &at, &[Fault::Cut]) {
                let kept = usize::try_from(random % (items.len() as u64 + 1)).unwrap_or(0);
                items.truncate(kept);
                items.push(Err(broken("the connection broke in a list")));
            }
            Ok::<_, Error>(futures::stream::iter(items))
        };
        futures::stream::once(listed).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let at = prefix.cloned().unwrap_or_default();
        let request = || {
            let (inner, at) = (Arc::clone(&self.inner), prefix.cloned());
            async move { inner.list_with_delimiter(at.as_ref()).await }.boxed()
        };
        self.ask("list", &at, request).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (inner, from, target) = (Arc::clone(&self.inner), from.clone(), to.clone());
        let action: Action = Arc::new(move || {
            let (inner, from, to, options) = (Arc::clone(&inner), from.clone(), target.clone(), options.clone());
            async move { inner.copy_opts(&from, &to, options).await }.boxed()
        });
        self.change("copy", to, false, action).await
    }
}

/// An upload in parts. The service holds its parts until it is completed or given up.
#[derive(Debug)]
struct Upload {
    store: ChaosStore,
    location: Path,
    parts: Arc<Mutex<BTreeMap<usize, PutPayload>>>,
    sent: usize,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (store, location, parts, at) = (
            self.store.clone(),
            self.location.clone(),
            Arc::clone(&self.parts),
            self.sent,
        );
        self.sent += 1;
        Box::pin(async move {
            let action: Action = Arc::new(move || {
                parts.lock().insert(at, data.clone());
                futures::future::ready(Ok(())).boxed()
            });
            store.change("part", &location, true, action).await
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (inner, name, parts) = (
            Arc::clone(&self.store.inner),
            self.location.clone(),
            Arc::clone(&self.parts),
        );
        if parts.lock().len() < self.sent {
            return Err(broken("400 InvalidPart: a part is missing"));
        }
        let state = Arc::clone(&self.store.state);
        let action: Action = Arc::new(move || {
            let whole: Vec<Bytes> = parts.lock().values().flat_map(|part| part.iter().cloned()).collect();
            let (inner, name, state) = (Arc::clone(&inner), name.clone(), Arc::clone(&state));
            async move {
                inner.put(&name, PutPayload::from_iter(whole)).await?;
                state.uploads.lock().completed += 1;
                Ok(())
            }
            .boxed()
        });
        let location = self.location.clone();
        self.store.change("complete", &location, true, action).await?;
        Ok(put_result())
    }

    async fn abort(&mut self) -> Result<()> {
        let state = Arc::clone(&self.store.state);
        let action: Action = Arc::new(move || {
            state.uploads.lock().aborted += 1;
            futures::future::ready(Ok(())).boxed()
        });
        let location = self.location.clone();
        self.store.change("abort", &location, true, action).await
    }
}
