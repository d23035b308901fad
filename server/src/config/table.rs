//! The one table of settings.

use super::parse::{
    base_path, days, disk_reserve, flag, http_url, list, memory, non_empty, number, optional, pairs, positive,
    query_timeout, size, socket_address, store_url,
};
use super::{LogFormat, Secret, Settings, Wal};
use crate::auth::Scope;
use engine::ingest::DiskReserve;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// One setting: its names, its default, what it means and how its text becomes a value.
pub struct Setting {
    /// Key in `tally.yml`. The flag is the same with dashes: `--data-dir`.
    pub key: &'static str,
    /// Environment variables, the first that is set wins. The first is ours, the others are those of Cube.
    pub env: &'static [&'static str],
    /// The default as a user would write it; empty when there is none.
    pub default: &'static str,
    /// What stands for the value in the help: `<ADDRESS>`.
    pub value_name: &'static str,
    /// What it means, in a sentence or two.
    pub help: &'static str,
    /// Whether its value is masked wherever it is printed.
    pub secret: bool,
    /// Reads the text into its field; the message says what is allowed.
    pub(super) apply: fn(&mut Settings, &str) -> Result<(), String>,
}

impl Setting {
    /// The setting of this key.
    pub fn find(key: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }

    /// Its flag without the dashes in front: `data-dir`.
    pub fn flag(&self) -> String {
        self.key.replace('_', "-")
    }
}

impl Settings {
    /// Settings before any layer is applied; [`Settings::default`] fills every field from the table.
    pub(super) fn blank() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 4000)),
            public_url: None,
            data_dir: PathBuf::new(),
            store: None,
            store_options: Vec::new(),
            wal: Wal::Local,
            wal_interval_ms: 0,
            read_only: false,
            follow_interval_ms: 0,
            models_dir: None,
            api_secret: None,
            api_secrets_previous: Vec::new(),
            project_claim: String::new(),
            jwt_key: None,
            jwk_url: None,
            jwt_algs: Vec::new(),
            jwt_issuer: Vec::new(),
            jwt_audience: Vec::new(),
            jwt_subject: None,
            jwt_require_exp: false,
            jwt_claims_namespace: None,
            groups_claim: String::new(),
            roles_claim: String::new(),
            api_scopes: Vec::new(),
            scopes_claim: None,
            base_path: String::new(),
            disk_reserve: DiskReserve::Bytes(0),
            memory_bytes: 0,
            cache_dir: None,
            cache_bytes: 0,
            flush_interval_ms: 0,
            flush_rows_max: 0,
            flush_bytes_max: 0,
            retention_days: None,
            history_hours: 0,
            query_threads: 1,
            query_timeout: engine::limits::QUERY_TIMEOUT_DEFAULT,
            continue_wait_ms: 0,
            query_limit_rows_default: 0,
            query_limit_rows_max: 0,
            request_bytes_max: 0,
            web_sockets: false,
            trusted_proxies: Vec::new(),
            timezone: chrono_tz::UTC,
            sessions_padding: false,
            shutdown_seconds: 0,
            log: String::new(),
            log_format: LogFormat::Text,
            log_file: None,
            log_file_bytes: 0,
        }
    }
}

/// A row of the table: key, environment, default, value name, help, secret, parser.
macro_rules! settings {
    ($($key:literal, [$($env:literal),+], $default:literal, $value:literal, $secret:literal, $help:literal, $apply:expr;)*) => {
        /// Every setting, in the order `tally config` shows them.
        pub static SETTINGS: &[Setting] = &[$(Setting {
            key: $key, env: &[$($env),+], default: $default, value_name: $value, secret: $secret, help: $help,
            apply: $apply,
        },)*];
    };
}

