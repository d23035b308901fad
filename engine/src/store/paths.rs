//! Every object name of the store, and nowhere else.
//!
//! ```text
//! projects/<project>/<table>/_delta_log/…                 the table log
//! projects/<project>/<table>/date=YYYY-MM-DD/<uuid>.vte.parquet   rows of one UTC day
//! writers/<epoch>.json                                    who may write from this epoch on
//! writers/<epoch>.ended                                   that this writer has stopped in peace
//! wal/<epoch>/<number>.wal                                one group of the write-ahead log, when it is kept in the store
//! event-ids/<hour>/<uuid>.ids                             ids of events acknowledged in one hour, likewise
//! server/<name>/<version>.json                            what the server keeps in the store: projects and secrets, likewise
//! probe/<uuid>/…                                          self-test at start, deleted again
//! backup/<time>.json                                      in a backup: what it holds
//! backup/files/<hash>                                     in a backup: a file of the data folder
//! ```
//! `vte` says that the rows are sorted by visitor, ts and event id. The log could say so in a tag, but tags do not
//! survive every other writer's checkpoints; names do.

use crate::project::ProjectId;
use object_store::path::Path;

/// Ending of a data file whose rows are sorted by (visitor_id, ts, event_id).
const SORTED_SUFFIX: &str = ".vte.parquet";
/// Ending of any other data file.
const PLAIN_SUFFIX: &str = ".parquet";

/// A kind of table. Every project has one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TableKind {
    /// Accepted events.
    Events,
    /// Rejected events.
    Rejected,
}

impl TableKind {
    /// All kinds.
    pub const ALL: &'static [TableKind] = &[TableKind::Events, TableKind::Rejected];

    /// The table's folder in its project's folder.
    pub fn folder(self) -> &'static str {
        match self {
            TableKind::Events => "events",
            TableKind::Rejected => "rejected",
        }
    }
}

/// A table's folder from the store's root.
pub fn table(project: &ProjectId, kind: TableKind) -> Path {
    Path::from_iter(["projects", project.as_str(), kind.folder()])
}

/// Whether `folder` is that of a table's log.
pub fn is_log(folder: &Path) -> bool {
    folder.filename() == Some("_delta_log")
}

/// A new data file's name, from the table's folder.
pub fn new_data_file(kind: TableKind, date: &str) -> String {
    let suffix = match kind {
        TableKind::Events => SORTED_SUFFIX,
        TableKind::Rejected => PLAIN_SUFFIX,
    };
    format!("date={date}/{}{suffix}", uuid::Uuid::new_v4())
}

/// A new data file's name that promises the order, or not, as the file does whose rows it takes over.
pub fn new_data_file_like(kind: TableKind, date: &str, is_sorted: bool) -> String {
    let name = new_data_file(kind, date);
    match name.strip_suffix(SORTED_SUFFIX) {
        Some(stem) if !is_sorted => format!("{stem}{PLAIN_SUFFIX}"),
        _ => name,
    }
}

/// The folder of a table's log.
pub fn log_folder(table: &Path) -> Path {
    table.clone().join("_delta_log")
}

/// The version that a file of a table's log is about: an entry or a checkpoint. `None` for other files.
pub fn log_version(table: &Path, path: &Path) -> Option<u64> {
    let mut parts = path.prefix_match(&log_folder(table))?;
    let name = parts.next()?;
    let digits = name.as_ref().get(..20)?.to_owned();
    (parts.next().is_none() && name.as_ref().get(20..21) == Some(".")).then_some(digits.parse().ok())?
}

/// Whether a file of a table's log is an entry.
pub fn is_log_entry(path: &Path) -> bool {
    path.filename()
        .is_some_and(|name| name.len() == 25 && name.ends_with(".json"))
}

/// The folder of all projects.
pub fn projects() -> Path {
    Path::from("projects")
}

/// The project whose folder this is.
pub fn project_of(folder: &Path) -> Option<ProjectId> {
    ProjectId::new(folder.filename()?).ok()
}

/// Whether a data file's name promises the sort order.
pub fn is_sorted(data_file: &str) -> bool {
    data_file.ends_with(SORTED_SUFFIX)
}

/// A data file's name from the store's root.
pub fn data_file(table: &Path, name: &str) -> Path {
    let parts = table.parts().chain(name.split('/').map(Into::into));
    parts.collect()
}

/// Whether `path` has a data file's place and ending below a table's folder; the log's files have not.
pub fn is_data_file(table: &Path, path: &Path) -> bool {
    let mut parts = match path.prefix_match(table) {
        Some(parts) => parts,
        None => return false,
    };
    let day = parts.next();
    let name = parts.next();
    let in_day = day.is_some_and(|day| day.as_ref().starts_with("date="));
    in_day && name.is_some_and(|name| name.as_ref().ends_with(PLAIN_SUFFIX)) && parts.next().is_none()
}

