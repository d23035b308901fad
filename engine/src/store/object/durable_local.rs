//! A local folder as an object store whose writes are on disk when they return.
//!
//! The library's local store never calls fsync. Here a file's bytes are synced before its name appears and the folder
//! after it, so a name that survives a power cut always has its content. Lists are sorted by name, as those of a bucket
//! are. Reads and deletes are the library's.

use crate::error::{Error, Result as EngineResult};
use crate::store::paths;
use crate::store::remembered::Remembered;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::fs::File;
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Folders remembered as synced.
const FOLDERS_MAX: usize = 16 * 1024;

/// A local store with durable writes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DurableLocal {
    inner: Arc<LocalFileSystem>,
    disk: Arc<Disk>,
}

/// The calls that make bytes and names durable, counted.
#[derive(Debug)]
struct Disk {
    root: PathBuf,
    /// Folders whose own names are known to be on disk.
    folders: Remembered<PathBuf>,
    /// Objects that were refused to their writer, and can be read all the same.
    in_doubt: Mutex<HashSet<Path>>,
    /// Folders of table logs whose names are known to be on disk.
    logs: Remembered<PathBuf>,
    syncs: AtomicU64,
}

impl std::fmt::Display for DurableLocal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DurableLocal({})", self.disk.root.display())
    }
}

fn generic(error: std::io::Error, path: &FsPath) -> object_store::Error {
    object_store::Error::Generic {
        store: "DurableLocal",
        source: Box::new(std::io::Error::new(
            error.kind(),
            format!("{}: {error}", path.display()),
        )),
    }
}

fn already_exists(location: &Path, error: std::io::Error) -> object_store::Error {
    object_store::Error::AlreadyExists {
        path: location.to_string(),
        source: Box::new(error),
    }
}

impl Disk {
    fn sync(&self, file: &File, path: &FsPath) -> Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        file.sync_all().map_err(|error| generic(error, path))
    }

    fn sync_folder(&self, folder: &FsPath) -> Result<()> {
        let handle = File::open(folder).map_err(|error| generic(error, folder))?;
        self.sync(&handle, folder)
    }

    /// Makes `folder` and its missing ancestors, with their names on disk.
    fn make_folder(&self, folder: &FsPath) -> Result<()> {
        let inside = folder.ancestors().take_while(|part| *part != self.root);
        let unknown: Vec<&FsPath> = inside.take_while(|part| !self.folders.contains(*part)).collect();
        for part in unknown.into_iter().rev() {
            match std::fs::create_dir(part) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(generic(error, part)),
            }
            if let Some(parent) = part.parent() {
                self.sync_folder(parent)?;
            }
            self.folders.insert(part.to_owned());
        }
        Ok(())
    }

    /// A new file beside `target`. The library's lists pass over names that end in `#` and digits.
    fn stage(&self, target: &FsPath) -> Result<(File, PathBuf)> {
        let folder = target.parent().unwrap_or(&self.root);
        self.make_folder(folder)?;
        let mut name = target.as_os_str().to_owned();
        name.push(format!("#{}", uuid::Uuid::new_v4().as_u128()));
        let staged = PathBuf::from(name);
        let open = || File::options().write(true).create_new(true).open(&staged);
        let file = match open() {
            // The folder was deleted since it was remembered, for instance when a project was erased.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.folders.clear();
                self.make_folder(folder)?;
                open()
            }
            other => other,
        };
        Ok((file.map_err(|error| generic(error, &staged))?, staged))
    }

    /// Gives the staged file its name, bytes first. The staged name is gone afterwards, whatever happened.
    fn publish(&self, file: &File, staged: &FsPath, target: &FsPath, location: &Path, is_create: bool) -> Result<()> {
        let published = self.sync(file, staged).and_then(|()| {
            if is_create {
                match std::fs::hard_link(staged, target) {
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(already_exists(location, error)),
                    other => other.map_err(|error| generic(error, target)),
                }
            } else {
                std::fs::rename(staged, target).map_err(|error| generic(error, target))
            }
        });
        if is_create || published.is_err() {
            // A leftover is harmless: no list shows it.
            let _ = std::fs::remove_file(staged);
        }
        published?;
        let synced = self.sync_folder(target.parent().unwrap_or(&self.root));
        // The name can be read now and may be gone after a power cut. Whoever reads back after an error, as commits do, must
        // not find it and take the put for done.
        if synced.is_err() && is_create && std::fs::remove_file(target).is_err() {
            self.in_doubt.lock().insert(location.clone());
        }
        synced
    }

    /// Whether the name of an object is sure to stay.
    fn check(&self, location: &Path) -> Result<()> {
        if !self.in_doubt.lock().contains(location) {
            return Ok(());
        }
        let error = std::io::Error::other(
            "its name could neither be synced nor be taken back; repair the disk and restart Tally",
        );
        Err(generic(error, &self.root.join(location.as_ref())))
    }

    fn put(&self, target: &FsPath, location: &Path, payload: &PutPayload, is_create: bool) -> Result<()> {
        let (mut file, staged) = self.stage(target)?;
        if let Err(error) = payload.iter().try_for_each(|bytes| file.write_all(bytes)) {
            let _ = std::fs::remove_file(&staged);
            return Err(generic(error, &staged));
        }
        self.publish(&file, &staged, target, location, is_create)
    }

    /// Syncs a file that the library wrote, and its folder.
    fn settle(&self, target: &FsPath) -> Result<()> {
        let file = File::open(target).map_err(|error| generic(error, target))?;
        self.sync(&file, target)?;
        self.sync_folder(target.parent().unwrap_or(&self.root))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(object_store::Error::JoinError { source: error }),
    }
}

