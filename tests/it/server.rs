//! A server in this process: its own folder, runtime, port, projects and clock.

use crate::support::client::Client;
use crate::support::{SECRET, write_projects};
use engine::clock::{Clock, SystemClock};
use engine::{ProjectId, ProjectStats};
use server::app::{self, App, SharedApp};
use server::config::{Secret, Settings};
use server::listen::{self, Deadlines};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How a test wants its server.
pub struct Wanted {
    /// The settings; folder, port and secret are filled in.
    pub settings: Settings,
    /// Time that clients get.
    pub deadlines: Deadlines,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl Default for Wanted {
    fn default() -> Self {
        let settings = Settings {
            memory_bytes: 256 * 1024 * 1024,
            query_threads: 2,
            ..Settings::default()
        };
        Self {
            settings,
            deadlines: Deadlines::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

impl Wanted {
    /// A server that flushes after this many rows or milliseconds.
    pub fn flushing(rows: usize, interval_ms: u64) -> Self {
        let mut wanted = Self::default();
        wanted.settings.flush_rows_max = rows;
        wanted.settings.flush_interval_ms = interval_ms;
        wanted
    }
}

/// A running server. Dropping it stops it without ceremony, as a crash would.
pub struct Server {
    folder: Option<TempDir>,
    path: PathBuf,
    runtime: Runtime,
    app: SharedApp,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: Option<JoinHandle<()>>,
}

impl Server {
    /// A server with the defaults.
    pub fn start() -> Self {
        Self::start_with(Wanted::default())
    }

    /// A server as wanted, on a new folder.
    pub fn start_with(wanted: Wanted) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_projects(&folder.path().join("data"));
        let mut server = Self::start_in(folder.path(), wanted);
        server.folder = Some(folder);
        server
    }

    /// A server on a folder that another server has used.
    pub fn start_in(path: &Path, wanted: Wanted) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let settings = Settings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            data_dir: path.join("data"),
            models_dir: Some(path.join("models")),
            api_secret: Some(Secret::new(SECRET)),
            ..wanted.settings
        };
        let (app, listener) = runtime.block_on(async {
            let app = App::open(settings, wanted.clock).await.unwrap();
            (app, TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap())
        });
        let address = listener.local_addr().unwrap();
        let options = listen::Options {
            trusted_proxies: app.settings.trusted_proxies.clone(),
            drain: Duration::from_secs(5),
            deadlines: wanted.deadlines,
        };
        let (stop, stopped) = watch::channel(false);
        let serving = runtime.spawn(listen::serve(listener, app::router(Arc::clone(&app)), options, stopped));
        Self {
            folder: None,
            path: path.to_owned(),
            runtime,
            app,
            address,
            stop,
            serving: Some(serving),
        }
    }

    /// A client.
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The folder of models and funnels.
    pub fn models_dir(&self) -> PathBuf {
        self.path.join("models")
    }

    /// Puts everything buffered into the tables.
    pub fn flush(&self) {
        self.runtime.block_on(self.app.engine.flush()).unwrap();
    }

    /// Counts of a project since the start.
    pub fn stats(&self, project: &str) -> ProjectStats {
        self.app.engine.stats(&ProjectId::new(project).unwrap())
    }

    /// What is wrong with a project's model files, one `file:line: message` each.
    pub fn model_problems(&self, project: &str) -> Vec<String> {
        let problems = self.app.engine.model_problems(&ProjectId::new(project).unwrap());
        problems.iter().map(ToString::to_string).collect()
    }

    /// Stops as SIGTERM does, and starts again on the same folder.
    pub fn restart(mut self, wanted: Wanted) -> Self {
        let folder = self.folder.take();
        let path = self.path.clone();
        self.close();
        let mut server = Self::start_in(&path, wanted);
        server.folder = folder;
        server
    }

    /// Stops as SIGTERM does.
    fn close(mut self) {
        self.stop.send(true).unwrap();
        let serving = self.serving.take().unwrap();
        self.runtime.block_on(async {
            serving.await.unwrap();
            self.app.engine.close().await.unwrap();
        });
        let Self { runtime, app, .. } = self;
        drop(app);
        runtime.shutdown_timeout(Duration::from_secs(5));
    }
}
