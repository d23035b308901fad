//! Settings: one table, read from one YAML file, the environment and flags, each layer over the one before.
//!
//! [`SETTINGS`] is the only place that names a setting. The flags of the command line, the environment variables, the
//! keys of `tally.yml`, `tally config` and the README's table are read from it.

mod layers;
mod network;
mod parse;
mod table;

#[cfg(test)]
mod tests;

pub use layers::{Layers, Origin, Problem, Resolved, SettingFlags};
pub use network::IpNetwork;
pub(crate) use parse::{days, duration};
pub use table::{SETTINGS, Setting};

use crate::auth::Scope;
use chrono_tz::Tz;
use engine::ingest::DiskReserve;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A value that must not appear in a log or an error: its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps `value`.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that signs or verifies with it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One readable line an entry.
    #[default]
    Text,
    /// One JSON object an entry.
    Json,
}

/// Where the write-ahead log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wal {
    /// In the data folder.
    #[default]
    Local,
    /// In the object store.
    Store,
}

/// All settings, parsed. Made by [`Layers::resolve`]; the meaning of each is in [`SETTINGS`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The address others reach this server under, without a slash at the end; `None`: derived from `listen`.
    pub public_url: Option<String>,
    /// Folder of the write-ahead log, the secret, the projects and, by default, the store and the models.
    pub data_dir: PathBuf,
    /// Object store of the event tables; `None`: `<data_dir>/store`.
    pub store: Option<String>,
    /// Options of the object store, credentials for instance.
    pub store_options: Vec<(String, Secret)>,
    /// Where the write-ahead log is kept.
    pub wal: Wal,
    /// Least time between two groups of a log in the store.
    pub wal_interval_ms: u64,
    /// Whether this server only reads.
    pub read_only: bool,
    /// Time between two looks of a follower for new commits.
    pub follow_interval_ms: u64,
    /// Folder of the models and funnels; `None`: `<data_dir>/models`.
    pub models_dir: Option<PathBuf>,
    /// The secret that signs and verifies tokens; `None`: the file `<data_dir>/secret`.
    pub api_secret: Option<Secret>,
    /// Further secrets that tokens are still accepted with.
    pub api_secrets_previous: Vec<Secret>,
    /// The claim of a token that names the project.
    pub project_claim: String,
    /// A secret or a public key in PEM that verifies tokens in the place of `api_secret`.
    pub jwt_key: Option<Secret>,
    /// Where the identity provider publishes its keys.
    pub jwk_url: Option<String>,
    /// Algorithms that tokens may be signed with; empty: all that fit the key.
    pub jwt_algs: Vec<jsonwebtoken::Algorithm>,
    /// Accepted issuers; empty: any.
    pub jwt_issuer: Vec<String>,
    /// Accepted audiences; empty: any.
    pub jwt_audience: Vec<String>,
    /// Required subject.
    pub jwt_subject: Option<String>,
    /// Whether a token must expire.
    pub jwt_require_exp: bool,
    /// The claim that is the security context; `None`: all claims are.
    pub jwt_claims_namespace: Option<String>,
    /// The claim that lists groups for access policies.
    pub groups_claim: String,
    /// The claim that lists roles for access policies.
    pub roles_claim: String,
    /// Scopes of tokens that list none.
    pub api_scopes: Vec<Scope>,
    /// The claim that lists a token's scopes.
    pub scopes_claim: Option<String>,
    /// The path before `/v1/load` and the other Cube routes: starts with a slash, has none at the end.
    pub base_path: String,
    /// Memory budget of the engine in bytes.
    pub memory_bytes: usize,
    /// Folder for blocks of remote files; `None`: they are kept in memory only.
    pub cache_dir: Option<PathBuf>,
    /// Bytes of blocks in that folder.
    pub cache_bytes: u64,
    /// Free space of the data folder's disk below which events are refused.
    pub disk_reserve: DiskReserve,
    /// Time after which buffered events are written as Parquet; longer for quiet projects when there are many.
    pub flush_interval_ms: u64,
    /// Rows in the buffer that start a flush.
    pub flush_rows_max: usize,
    /// Bytes in the buffer that start a flush.
    pub flush_bytes_max: usize,
    /// Days that events are kept; `None`: for ever. A project may have a rule of its own.
    pub retention_days: Option<u32>,
    /// Hours that earlier states of the tables can be asked.
    pub history_hours: u32,
    /// Threads that answer queries.
    pub query_threads: usize,
    /// Time that a query has, its waiting for others included.
    pub query_timeout: Duration,
    /// Time after which a client of a long query is told to ask again, in milliseconds.
    pub continue_wait_ms: u64,
    /// Rows of an answer whose query names no limit.
    pub query_limit_rows_default: u64,
    /// Rows of an answer at the most.
    pub query_limit_rows_max: u64,
    /// Bytes of a query's body or WebSocket message at the most.
    pub request_bytes_max: usize,
    /// Whether Cube clients may connect by WebSocket.
    pub web_sockets: bool,
    /// Networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNetwork>,
    /// Time zone of queries that name none.
    pub timezone: Tz,
    /// Whether a session's length counts the 30 minutes after its last event.
    pub sessions_padding: bool,
    /// Seconds that running requests get after the signal to stop.
    pub shutdown_seconds: u64,
    /// What is logged: a level, or a filter such as `info,engine=debug`.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
    /// The file that is logged to; `None`: standard error.
    pub log_file: Option<PathBuf>,
    /// Bytes of that file before a new one is begun.
    pub log_file_bytes: u64,
}

