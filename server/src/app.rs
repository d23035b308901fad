//! The application: the state that every route shares, and the routes put together.

use crate::auth::context::ContextRules;
use crate::auth::jwks::{HttpFetch, Jwks};
use crate::auth::jwt::{KeySource, TokenRules, Verifier};
use crate::auth::{Kept, Project, Projects, Retention, Secrets};
use crate::config::{Settings, Wal};
use crate::cube::cache::Answers;
use crate::cube::graphql::Schemas;
use crate::cube::socket::{self, Sockets};
use crate::data_format;
use crate::error::Failure;
use crate::ingest::enrich::Enricher;
use crate::restoring::refuse_unfinished;
use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use engine::clock::Clock;
use engine::ingest::LifeOptions;
use engine::{Engine, EngineOptions, Mode};
use std::sync::Arc;
use std::time::Duration;

/// Time between two looks at the projects' rules.
const PROJECTS_LOOK: Duration = Duration::from_secs(5);

/// What every route can reach. One for the whole life of the server.
#[derive(Debug)]
pub struct App {
    /// Events in, answers out.
    pub engine: Arc<Engine>,
    /// The settings as they were at start.
    pub settings: Settings,
    /// Projects and write keys.
    pub projects: Projects,
    /// Their mirror in the store, when the data folder may be lost.
    pub kept: Option<Arc<Kept>>,
    /// Secrets of tokens and of anonymous ids.
    pub secrets: Secrets,
    /// Checks the tokens of queries.
    pub tokens: Verifier,
    /// Answers that are still right, and the queries in flight.
    pub answers: Answers,
    /// The GraphQL schemas of the models.
    pub schemas: Schemas,
    /// How many WebSocket connections and subscriptions are open.
    pub sockets: Arc<Sockets>,
    /// What ingest keeps between requests.
    pub enricher: Enricher,
}

/// The state of the routers.
pub type SharedApp = Arc<App>;

impl App {
    /// Opens the engine, the secrets and the projects that the settings name; folders that are missing are made.
    ///
    /// # Errors
    /// When a folder or file cannot be used, or another process uses the data folder. The message names it.
    pub async fn open(settings: Settings, clock: Arc<dyn Clock>) -> engine::Result<SharedApp> {
        refuse_unfinished(&settings.data_dir)?;
        Self::open_unfinished(settings, clock).await
    }

    /// As [`App::open`], also where a restore has not ended: for the restore itself.
    ///
    /// # Errors
    /// As [`App::open`].
    pub async fn open_unfinished(settings: Settings, clock: Arc<dyn Clock>) -> engine::Result<SharedApp> {
        make_folder(&settings.data_dir)?;
        make_folder(&settings.models_dir())?;
        data_format::check(&settings.data_dir)?;
        let kept = Kept::open(&settings).await?;
        let engine = Engine::open(engine_options(&settings, clock)?).await?;
        if let Some(kept) = &kept {
            kept.spawn();
        }
        Self::with_engine(settings, engine, kept)
    }

    /// An application around an engine that is open already.
    ///
    /// # Errors
    /// When the secrets or the projects cannot be read from the data folder, or the keys of tokens cannot be used.
    pub fn with_engine(settings: Settings, engine: Arc<Engine>, kept: Option<Arc<Kept>>) -> engine::Result<SharedApp> {
        let secrets = Secrets::open(&settings)?;
        let projects = Projects::open(&settings.data_dir)?;
        let tokens = Verifier::new(token_rules(&settings, &secrets)?)?;
        let app = Arc::new(App {
            answers: Answers::new(
                settings.memory_bytes,
                Duration::from_millis(settings.continue_wait_ms),
                Arc::clone(engine.metrics()),
            ),
            schemas: Schemas::default(),
            sockets: Sockets::new(Arc::clone(engine.metrics())),
            engine,
            settings,
            projects,
            kept,
            secrets,
            tokens,
            enricher: Enricher::new()?,
        });
        app.apply_life();
        app.watch_projects();
        Ok(app)
    }

    /// Tells the engine how long data is kept, as the settings and the projects say now.
    pub fn apply_life(&self) {
        let own = |project: Project| {
            let days = match project.retention? {
                Retention::Forever => None,
                Retention::Days(days) => Some(days),
            };
            Some((project.id, days))
        };
        self.engine.set_life(LifeOptions {
            retention_days: self.settings.retention_days,
            retention_days_of: self.projects.list().into_iter().filter_map(own).collect(),
            history_ms: u64::from(self.settings.history_hours) * 3_600_000,
        });
    }

