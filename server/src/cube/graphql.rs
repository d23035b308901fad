//! GraphQL over the cubes, in Cube's schema.
//!
//! A document is parsed and checked against a schema that is made from the model; carried out once without data to see
//! what it asks ([`query`]); asked as `/v1/load` is asked, through the same cache; and carried out again over the answers
//! ([`rows`]). The texts of errors are those of graphql-js, which Cube uses.

mod names;
mod query;
mod rows;
mod schema;
mod suggest;
mod syntax;

use super::ask::ask;
use super::batch::Batch;
use super::error::{ApiResult, json_response};
use super::normalize::Defaults;
use super::wire::Params;
use super::{json_text, meta};
use crate::app::SharedApp;
use crate::auth::SecurityContext;
use apollo_compiler::parser::Parser;
use apollo_compiler::request::{RequestError, coerce_variable_values};
use apollo_compiler::resolvers::Execution;
use apollo_compiler::response::{GraphQLError, JsonMap};
use apollo_compiler::validation::{DiagnosticList, Valid};
use apollo_compiler::{ExecutableDocument, executable::Operation, introspection};
use axum::http::StatusCode;
use axum::response::Response;
use parking_lot::Mutex;
use query::{Call, Recorder};
use rows::{Loaded, Root};
use schema::CubeSchema;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Schemas that are kept. Each is made from what one context sees of one model.
const SCHEMAS_MAX: usize = 16;
/// Tokens of a document at the most: checking compares each field with each of the same name.
const TOKENS_MAX: usize = 10_000;
/// Errors that are shown at the most.
const ERRORS_MAX: usize = 50;

/// The schemas made last, by what they were made from.
#[derive(Debug, Default)]
pub struct Schemas(Mutex<Vec<(blake3::Hash, Arc<CubeSchema>)>>);

impl Schemas {
    /// The schema of what `context` sees.
    fn get(&self, app: &SharedApp, context: &SecurityContext) -> ApiResult<Arc<CubeSchema>> {
        let (model, asker) = (app.engine.model(context.project()), context.asker());
        let key = blake3::hash(&meta::body(&model, &asker, false, false));
        if let Some((_, known)) = self.0.lock().iter().find(|(known, _)| *known == key) {
            return Ok(Arc::clone(known));
        }
        let made = Arc::new(CubeSchema::new(&meta::meta(&model, &asker, false, false))?);
        let mut all = self.0.lock();
        if all.len() >= SCHEMAS_MAX {
            all.remove(0);
        }
        all.push((key, Arc::clone(&made)));
        Ok(made)
    }
}

/// Why a document is not carried out.
struct Refused {
    status: StatusCode,
    errors: Value,
}

impl Refused {
    fn message(message: &str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            errors: json!([{ "message": message }]),
        }
    }
}

/// A document that can be carried out.
struct Request {
    schema: Arc<CubeSchema>,
    document: Valid<ExecutableDocument>,
    operation: Option<String>,
    variables: Valid<JsonMap>,
}

impl Request {
    fn operation(&self) -> Option<&Operation> {
        let found = self.document.operations.get(self.operation.as_deref());
        found.ok().map(|operation| &**operation)
    }

    fn execution(&self) -> Execution<'_> {
        let execution = Execution::new(&self.schema.schema, &self.document)
            .coerced_variable_values(&self.variables)
            .enable_schema_introspection(true);
        match self.operation() {
            Some(operation) => execution.operation(operation),
            None => execution,
        }
    }

    /// What the document asks.
    fn calls(&self) -> Result<Vec<Call>, Refused> {
        let recorder = Recorder::new(&self.schema);
        let done = self
            .execution()
            .execute_sync(&recorder)
            .map_err(|error| self.refused(&error))?;
        match done.errors.is_empty() {
            true => Ok(recorder.into_calls()),
            false => Err(Refused {
                status: StatusCode::BAD_REQUEST,
                errors: field_errors(done.errors),
            }),
        }
    }

    fn refused(&self, error: &RequestError) -> Refused {
        request_error(error, &self.document)
    }
}

fn request_error(error: &RequestError, document: &ExecutableDocument) -> Refused {
    Refused {
        status: StatusCode::BAD_REQUEST,
        errors: json!([error.to_graphql_error(&document.sources)]),
    }
}

/// Reads and checks the document of a request.
fn prepare(app: &SharedApp, context: &SecurityContext, params: &Params) -> ApiResult<Result<Request, Refused>> {
    let Some(text) = params.text("query").filter(|text| !text.is_empty()) else {
        return Ok(Err(Refused::message("Must provide query string.")));
    };
    let schema = app.schemas.get(app, context)?;
    Ok(read(schema, text, params))
}