impl Settings {
    /// The object store's URL: the setting, or the folder `store` in the data folder.
    ///
    /// # Errors
    /// When the data folder's path cannot be made absolute.
    pub fn store_url(&self) -> std::io::Result<String> {
        if let Some(url) = &self.store {
            return Ok(url.clone());
        }
        let folder = std::path::absolute(self.data_dir.join("store"))?;
        Ok(url::Url::from_directory_path(&folder)
            .map(String::from)
            .unwrap_or_else(|()| format!("file://{}", folder.display())))
    }

    /// The folder of the models: the setting, or the folder `models` in the data folder.
    pub fn models_dir(&self) -> PathBuf {
        self.models_dir.clone().unwrap_or_else(|| self.data_dir.join("models"))
    }

    /// What this process is called towards others that share its store.
    pub fn instance(&self) -> String {
        let host =
            std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::fs::read_to_string("/etc/hostname"));
        let host = host.map_or_else(|_| "a host without a name".to_owned(), |host| host.trim().to_owned());
        format!("{host}, process {}, {}", std::process::id(), self.listen)
    }

    /// Whether the process of this name may still run, as far as can be seen from here: not when it was one of this host
    /// and is gone.
    pub fn may_run(&self, instance: &str) -> bool {
        let mine = self.instance();
        let parts = |name: &str| {
            let (host, rest) = name.split_once(", process ")?;
            let (process, _) = rest.split_once(',')?;
            Some((host.to_owned(), process.to_owned()))
        };
        match (parts(instance), parts(&mine)) {
            (Some((host, process)), Some((my_host, my_process))) if host == my_host => {
                process != my_process && std::path::Path::new("/proc").join(process).exists()
            }
            _ => true,
        }
    }

    /// The address to print for others to use: the setting, or the one listened on.
    pub fn base_url(&self) -> String {
        match &self.public_url {
            Some(url) => url.clone(),
            None if self.listen.ip().is_unspecified() => format!("http://localhost:{}", self.listen.port()),
            None => format!("http://{}", self.listen),
        }
    }
}

impl Default for Settings {
    /// Every setting at the default of [`SETTINGS`].
    fn default() -> Self {
        let mut settings = Settings::blank();
        for setting in SETTINGS {
            let applied = (setting.apply)(&mut settings, setting.default);
            debug_assert!(applied.is_ok(), "default of `{}`: {applied:?}", setting.key);
        }
        settings
    }
}
