//! `tally serve`: opens everything, serves until a signal, and closes in order.

use super::output::{is_terminal, say, say_error};
use super::{Context, Failed, Outcome, operate, project, runtime, wiring};
use crate::app::{self, App, SharedApp};
use crate::auth::secrets::SECRET_BYTES_RECOMMENDED;
use crate::config::Settings;
use crate::limits;
use crate::listen;
use crate::starting::Gate;
use engine::clock::SystemClock;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

/// Time from a start for which the store does not answer to the next, which doubles up to the longest.
const STORE_WAIT_FIRST: Duration = Duration::from_secs(1);
const STORE_WAIT_MAX: Duration = Duration::from_secs(30);

/// Serves.
pub(super) fn run(context: &Context) -> Outcome {
    crate::log::start(&context.settings);
    warn_about(context);
    runtime()?.block_on(serve(context))
}

async fn serve(context: &Context) -> Outcome {
    let settings = &context.settings;
    let listener = bind(settings.listen).await?;
    let stop = on_signals()?;
    let gate = Gate::new(&SystemClock);
    let opening = open(settings, gate.clone(), stop.clone());
    serve_while_opening(listener, settings, stop, &gate, opening).await
}

/// Opens the application. While a remote store does not answer it is tried again, because a server that ends then has to
/// be started by somebody. `None`: it was told to stop meanwhile.
async fn open_when_the_store_answers(
    settings: &Settings,
    gate: &Gate,
    mut stop: watch::Receiver<bool>,
) -> Result<Option<SharedApp>, Failed> {
    let is_remote = !settings.store_url()?.starts_with("file:");
    let mut wait = STORE_WAIT_FIRST;
    loop {
        let error = match App::open(settings.clone(), Arc::new(SystemClock)).await {
            Ok(app) => return Ok(Some(app)),
            Err(error) if is_remote && error.is_store_silent() => error,
            Err(error) => return Err(error.into()),
        };
        tracing::error!(%error, wait_s = wait.as_secs(), "the object store does not answer; the start is tried again");
        gate.tell(
            "starting: the object store does not answer; it is tried again",
            &SystemClock,
        );
        let is_told = stop.wait_for(|stop| *stop);
        if tokio::time::timeout(wait, is_told).await.is_ok() {
            return Ok(None);
        }
        wait = (wait * 2).min(STORE_WAIT_MAX);
    }
}

/// Opens everything, and prints what an operator needs.
async fn open(settings: &Settings, gate: Gate, stop: watch::Receiver<bool>) -> Result<Option<SharedApp>, Failed> {
    let Some(app) = open_when_the_store_answers(settings, &gate, stop).await? else {
        return Ok(None);
    };
    let is_first_start = app.projects.list().is_empty() && !app.settings.read_only;
    if is_first_start {
        project::make_first(&app.projects)?;
        if let Some(kept) = &app.kept {
            kept.sync().await?;
        }
        say(&wiring::sheet(
            &app.settings,
            &app.projects.list(),
            &app.secrets,
            is_terminal(),
        ));
    } else {
        say(&summary(&app));
    }
    Ok(Some(app))
}

/// Serves on a bound listener until `stop`, then closes the engine.
pub(super) async fn until_stopped(listener: TcpListener, app: SharedApp, stop: watch::Receiver<bool>) -> Outcome {
    let settings = app.settings.clone();
    serve_while_opening(listener, &settings, stop, &Gate::new(&SystemClock), async {
        Ok(Some(app))
    })
    .await
}

/// Serves at once: until `opening` is done only that the server lives and is not ready yet.
async fn serve_while_opening(
    listener: TcpListener,
    settings: &Settings,
    stop: watch::Receiver<bool>,
    gate: &Gate,
    opening: impl Future<Output = Result<Option<SharedApp>, Failed>>,
) -> Outcome {
    let options = listen::Options {
        trusted_proxies: settings.trusted_proxies.clone(),
        drain: Duration::from_secs(settings.shutdown_seconds),
        deadlines: listen::Deadlines::default(),
    };
    let address = listener.local_addr()?;
    let serving = tokio::spawn(listen::serve(listener, gate.router(), options, stop));
    let app = match opening.await {
        Ok(Some(app)) => app,
        Ok(None) => {
            tracing::info!("stopped before the object store answered");
            return Ok(());
        }
        Err(failed) => {
            serving.abort();
            return Err(failed);
        }
    };
    let _announced = operate::announce(&app.settings.data_dir, address)?;
    gate.open(app::router(Arc::clone(&app)));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        listen = %app.settings.listen,
        data_dir = %app.settings.data_dir.display(),
        "ready"
    );
    if let Err(error) = serving.await {
        tracing::error!(%error, "the accept loop ended with a panic");
    }
    tracing::info!("stopping: writing what is buffered");
    app.engine.close().await?;
    tracing::info!("stopped");
    Ok(())
}

/// As the library binds, with room for more connections that wait to be accepted: a thousand that come at once fill its own.
fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // Without it a restart would have to wait for the old connections' ends.
    if cfg!(unix) {
        socket.set_reuseaddr(true)?;
    }
    socket.bind(address)?;
    socket.listen(limits::ACCEPT_BACKLOG)
}

/// Takes the port before anything else is done, so that a taken one costs nothing.
pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener, Failed> {
    listen_at(address).map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => {
                let next = address.port().checked_add(1).unwrap_or(4000);
                format!(
                    ": another program uses it, perhaps another `tally`. Stop that one, or choose another address: \
                     --listen {}",
                    SocketAddr::new(address.ip(), next)
                )
            }
            io::ErrorKind::PermissionDenied => ": ports below 1024 need the right to do so".to_owned(),
            io::ErrorKind::AddrNotAvailable => ": this machine has no such address".to_owned(),
            _ => format!(": {error}"),
        };
        Failed::Message(format!("cannot listen on {address}{advice}"))
    })
}

/// Turns true at the first SIGINT or SIGTERM; the second ends the process at once.
pub(super) fn on_signals() -> io::Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    let mut signals = Signals::new()?;
    tokio::spawn(async move {
        signals.next().await;
        // The receiver may be gone when the server ended by itself.
        let _ = sender.send(true);
        signals.next().await;
        say_error("second signal: stopping at once. What was acknowledged is safe and is read at the next start.");
        std::process::exit(130);
    });
    Ok(receiver)
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        // Without the handler there is nothing to wait for but the end.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What an operator should know before it matters.
pub(super) fn warn_about(context: &Context) {
    for name in context.layers.unknown_env() {
        tracing::warn!("${name} is set but is no setting; `tally config` lists all");
    }
    if let Some(secret) = &context.settings.api_secret
        && secret.expose().len() < SECRET_BYTES_RECOMMENDED
    {
        tracing::warn!(
            "api_secret has only {} bytes: whoever sees a token can guess it; use at least {SECRET_BYTES_RECOMMENDED}",
            secret.expose().len()
        );
    }
}

/// The lines of every start but the first.
fn summary(app: &App) -> String {
    let Settings { data_dir, .. } = &app.settings;
    let projects = app.projects.list();
    format!(
        "Tally {} at {}\n  data      {}\n  projects  {}\n  keys, snippets and GitLab's settings: {} wiring{}",
        env!("CARGO_PKG_VERSION"),
        app.settings.base_url(),
        data_dir.display(),
        projects
            .iter()
            .map(|project| project.id.as_str())
            .collect::<Vec<_>>()
            .join(", "),
        super::output::program(),
        wiring::data_dir_flag(&app.settings),
    )
}