fn read(schema: Arc<CubeSchema>, text: &str, params: &Params) -> Result<Request, Refused> {
    syntax::check(text).map_err(|error| Refused {
        status: StatusCode::BAD_REQUEST,
        errors: json!([{"message": error.message, "locations": [{"line": error.line, "column": error.column}]}]),
    })?;
    let mut parser = Parser::new()
        .recursion_limit(syntax::DEPTH_MAX * 4)
        .token_limit(TOKENS_MAX);
    let parsed = parser.parse_executable(&schema.schema, text, "query.graphql");
    let refused = |invalid: &DiagnosticList| Refused {
        status: StatusCode::BAD_REQUEST,
        errors: errors(&schema, invalid),
    };
    let document = parsed.map_err(|invalid| refused(&invalid.errors))?;
    let document = document
        .validate(&schema.schema)
        .map_err(|invalid| refused(&invalid.errors))?;
    let name = params
        .text("operationName")
        .filter(|name| !name.is_empty())
        .map(str::to_owned);
    let operation = document.operations.get(name.as_deref()).map_err(|error| match &name {
        Some(name) => Refused::message(&format!("Unknown operation named \"{name}\".")),
        None if document.operations.len() > 1 => {
            Refused::message("Must provide operation name if query contains multiple operations.")
        }
        None => request_error(&error, &document),
    })?;
    introspection::check_max_depth(&document, operation).map_err(|error| request_error(&error, &document))?;
    let variables = match params.value("variables") {
        Some(Value::Object(variables)) => variables.clone(),
        Some(Value::String(text)) if !text.is_empty() => match json_text::parse(text) {
            Ok(Value::Object(variables)) => variables,
            _ => return Err(Refused::message("Variables are invalid JSON.")),
        },
        _ => Map::new(),
    };
    let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
    let variables: JsonMap = variables.collect();
    let variables = coerce_variable_values(&schema.schema, operation, &variables)
        .map_err(|error| request_error(&error, &document))?;
    Ok(Request {
        schema,
        document,
        operation: name,
        variables,
    })
}

/// Errors of fields without what the library puts before their texts.
fn field_errors(mut errors: Vec<GraphQLError>) -> Value {
    for error in &mut errors {
        if let Some(text) = error.message.strip_prefix("resolver error: ") {
            error.message = text.to_owned();
        }
    }
    json!(errors)
}

/// What is wrong with a document, worded as graphql-js words it.
fn errors(schema: &CubeSchema, found: &DiagnosticList) -> Value {
    let shown = found.iter().take(ERRORS_MAX).map(|diagnostic| {
        let mut error: GraphQLError = diagnostic.unstable_to_json_compat();
        error.extensions.clear();
        if let Some(corrected) = suggest::correct(&schema.schema, &error.message) {
            error.message = corrected;
        }
        if let Some(suggestion) = suggest::suggest(&schema.schema, &error.message) {
            error.message.push_str(&suggestion);
        }
        json!(error)
    });
    Value::Array(shown.collect())
}

/// Answers `<base>/graphql`.
///
/// # Errors
/// Only those that are no affair of the document; its own are in the answer, as GraphQL has it.
pub async fn answer(app: &SharedApp, context: &SecurityContext, params: &Params) -> ApiResult<Response> {
    let request = match prepare(app, context, params)? {
        Ok(request) => request,
        Err(refused) => return Ok(refusal(refused)),
    };
    let calls = match request.calls() {
        Ok(calls) => calls,
        Err(refused) => return Ok(refusal(refused)),
    };
    let mut status = StatusCode::OK;
    let mut loaded = Vec::with_capacity(calls.len());
    for call in &calls {
        let outcome = load(app, context, call.query(&request.schema)).await;
        loaded.push(outcome.map_err(|error| {
            status = error.status();
            error.body()["error"].as_str().unwrap_or_default().to_owned()
        }));
    }
    // Walking over some ten thousand rows takes its time.
    let work = move || -> Result<String, Refused> {
        let done = request
            .execution()
            .execute_sync(&Root::new(&request.schema, &loaded))
            .map_err(|error| request.refused(&error))?;
        let extensions = loaded
            .into_iter()
            .rev()
            .find_map(|one| one.ok().map(|one| one.extensions));
        let mut body = Map::new();
        if !done.errors.is_empty() {
            body.insert("errors".to_owned(), field_errors(done.errors));
        }
        let mut data = json!(done.data);
        rows::whole_numbers(&mut data);
        body.insert("data".to_owned(), data);
        body.insert("extensions".to_owned(), Value::Object(extensions.unwrap_or_default()));
        Ok(Value::Object(body).to_string())
    };
    let written = tokio::task::spawn_blocking(work).await;
    match written.map_err(|error| engine::Error::internal("an answer was lost").with_source(error))? {
        Ok(body) => Ok(json_response(status, body)),
        Err(refused) => Ok(refusal(refused)),
    }
}

fn refusal(refused: Refused) -> Response {
    json_response(refused.status, json!({"errors": refused.errors}).to_string())
}

/// Answers one query, however long it takes: clients of GraphQL do not know that they could ask again.
async fn load(app: &SharedApp, context: &SecurityContext, mut query: Map<String, Value>) -> ApiResult<Loaded> {
    query.insert("responseFormat".to_owned(), json!("compact"));
    let query = Value::Object(query);
    loop {
        let defaults = Defaults::of(&app.settings, app.engine.clock().now_micros());
        let batch = Batch::new(&query, None, defaults)?;
        if let Some(body) = ask(app, context, batch, false).await? {
            return Ok(Loaded::read(&body)?);
        }
    }
}

/// Answers `/v1/graphql-to-json`: the query of the document's first `cube`, or null, as Cube.
///
/// # Errors
/// When the model has no schema.
pub fn to_json(app: &SharedApp, context: &SecurityContext, params: &Params) -> ApiResult<Value> {
    let query = match prepare(app, context, params)? {
        Ok(request) => request
            .calls()
            .ok()
            .and_then(|calls| Some(calls.first()?.query(&request.schema))),
        Err(_) => None,
    };
    Ok(json!({"jsonQuery": query}))
}