    /// Looks now and then whether the projects' rules have changed, until the application is gone.
    fn watch_projects(self: &Arc<Self>) {
        let app = Arc::downgrade(self);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                loop {
                    tokio::time::sleep(PROJECTS_LOOK).await;
                    let Some(app) = app.upgrade() else { return };
                    app.apply_life();
                }
            });
        }
    }

    /// The source of time.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        self.engine.clock()
    }
}

fn token_rules(settings: &Settings, secrets: &Secrets) -> engine::Result<TokenRules> {
    let names = settings.project_claim.split(',').map(|name| name.trim().to_owned());
    Ok(TokenRules {
        keys: key_source(settings, secrets)?,
        algorithms: settings.jwt_algs.clone(),
        audiences: settings.jwt_audience.clone(),
        issuers: settings.jwt_issuer.clone(),
        subject: settings.jwt_subject.clone(),
        require_exp: settings.jwt_require_exp,
        context: ContextRules {
            project: names.filter(|name| !name.is_empty()).collect(),
            namespace: settings.jwt_claims_namespace.clone(),
            groups: settings.groups_claim.clone(),
            roles: settings.roles_claim.clone(),
            scopes: settings.api_scopes.clone(),
            scopes_claim: settings.scopes_claim.clone(),
            ..ContextRules::default()
        },
    })
}

/// What verifies tokens: a provider's keys, else a key of its own, else the server's secrets, as in Cube.
fn key_source(settings: &Settings, secrets: &Secrets) -> engine::Result<KeySource> {
    if let Some(url) = &settings.jwk_url {
        let jwks = Arc::new(Jwks::new(Box::new(HttpFetch::new(url)?), settings.jwt_algs.clone()));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let jwks = Arc::clone(&jwks);
            runtime.spawn(async move { jwks.prefetch().await });
        }
        return Ok(KeySource::Provider(jwks));
    }
    Ok(match &settings.jwt_key {
        Some(key) if key.expose().trim_start().starts_with("-----BEGIN") => KeySource::Pem(key.expose().to_owned()),
        Some(key) => KeySource::Secrets(vec![key.expose().as_bytes().to_vec()]),
        None => KeySource::Secrets(
            secrets
                .verifying()
                .map(|secret| secret.expose().as_bytes().to_vec())
                .collect(),
        ),
    })
}

/// All routes.
pub fn router(app: SharedApp) -> Router {
    Router::new()
        .merge(crate::admin::router())
        .merge(crate::cube::router(&app.settings.base_path))
        .merge(crate::ingest::router())
        .fallback(not_found)
        // A WebSocket may be asked for under any path, as by Cube.
        .layer(from_fn_with_state(Arc::clone(&app), socket::accept))
        .with_state(app)
}

async fn not_found(method: Method, uri: Uri) -> Failure {
    Failure::new(StatusCode::NOT_FOUND, format!("Cannot {method} {}", uri.path()))
}

/// The engine's options as the settings have them.
fn engine_options(settings: &Settings, clock: Arc<dyn Clock>) -> engine::Result<EngineOptions> {
    let store_options = settings.store_options.iter();
    Ok(EngineOptions {
        store_url: settings.store_url()?,
        store_options: store_options
            .map(|(key, value)| (key.clone(), value.expose().to_owned()))
            .collect(),
        mode: mode(settings),
        instance: settings.instance(),
        data_dir: settings.data_dir.clone(),
        models_dir: Some(settings.models_dir()),
        memory_bytes: settings.memory_bytes,
        flush_interval_ms: settings.flush_interval_ms,
        flush_rows_max: settings.flush_rows_max,
        flush_bytes_max: settings.flush_bytes_max,
        cache: settings.cache_dir.clone().map(|folder| engine::DiskOptions {
            folder,
            bytes_max: settings.cache_bytes,
        }),
        disk_reserve: settings.disk_reserve,
        sessions_padding: settings.sessions_padding,
        query_threads: settings.query_threads,
        query_timeout: settings.query_timeout,
        clock,
    })
}

fn mode(settings: &Settings) -> Mode {
    if settings.read_only {
        return Mode::ReadOnly {
            poll_interval_ms: settings.follow_interval_ms,
        };
    }
    match settings.wal {
        Wal::Local => Mode::LocalWal,
        Wal::Store => Mode::StoreWal {
            group_interval_ms: settings.wal_interval_ms,
        },
    }
}

/// Makes a folder with all above it, unless it is there.
///
/// # Errors
/// `Storage` when it cannot be made; the message names it.
pub(crate) fn make_folder(folder: &std::path::Path) -> engine::Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| {
        let text = format!("cannot make the folder {}: {error}", folder.display());
        engine::Error::storage(text).with_source(error)
    })
}