impl DurableLocal {
    /// A store in `folder`, which is made when it is absent.
    ///
    /// # Errors
    /// `Storage` when the folder cannot be made or used.
    pub fn new(folder: &FsPath) -> EngineResult<Self> {
        let at = |error: std::io::Error| {
            Error::storage(format!("the store folder {} cannot be used: {error}", folder.display())).with_source(error)
        };
        std::fs::create_dir_all(folder).map_err(at)?;
        let root = std::fs::canonicalize(folder).map_err(at)?;
        let disk = Disk {
            root: root.clone(),
            folders: Remembered::new(FOLDERS_MAX),
            in_doubt: Mutex::default(),
            logs: Remembered::new(FOLDERS_MAX),
            syncs: AtomicU64::new(0),
        };
        for part in root.ancestors() {
            // Above the store's own folder this is a courtesy: it may be another user's.
            if disk.sync_folder(part).is_err() {
                break;
            }
        }
        Ok(Self {
            inner: Arc::new(LocalFileSystem::new_with_prefix(&root)?),
            disk: Arc::new(disk),
        })
    }

    /// Syncs the names in a table's log before this process first reads them. A process that was killed between a commit
    /// and its sync leaves a name that can be read and is not on the disk; whoever reads it drops the write-ahead log.
    async fn settle_log(&self, folder: Option<Path>) -> Result<()> {
        let Some(folder) = folder.filter(paths::is_log) else {
            return Ok(());
        };
        let folder = self.inner.path_to_filesystem(&folder)?;
        if self.disk.logs.contains(&folder) {
            return Ok(());
        }
        let disk = Arc::clone(&self.disk);
        blocking(move || {
            if !folder.is_dir() {
                return Ok(());
            }
            disk.sync_folder(&folder)?;
            disk.logs.insert(folder);
            Ok(())
        })
        .await
    }

    fn settled(
        &self,
        prefix: Option<&Path>,
        list: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, folder) = (self.clone(), prefix.cloned());
        let settled = async move { store.settle_log(folder).await.map(|()| list) };
        futures::stream::once(settled).try_flatten().boxed()
    }

    #[cfg(test)]
    pub(super) fn hold_in_doubt(&self, location: &Path) {
        self.disk.in_doubt.lock().insert(location.clone());
    }

    /// Completed fsync calls since the store was opened.
    pub fn sync_count(&self) -> u64 {
        self.disk.syncs.load(Ordering::Relaxed)
    }
}

