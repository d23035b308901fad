//! The application: the state that every route shares, and the routes put together.

use crate::auth::context::ProjectClaims;
use crate::auth::jwt::{TokenRules, Verifier};
use crate::auth::{Projects, Secrets};
use crate::config::Settings;
use crate::cube::cache::Answers;
use crate::error::Failure;
use crate::ingest::enrich::Enricher;
use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use engine::clock::Clock;
use engine::{Engine, EngineOptions};
use std::sync::Arc;
use std::time::Duration;

/// What every route can reach. One for the whole life of the server.
#[derive(Debug)]
pub struct App {
    /// Events in, answers out.
    pub engine: Arc<Engine>,
    /// The settings as they were at start.
    pub settings: Settings,
    /// Projects and write keys.
    pub projects: Projects,
    /// Secrets of tokens and of anonymous ids.
    pub secrets: Secrets,
    /// Checks the tokens of queries.
    pub tokens: Verifier,
    /// Answers that are still right, and the queries in flight.
    pub answers: Answers,
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
        make_folder(&settings.data_dir)?;
        make_folder(&settings.models_dir())?;
        let engine = Engine::open(engine_options(&settings, clock)?).await?;
        Self::with_engine(settings, engine)
    }

    /// An application around an engine that is open already, for tests.
    ///
    /// # Errors
    /// When the secrets or the projects cannot be read from the data folder.
    pub fn with_engine(settings: Settings, engine: Arc<Engine>) -> engine::Result<SharedApp> {
        let secrets = Secrets::open(&settings)?;
        let projects = Projects::open(&settings.data_dir)?;
        let tokens = Verifier::new(&token_rules(&settings, &secrets));
        Ok(Arc::new(App {
            answers: Answers::new(
                settings.memory_bytes,
                Duration::from_millis(settings.continue_wait_ms),
                Arc::clone(engine.metrics()),
            ),
            engine,
            settings,
            projects,
            secrets,
            tokens,
            enricher: Enricher::new()?,
        }))
    }

    /// The source of time.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        self.engine.clock()
    }
}

fn token_rules(settings: &Settings, secrets: &Secrets) -> TokenRules {
    let names = settings.project_claim.split(',').map(|name| name.trim().to_owned());
    TokenRules {
        secrets: secrets
            .verifying()
            .map(|secret| secret.expose().as_bytes().to_vec())
            .collect(),
        project: ProjectClaims {
            names: names.filter(|name| !name.is_empty()).collect(),
            ..ProjectClaims::default()
        },
        ..TokenRules::default()
    }
}

/// All routes.
pub fn router(app: SharedApp) -> Router {
    Router::new()
        .merge(crate::admin::router())
        .merge(crate::cube::router(&app.settings.base_path))
        .merge(crate::ingest::router())
        .fallback(not_found)
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
        data_dir: settings.data_dir.clone(),
        models_dir: Some(settings.models_dir()),
        memory_bytes: settings.memory_bytes,
        flush_interval_ms: settings.flush_interval_ms,
        flush_rows_max: settings.flush_rows_max,
        flush_bytes_max: settings.flush_bytes_max,
        sessions_padding: settings.sessions_padding,
        query_threads: settings.query_threads,
        clock,
    })
}

fn make_folder(folder: &std::path::Path) -> engine::Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| {
        let text = format!("cannot make the folder {}: {error}", folder.display());
        engine::Error::storage(text).with_source(error)
    })
}
