//! What an operator can have done to the data: one table of operations, each of which runs in the server when one holds
//! the data folder, and in the command itself when none does.
//!
//! A row of [`OPERATIONS`] is a route `POST /admin/v1/<name>` with parameters as a JSON object and an answer as lines of
//! JSON: any number of `{"progress": "…"}`, then one `{"result": …}` or `{"error": "…"}`. A command calls
//! `cli::operate::operate(context, "<name>", parameters)`, which finds the server or does without. So there is one
//! implementation, and to add an operation is to add a row and its function:
//!
//! ```text
//! async fn flush(job: Job) -> engine::Result<Value> {
//!     let wanted: Wanted = job.parameters()?;      // serde; unknown names are errors
//!     job.progress.tell("…");                      // optional; shown to who waits
//!     job.app.engine.flush().await?;
//!     Ok(json!({"…": …}))                          // what the command prints
//! }
//! ```
//!
//! An operation that has begun is carried through, also when the command that asked for it goes away.

mod data;
mod import;
mod life;
mod rejected;

use crate::app::SharedApp;
use crate::auth::operator;
use crate::error::{Failure, status};
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::{Error, ErrorKind};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The path before an operation's name.
pub const PREFIX: &str = "/admin/v1/";
/// Bytes of an operation's parameters.
const PARAMETERS_BYTES_MAX: usize = 1024 * 1024;
/// Time after which an answer begins although the operation still runs; what ends before has a status of its own.
const ANSWER_BEGINS: Duration = Duration::from_secs(1);
/// Time between two lines of an answer at the most: proxies and clients close what is silent.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Something an operator can have done.
pub struct Operation {
    /// Its name in the path.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// Its parameters: name and meaning.
    pub parameters: &'static [(&'static str, &'static str)],
    run: fn(Job) -> BoxFuture<'static, engine::Result<Value>>,
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Operation").field(&self.name).finish()
    }
}

/// Every operation.
pub static OPERATIONS: &[Operation] = &[
    Operation {
        name: "flush",
        summary: "Writes everything that is buffered to the tables.",
        parameters: &[],
        run: |job| data::flush(job).boxed(),
    },
    Operation {
        name: "compact",
        summary: "Merges the files of all projects that are worth merging now.",
        parameters: &[],
        run: |job| data::compact(job).boxed(),
    },
    Operation {
        name: "import",
        summary: "Reads a file of this machine into a project; one that was broken off goes on.",
        parameters: &[
            ("project", "The project's id."),
            ("file", "The file's absolute path."),
            (
                "format",
                "parquet, ndjson, csv, tsv or arrow; without it the file's ending says it.",
            ),
            ("source", "native, jitsu or snowplow; without it the columns say it."),
            (
                "columns",
                "Columns that mean something else: name in the file to column, `properties` or `ignore`.",
            ),
            (
                "again",
                "Whether to begin at the first row although the file was read before.",
            ),
        ],
        run: |job| import::import(job).boxed(),
    },
    Operation {
        name: "retention",
        summary: "Takes the days that are past their time out of the tables.",
        parameters: &[("dry_run", "Whether it is only told what would go.")],
        run: |job| life::retention(job).boxed(),
    },
    Operation {
        name: "history",
        summary: "Lists the versions of a project's events, the newest first.",
        parameters: &[
            ("project", "The project's id."),
            ("count", "Versions at the most; 20 when it is left out."),
        ],
        run: |job| life::history(job).boxed(),
    },
    Operation {
        name: "erase",
        summary: "Erases a visitor, or a stretch of time, from everything that is kept, and looks whether it is gone.",
        parameters: &[
            ("projects", "Ids of projects; all when it is left out."),
            ("visitor", "An id, in whichever column it stands."),
            ("from", "First instant, RFC 3339, in the place of a visitor."),
            ("to", "The instant after the last."),
            ("mentions", "Whether events of others that mention the id go too."),
            ("count_mentions", "Whether those are counted."),
            (
                "received_until",
                "Rows received later are told apart; now when it is left out.",
            ),
            ("dry_run", "Whether it is only told what there is."),
        ],
        run: |job| life::erase(job).boxed(),
    },
    Operation {
        name: "rejected-list",
        summary: "Counts a project's rejected events by reason, and shows the newest.",
        parameters: REJECTED,
        run: |job| rejected::list(job).boxed(),
    },
    Operation {
        name: "rejected-replay",
        summary: "Tries a project's rejected events again.",
        parameters: REJECTED,
        run: |job| rejected::replay(job).boxed(),
    },
];

/// Which rejected events are meant.
const REJECTED: &[(&str, &str)] = &[
    ("project", "The project's id."),
    ("from", "Received at this instant, RFC 3339, or later."),
    ("to", "Received before this instant."),
    ("reasons", "Codes of reasons; all when it is left out."),
    ("samples", "Of a list: how many are shown."),
    ("dry_run", "Of a replay: whether nothing is stored."),
];

impl Operation {
    /// The operation of this name.
    pub fn find(name: &str) -> Option<&'static Operation> {
        OPERATIONS.iter().find(|operation| operation.name == name)
    }

    /// Runs it with these parameters; what it tells on the way can be read from `progress`.
    ///
    /// # Errors
    /// `Invalid` when the parameters are wrong, else what the operation meets.
    pub async fn run(&self, app: &SharedApp, parameters: Value, progress: Progress) -> engine::Result<Value> {
        let app = SharedApp::clone(app);
        (self.run)(Job {
            app,
            parameters,
            progress,
        })
        .await
    }
}