/// Whether an object is never changed once it is there, by its name: a data file of any table.
pub fn is_immutable(path: &Path) -> bool {
    let mut parts = path.parts().rev();
    let is_data = parts.next().is_some_and(|name| name.as_ref().ends_with(PLAIN_SUFFIX));
    is_data && parts.next().is_some_and(|day| day.as_ref().starts_with("date="))
}

/// The day in a data file's name, when it is in the usual place.
pub fn date_of(data_file: &str) -> Option<&str> {
    data_file.split('/').find_map(|part| part.strip_prefix("date="))
}

/// The file of one day of an export, in the folder that the user named.
pub fn export_file(kind: TableKind, date: &str, ending: &str) -> String {
    format!("{}-{date}.{ending}", kind.folder())
}

/// The folder of what backups know of themselves.
pub fn backups() -> Path {
    Path::from("backup")
}

/// The manifest of the backup of this name.
pub fn backup_manifest(name: &str) -> Path {
    backups().join(format!("{name}.json"))
}

/// A file of a data folder in a backup, by its hash.
pub fn backup_file(hash: &str) -> Path {
    backups().join("files").join(hash)
}

/// A new folder for the probes of one self-test.
pub fn probe() -> Path {
    Path::from_iter(["probe".to_owned(), uuid::Uuid::new_v4().to_string()])
}

/// Numbers have 20 digits, so that the order of names is the order of numbers.
fn digits(number: u64) -> String {
    format!("{number:020}")
}

/// The number before `ending` in the last part of a name.
fn number_before(part: &str, ending: &str) -> Option<u64> {
    let text = part.strip_suffix(ending)?;
    (text.len() == 20).then(|| text.parse().ok()).flatten()
}

/// The folder of the writers' entries.
pub fn writers() -> Path {
    Path::from("writers")
}

/// The entry of the writer that took `epoch`.
pub fn writer(epoch: u64) -> Path {
    Path::from_iter(["writers", &format!("{}.json", digits(epoch))])
}

/// The word that the writer of `epoch` has stopped.
pub fn writer_end(epoch: u64) -> Path {
    Path::from_iter(["writers", &format!("{}.ended", digits(epoch))])
}

/// The epoch in the name of a writer's entry.
pub fn writer_epoch(path: &Path) -> Option<u64> {
    number_before(path.filename()?, ".json")
}

/// The folder of the write-ahead log.
pub fn wal() -> Path {
    Path::from("wal")
}

/// The folder of one writer's log.
pub fn wal_epoch(epoch: u64) -> Path {
    Path::from_iter(["wal", &digits(epoch)])
}

/// A group of the log.
pub fn wal_object(epoch: u64, number: u64) -> Path {
    Path::from_iter(["wal", &digits(epoch), &format!("{}.wal", digits(number))])
}

/// Epoch and number in the name of a group.
pub fn wal_place(path: &Path) -> Option<(u64, u64)> {
    let mut parts = path.prefix_match(&wal())?;
    let epoch = number_before(parts.next()?.as_ref(), "")?;
    let number = number_before(parts.next()?.as_ref(), ".wal")?;
    parts.next().is_none().then_some((epoch, number))
}

/// The folder of event ids.
pub fn event_ids() -> Path {
    Path::from("event-ids")
}

/// A new object for ids of an hour since 1970.
pub fn new_event_ids(hour: u32) -> Path {
    let name = format!("{}.ids", uuid::Uuid::new_v4());
    Path::from_iter(["event-ids".to_owned(), digits(u64::from(hour)), name])
}

/// The hour in the name of an object of ids.
pub fn event_ids_hour(path: &Path) -> Option<u32> {
    let mut parts = path.prefix_match(&event_ids())?;
    let hour = number_before(parts.next()?.as_ref(), "")?;
    let is_ids = parts.next()?.as_ref().ends_with(".ids");
    (is_ids && parts.next().is_none())
        .then(|| u32::try_from(hour).ok())
        .flatten()
}

/// The folder of all documents of the server's.
pub fn documents() -> Path {
    Path::from("server")
}

/// The folder of the versions of a document of the server's.
pub fn document(name: &str) -> Path {
    Path::from_iter(["server", name])
}

/// One version of a document.
pub fn document_version(name: &str, version: u64) -> Path {
    Path::from_iter(["server", name, &format!("{}.json", digits(version))])
}

/// The version in a document's name.
pub fn version_of_document(path: &Path) -> Option<u64> {
    number_before(path.filename()?, ".json")
}