settings! {
    "listen", ["TALLY_LISTEN"], "127.0.0.1:4000", "ADDRESS", false,
    "Address and port to listen on. `0.0.0.0:4000` accepts other machines; put a TLS proxy in front of that.",
    |s, v| { s.listen = socket_address(v)?; Ok(()) };

    "public_url", ["TALLY_PUBLIC_URL"], "", "URL", false,
    "Address under which SDKs, GitLab and Cube clients reach this server. Only used in what `tally` prints.",
    |s, v| { s.public_url = optional(v).map(|v| v.trim_end_matches('/').to_owned()); Ok(()) };

    "data_dir", ["TALLY_DATA_DIR"], "./tally-data", "FOLDER", false,
    "Folder of the write-ahead log, the secret, the projects and, unless set otherwise, the events and the models.",
    |s, v| { s.data_dir = PathBuf::from(non_empty(v)?); Ok(()) };

    "store", ["TALLY_STORE"], "", "URL", false,
    "Where the event tables are kept: `file:///path`, `s3://bucket/prefix`, `gs://…`, `az://…` or `memory:`. Without it: the folder `store` in `data_dir`.",
    |s, v| { s.store = optional(v).map(store_url).transpose()?; Ok(()) };

    "store_options", ["TALLY_STORE_OPTIONS"], "", "KEY=VALUE,…", true,
    "Options of the object store, such as `aws_region=eu-central-1`. Variables that begin with AWS_, GOOGLE_ or AZURE_ are read as well and give way to these.",
    |s, v| { s.store_options = pairs(v)?; Ok(()) };

    "wal", ["TALLY_WAL"], "local", "PLACE", false,
    "Where the write-ahead log is kept: `local` in `data_dir`, or `store`. With `store` an event is acknowledged when it is in the object store, and `data_dir` may be lost at any time: projects, secret and salt are kept in the store too.",
    |s, v| {
        s.wal = match v {
            "local" => Wal::Local,
            "store" => Wal::Store,
            _ => return Err("write `local` or `store`".to_owned()),
        };
        Ok(())
    };

    "wal_interval_ms", ["TALLY_WAL_INTERVAL_MS"], "250", "MILLISECONDS", false,
    "With `wal: store`: least time between two groups of events, each of which is one request to the store. An idle server does not wait; a busy one acknowledges after up to this time and the store's own.",
    |s, v| { s.wal_interval_ms = number(v)?; Ok(()) };

    "read_only", ["TALLY_READ_ONLY"], "false", "BOOL", false,
    "Whether this server is a follower: it answers queries from what another server has committed to the same store, and takes no events.",
    |s, v| { s.read_only = flag(v)?; Ok(()) };

    "follow_interval_ms", ["TALLY_FOLLOW_INTERVAL_MS"], "1000", "MILLISECONDS", false,
    "With `read_only`: time between two looks for new commits, two small requests to the store for each project that is asked for, and four at every tenth look.",
    |s, v| { s.follow_interval_ms = positive(v)?; Ok(()) };

    "models_dir", ["TALLY_MODELS_DIR", "CUBEJS_SCHEMA_PATH"], "", "FOLDER", false,
    "Folder of your cubes and funnels (`*.yml`, `*.yaml`), read again when a file changes. Without it: the folder `models` in `data_dir`.",
    |s, v| { s.models_dir = optional(v).map(PathBuf::from); Ok(()) };

    "api_secret", ["TALLY_API_SECRET", "CUBEJS_API_SECRET"], "", "SECRET", true,
    "Secret that signs and verifies tokens: the `Cube API key` of GitLab. Without it: the file `secret` in `data_dir`, made at the first start.",
    |s, v| { s.api_secret = optional(v).map(Secret::new); Ok(()) };

    "api_secrets_previous", ["TALLY_API_SECRETS_PREVIOUS", "CUBEJS_API_SECRETS"], "", "SECRET,…", true,
    "Secrets that tokens are still accepted with while clients move to a new `api_secret`.",
    |s, v| { s.api_secrets_previous = list(v, |item| Ok(Secret::new(item)))?; Ok(()) };

    "project_claim", ["TALLY_PROJECT_CLAIM"], "appId", "CLAIM", false,
    "Claim of a token that names the project; several, with commas between, are tried in order. GitLab sends `appId`. A token without any of them acts for the only project, and is refused when there are several.",
    |s, v| { s.project_claim = non_empty(v)?.to_owned(); Ok(()) };

    "jwt_key", ["TALLY_JWT_KEY", "CUBEJS_JWT_KEY"], "", "KEY", true,
    "Secret, or public key in PEM, that verifies tokens in the place of `api_secret`: for tokens that another system signs.",
    |s, v| { s.jwt_key = optional(v).map(Secret::new); Ok(()) };

    "jwk_url", ["TALLY_JWK_URL", "CUBEJS_JWK_URL"], "", "URL", false,
    "Key set of an identity provider, such as `https://example.com/.well-known/jwks.json`: tokens are verified with its keys and with nothing else. The only address besides the store that the server asks; tokens cannot name another.",
    |s, v| { s.jwk_url = optional(v).map(http_url).transpose()?; Ok(()) };

    "jwt_algs", ["TALLY_JWT_ALGS", "CUBEJS_JWT_ALGS"], "", "ALGORITHM,…", false,
    "Algorithms that tokens may be signed with, such as `RS256`. Without it: all that fit the key.",
    |s, v| {
        s.jwt_algs = list(v, |item| item.parse().map_err(|_| "write algorithms such as `HS256`, `RS256` or `ES256`".to_owned()))?;
        Ok(())
    };

    "jwt_issuer", ["TALLY_JWT_ISSUER", "CUBEJS_JWT_ISSUER"], "", "ISSUER,…", false,
    "Accepted values of the claim `iss`. Without it: any, and none.",
    |s, v| { s.jwt_issuer = list(v, |item| Ok(item.to_owned()))?; Ok(()) };

    "jwt_audience", ["TALLY_JWT_AUDIENCE", "CUBEJS_JWT_AUDIENCE"], "", "AUDIENCE,…", false,
    "Accepted values of the claim `aud`. Without it: any, and none.",
    |s, v| { s.jwt_audience = list(v, |item| Ok(item.to_owned()))?; Ok(()) };

    "jwt_subject", ["TALLY_JWT_SUBJECT", "CUBEJS_JWT_SUBJECT"], "", "SUBJECT", false,
    "Required value of the claim `sub`. Without it: any, and none.",
    |s, v| { s.jwt_subject = optional(v).map(str::to_owned); Ok(()) };

    "jwt_require_exp", ["TALLY_JWT_REQUIRE_EXP"], "false", "BOOL", false,
    "Whether tokens without the claim `exp` are refused. Cube's clients often send none.",
    |s, v| { s.jwt_require_exp = flag(v)?; Ok(()) };

    "jwt_claims_namespace", ["TALLY_JWT_CLAIMS_NAMESPACE", "CUBEJS_JWT_CLAIMS_NAMESPACE"], "", "CLAIM", false,
    "Claim that holds the security context, as some providers put theirs under a URL. Without it: all claims are the context.",
    |s, v| { s.jwt_claims_namespace = optional(v).map(str::to_owned); Ok(()) };

    "groups_claim", ["TALLY_GROUPS_CLAIM"], "groups", "CLAIM", false,
    "Claim of the security context that lists the groups which access policies name; dots lead into nested claims.",
    |s, v| { s.groups_claim = non_empty(v)?.to_owned(); Ok(()) };

    "roles_claim", ["TALLY_ROLES_CLAIM"], "roles", "CLAIM", false,
    "Claim of the security context that lists the roles which access policies name.",
    |s, v| { s.roles_claim = non_empty(v)?.to_owned(); Ok(()) };

    "api_scopes", ["TALLY_API_SCOPES", "CUBEJS_DEFAULT_API_SCOPES"], "graphql,meta,data,sql", "SCOPE,…", false,
    "What tokens may be used for: `graphql`, `meta`, `data`, `sql`, `jobs`.",
    |s, v| {
        s.api_scopes = list(v, |item| Scope::from_name(item).ok_or_else(|| "write scopes: `graphql`, `meta`, `data`, `sql`, `jobs`".to_owned()))?;
        Ok(())
    };

    "scopes_claim", ["TALLY_SCOPES_CLAIM"], "", "CLAIM", false,
    "Claim that lists a token's own scopes, such as `scope`; a token without it has those of `api_scopes`.",
    |s, v| { s.scopes_claim = optional(v).map(str::to_owned); Ok(()) };

    "base_path", ["TALLY_BASE_PATH", "CUBEJS_BASE_PATH"], "/cubejs-api", "PATH", false,
    "Path in front of `/v1/load` and the other Cube routes.",
    |s, v| { s.base_path = base_path(v)?; Ok(()) };

    "memory", ["TALLY_MEMORY"], "25%", "SIZE", false,
    "Memory budget of the engine: a size (`512MB`, `2GiB`) or a share of the machine's memory, a container's limit included. A share gives at least 256 MiB and at most 8 GiB.",
    |s, v| { s.memory_bytes = memory(v)?; Ok(()) };

    "cache_dir", ["TALLY_CACHE_DIR"], "", "FOLDER", false,
    "Folder on a fast local disk for parts of files that queries read from a remote store, beside those kept in memory. It may be deleted at any time. Without it: in memory only.",
    |s, v| { s.cache_dir = optional(v).map(PathBuf::from); Ok(()) };

    "cache_bytes", ["TALLY_CACHE_BYTES"], "10GiB", "SIZE", false,
    "Bytes that `cache_dir` may hold.",
    |s, v| { s.cache_bytes = size(v)? as u64; Ok(()) };

    "disk_reserve", ["TALLY_DISK_RESERVE"], "5%", "SIZE", false,
    "Free space of the disk of `data_dir` below which events are refused with 503 until there is more: a share of the disk (`5%`, at most 1 GiB) or a size (`2GiB`); `0` for none. Queries go on.",
    |s, v| { s.disk_reserve = disk_reserve(v)?; Ok(()) };

    "flush_interval_ms", ["TALLY_FLUSH_INTERVAL_MS"], "30000", "MILLISECONDS", false,
    "Time after which waiting events are written as Parquet. They are on disk before they are acknowledged and in answers at once, whatever this says. Where hundreds of projects are quiet, their few events wait longer, up to 120 times this, so that they do not become as many small files.",
    |s, v| { s.flush_interval_ms = positive(v)?; Ok(()) };

    "flush_rows_max", ["TALLY_FLUSH_ROWS_MAX"], "200000", "ROWS", false,
    "Rows waiting that start a flush early.",
    |s, v| { s.flush_rows_max = positive(v)?; Ok(()) };

    "flush_bytes_max", ["TALLY_FLUSH_BYTES_MAX"], "64MiB", "SIZE", false,
    "Bytes waiting that start a flush early.",
    |s, v| { s.flush_bytes_max = size(v)?; Ok(()) };

    "retention_days", ["TALLY_RETENTION_DAYS"], "", "DAYS", false,
    "Days that events and rejected events are kept; older days are deleted, and older events not taken in. Without it: for ever. `tally project set` gives a project a rule of its own.",
    |s, v| { s.retention_days = optional(v).map(days).transpose()?; Ok(()) };

    "history_hours", ["TALLY_HISTORY_HOURS"], "1", "HOURS", false,
    "Hours that files stay after a merge, retention or other change took them out of a table: as long earlier states can be asked with `asOf`. At most 720.",
    |s, v| {
        s.history_hours = positive(v).ok().filter(|hours| *hours <= 720).ok_or_else(|| "write hours from 1 to 720".to_owned())?;
        Ok(())
    };

    "query_threads", ["TALLY_QUERY_THREADS"], "auto", "THREADS", false,
    "Threads that answer queries; `auto` is one for each core.",
    |s, v| {
        s.query_threads = match v {
            "auto" => std::thread::available_parallelism().map_or(1, usize::from),
            v => positive(v)?,
        };
        Ok(())
    };

    "query_timeout", ["TALLY_QUERY_TIMEOUT", "CUBEJS_DB_QUERY_TIMEOUT"], "60s", "TIME", false,
    "Time that a query has, its waiting for other queries included: `90s` or `10m`; a number alone means seconds. A query that takes longer is ended with 504. At most 1 hour.",
    |s, v| { s.query_timeout = query_timeout(v)?; Ok(()) };

    "continue_wait_ms", ["TALLY_CONTINUE_WAIT_MS"], "10000", "MILLISECONDS", false,
    "Time after which a client of a long query reads `Continue wait` and asks again, as Cube's clients do. Shorter than the patience of the proxies between.",
    |s, v| { s.continue_wait_ms = positive(v)?; Ok(()) };

    "query_limit_rows_default", ["TALLY_QUERY_LIMIT_ROWS_DEFAULT", "CUBEJS_DB_QUERY_DEFAULT_LIMIT"], "10000", "ROWS", false,
    "Rows of an answer whose query names no limit.",
    |s, v| { s.query_limit_rows_default = positive(v)?; Ok(()) };

    "query_limit_rows_max", ["TALLY_QUERY_LIMIT_ROWS_MAX", "CUBEJS_DB_QUERY_LIMIT"], "50000", "ROWS", false,
    "Rows of an answer at the most.",
    |s, v| { s.query_limit_rows_max = positive(v)?; Ok(()) };

    "request_bytes_max", ["TALLY_REQUEST_BYTES_MAX", "CUBEJS_MAX_REQUEST_SIZE"], "16MiB", "SIZE", false,
    "Bytes of a query's body or WebSocket message at the most. Large ones also need room in the memory budget.",
    |s, v| { s.request_bytes_max = size(v)?; Ok(()) };

    "web_sockets", ["TALLY_WEB_SOCKETS", "CUBEJS_WEB_SOCKETS"], "true", "BOOL", false,
    "Whether Cube clients may connect by WebSocket, where answers come again when their data changes.",
    |s, v| { s.web_sockets = flag(v)?; Ok(()) };

    "trusted_proxies", ["TALLY_TRUSTED_PROXIES"], "private", "NETWORK,…", false,
    "Proxies whose `X-Forwarded-For` is believed: addresses, networks (`10.0.0.0/8`), `loopback` or `private` (which includes loopback). Empty: the peer's own address counts.",
    |s, v| { s.trusted_proxies = list(v, super::IpNetwork::parse_all)?.into_iter().flatten().collect(); Ok(()) };

    "timezone", ["TALLY_TIMEZONE", "CUBEJS_DEFAULT_TIMEZONE"], "UTC", "ZONE", false,
    "Time zone of queries that name none, an IANA name such as `Europe/Berlin`.",
    |s, v| {
        s.timezone = v.parse().map_err(|_| "write an IANA name such as `UTC` or `Europe/Berlin`".to_owned())?;
        Ok(())
    };

    "sessions_padding", ["TALLY_SESSIONS_PADDING"], "false", "BOOL", false,
    "Whether a session's length includes the 30 minutes of silence that end it, as in Cube's recipe.",
    |s, v| { s.sessions_padding = flag(v)?; Ok(()) };

    "shutdown_seconds", ["TALLY_SHUTDOWN_SECONDS"], "10", "SECONDS", false,
    "Time that running requests get to end after SIGTERM or Ctrl-C. A second signal does not wait.",
    |s, v| { s.shutdown_seconds = number(v)?; Ok(()) };

    "log", ["TALLY_LOG"], "info", "FILTER", false,
    "What is logged to standard error: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,engine=debug`.",
    |s, v| {
        non_empty(v)?.parse::<tracing_subscriber::filter::Targets>().map_err(|error| error.to_string())?;
        s.log = v.to_owned();
        Ok(())
    };

    "log_format", ["TALLY_LOG_FORMAT"], "text", "FORMAT", false,
    "`text` for people, `json` for machines.",
    |s, v| {
        s.log_format = match v {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            _ => return Err("write `text` or `json`".to_owned()),
        };
        Ok(())
    };

    "log_file", ["TALLY_LOG_FILE"], "", "FILE", false,
    "File to log to instead of standard error. Four older ones are kept beside it.",
    |s, v| { s.log_file = optional(v).map(PathBuf::from); Ok(()) };

    "log_file_bytes", ["TALLY_LOG_FILE_BYTES"], "16MiB", "SIZE", false,
    "Bytes of `log_file` after which a new one is begun.",
    |s, v| { s.log_file_bytes = size(v)? as u64; Ok(()) };
}