/// An operation under way.
#[derive(Debug)]
pub struct Job {
    /// The application it works on.
    pub app: SharedApp,
    /// Where it tells how far it is.
    pub progress: Progress,
    parameters: Value,
}

impl Job {
    /// The parameters as a typed value. A type without `deny_unknown_fields` would let misspelt names through.
    ///
    /// # Errors
    /// `Invalid` when one is missing, unknown or of another type.
    pub fn parameters<T: DeserializeOwned>(&self) -> engine::Result<T> {
        serde_json::from_value(self.parameters.clone())
            .map_err(|error| Error::invalid(format!("the operation's parameters are wrong: {error}")))
    }
}

/// How far an operation is, in words. Only the newest words count.
#[derive(Debug, Clone)]
pub struct Progress(watch::Sender<String>);

impl Progress {
    /// A new one, and where its words are read.
    pub fn new() -> (Self, watch::Receiver<String>) {
        let (sender, receiver) = watch::channel(String::new());
        (Self(sender), receiver)
    }

    /// Says how far it is. Cheap, and nobody has to listen.
    pub fn tell(&self, words: impl Into<String>) {
        self.0.send_replace(words.into());
    }
}

/// The handler of [`PREFIX`].
pub(super) async fn handle(State(app): State<SharedApp>, Path(name): Path<String>, request: Request) -> Response {
    let now = app.clock().now_micros();
    // Before anything else, so that a stranger learns nothing and sends no body.
    if !operator::is_operator(request.headers(), app.secrets.verifying(), now) {
        let text =
            "this needs a token of the operator, which `tally` makes from the API secret on the server's machine";
        return Failure::new(StatusCode::FORBIDDEN, text).into_response();
    }
    let Some(operation) = Operation::find(&name) else {
        let names: Vec<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
        let text = format!("there is no operation `{name}`: this server has {}", names.join(", "));
        return Failure::new(StatusCode::NOT_FOUND, text).into_response();
    };
    match parameters(request).await {
        Ok(parameters) => answer(app, operation, parameters).await,
        Err(failure) => failure.into_response(),
    }
}

async fn parameters(request: Request) -> Result<Value, Failure> {
    let wrong = |text: String| Failure::new(StatusCode::BAD_REQUEST, text);
    let body = Limited::new(request.into_body(), PARAMETERS_BYTES_MAX).collect().await;
    let body = body
        .map_err(|error| wrong(format!("the parameters cannot be read: {error}")))?
        .to_bytes();
    if body.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    serde_json::from_slice(&body).map_err(|error| wrong(format!("the parameters are no JSON: {error}")))
}

async fn answer(app: SharedApp, operation: &'static Operation, parameters: Value) -> Response {
    let (progress, told) = Progress::new();
    tracing::info!(operation = operation.name, "an operator asked for it");
    let mut running = tokio::spawn(async move { operation.run(&app, parameters, progress).await });
    match tokio::time::timeout(ANSWER_BEGINS, &mut running).await {
        Ok(ended) => match flat(ended) {
            Ok(result) => lines(Body::from(line(&json!({ "result": result })))),
            Err(error) => (status(error.kind()), lines(Body::from(line(&error_line(&error))))).into_response(),
        },
        Err(_) => lines(Body::from_stream(progress_lines(running, told, HEARTBEAT))),
    }
}

fn lines(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

/// What is told, a line at a time, and at the end what came of it.
fn progress_lines(
    running: JoinHandle<engine::Result<Value>>,
    told: watch::Receiver<String>,
    heartbeat: Duration,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    futures::stream::unfold(Some((running, told)), move |state| async move {
        let (mut running, mut told) = state?;
        tokio::select! {
            biased;
            ended = &mut running => {
                let last = match flat(ended) {
                    Ok(result) => json!({ "result": result }),
                    Err(error) => error_line(&error),
                };
                return Some((line(&last), None));
            }
            () = news(&mut told, heartbeat) => {}
        }
        let words = told.borrow().clone();
        Some((line(&json!({ "progress": words })), Some((running, told))))
    })
    .map(Ok)
}

/// Returns when something new was told, or when nothing was for a while.
async fn news(told: &mut watch::Receiver<String>, heartbeat: Duration) {
    if let Ok(Err(_)) = tokio::time::timeout(heartbeat, told.changed()).await {
        // Nobody can tell any more; the end is near.
        tokio::time::sleep(heartbeat).await;
    }
}

fn flat(ended: Result<engine::Result<Value>, tokio::task::JoinError>) -> engine::Result<Value> {
    ended.unwrap_or_else(|error| Err(Error::internal("the operation ended with a panic").with_source(error)))
}

/// An operator may see paths and causes.
fn error_line(error: &Error) -> Value {
    let kind = if error.kind() == ErrorKind::Invalid {
        "invalid"
    } else {
        "failed"
    };
    json!({ "error": error.message(), "kind": kind })
}

fn line(value: &Value) -> Bytes {
    Bytes::from(format!("{value}\n"))
}

#[cfg(test)]
mod tests;