/// A list in the order of names. A folder has none, but readers of a table log count on the order of a bucket.
fn sorted(list: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
    let collected = async move {
        let mut entries: Vec<ObjectMeta> = list.try_collect().await?;
        entries.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        Ok::<_, object_store::Error>(futures::stream::iter(entries.into_iter().map(Ok)))
    };
    futures::stream::once(collected).try_flatten().boxed()
}

fn put_result() -> PutResult {
    PutResult {
        e_tag: None,
        version: None,
    }
}

#[async_trait]
impl ObjectStore for DurableLocal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let is_create = match opts.mode {
            PutMode::Overwrite => false,
            PutMode::Create => true,
            PutMode::Update(_) => {
                return Err(object_store::Error::NotImplemented {
                    operation: "a conditional update".to_owned(),
                    implementer: self.to_string(),
                });
            }
        };
        let target = self.inner.path_to_filesystem(location)?;
        let (disk, location) = (Arc::clone(&self.disk), location.clone());
        blocking(move || disk.put(&target, &location, &payload, is_create)).await?;
        Ok(put_result())
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let target = self.inner.path_to_filesystem(location)?;
        let disk = Arc::clone(&self.disk);
        let staging = target.clone();
        let (file, staged) = blocking(move || disk.stage(&staging)).await?;
        Ok(Box::new(Upload {
            disk: Arc::clone(&self.disk),
            file: Arc::new(Mutex::new(file)),
            staged,
            target,
            location: location.clone(),
            length: 0,
            is_done: false,
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.disk.check(location)?;
        self.settle_log(location.parent()).await?;
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let list = sorted(self.inner.list(prefix));
        self.settled(prefix, list)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let list = sorted(self.inner.list_with_offset(prefix, offset));
        self.settled(prefix, list)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let target = self.inner.path_to_filesystem(to)?;
        let disk = Arc::clone(&self.disk);
        self.inner.copy_opts(from, to, options).await?;
        blocking(move || disk.settle(&target)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let source = self.inner.path_to_filesystem(from)?;
        let target = self.inner.path_to_filesystem(to)?;
        let disk = Arc::clone(&self.disk);
        self.inner.rename_opts(from, to, options).await?;
        blocking(move || {
            disk.settle(&target)?;
            disk.sync_folder(source.parent().unwrap_or(&disk.root))
        })
        .await
    }
}

/// An upload in parts: written beside its target, named when complete.
#[derive(Debug)]
struct Upload {
    disk: Arc<Disk>,
    file: Arc<Mutex<File>>,
    staged: PathBuf,
    target: PathBuf,
    location: Path,
    length: u64,
    is_done: bool,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (file, staged, offset) = (Arc::clone(&self.file), self.staged.clone(), self.length);
        self.length += data.content_length() as u64;
        Box::pin(blocking(move || {
            let mut file = file.lock();
            file.seek(SeekFrom::Start(offset))
                .and_then(|_| data.iter().try_for_each(|bytes| file.write_all(bytes)))
                .map_err(|error| generic(error, &staged))
        }))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (disk, file) = (Arc::clone(&self.disk), Arc::clone(&self.file));
        let (staged, target, location) = (self.staged.clone(), self.target.clone(), self.location.clone());
        blocking(move || disk.publish(&file.lock(), &staged, &target, &location, false)).await?;
        self.is_done = true;
        Ok(put_result())
    }

    async fn abort(&mut self) -> Result<()> {
        self.is_done = true;
        let staged = self.staged.clone();
        blocking(move || std::fs::remove_file(&staged).map_err(|error| generic(error, &staged))).await
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.is_done {
            // A leftover is harmless: no list shows it.
            let _ = std::fs::remove_file(&self.staged);
        }
    }
}
