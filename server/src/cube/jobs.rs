//! Pre-aggregations as their tools see them. Every answer is computed from live rows: nothing is built, nothing can be
//! behind. A job for a pre-aggregation that the model defines is therefore done as soon as it is asked for, and none is
//! ever the source of an answer.

use super::error::{ApiError, ApiResult};
use super::wire::Params;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::model::{Cube, Model};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Queries end with their connection; none runs that could be found by an id.
pub const NOTHING_CANCELLED: &str = "{\"result\":[]}";

/// Elements of one selector or one list of tokens at the most.
const ITEMS_MAX: usize = 1_000;

/// What a token says: it is all that is known of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Job {
    /// `Cube.preAggregation`.
    pre_aggregation: String,
    timezone: String,
    data_source: String,
}

fn invalid(reason: &str) -> ApiError {
    ApiError::bad_request(format!("Invalid Job query format: {reason}"))
}

/// `/v1/pre-aggregations/jobs`.
///
/// # Errors
/// 400 with Cube's text.
pub fn jobs(model: &Model, params: &Params) -> ApiResult<Value> {
    match params.text("action") {
        Some("post") => post(model, params),
        Some("get") => get(model, params),
        _ if params.has("action") => Err(invalid("\"action\" must be one of [post, get]")),
        _ => Err(ApiError::bad_request("No job description provided")),
    }
}

fn post(model: &Model, params: &Params) -> ApiResult<Value> {
    let selector = params.value("selector").and_then(Value::as_object);
    let selector = selector.ok_or_else(|| invalid("\"selector\" is required"))?;
    let contexts = selector.get("contexts").and_then(Value::as_array);
    if contexts.is_none_or(Vec::is_empty) {
        return Err(invalid("\"selector.contexts\" must contain at least 1 items"));
    }
    let timezones = names(selector, "timezones")?.unwrap_or_default();
    if timezones.is_empty() {
        return Err(invalid("\"selector.timezones\" must contain at least 1 items"));
    }
    let (cubes, wanted) = (names(selector, "cubes")?, names(selector, "preAggregations")?);
    let sources = names(selector, "dataSources")?;
    let mut tokens = Vec::new();
    for name in defined(model) {
        let cube = name.split('.').next().unwrap_or_default();
        let fits = |list: &Option<Vec<String>>, item: &str| {
            list.as_ref().is_none_or(|list| list.iter().any(|one| one == item))
        };
        if !fits(&cubes, cube) || !fits(&wanted, &name) || !fits(&sources, "default") {
            continue;
        }
        for timezone in &timezones {
            let job = Job {
                pre_aggregation: name.clone(),
                timezone: timezone.clone(),
                data_source: "default".to_owned(),
            };
            let written = serde_json::to_vec(&job);
            let written =
                written.map_err(|error| engine::Error::internal("cannot write a token").with_source(error))?;
            tokens.push(Value::String(URL_SAFE_NO_PAD.encode(written)));
        }
    }
    if tokens.is_empty() {
        return Err(ApiError::bad_request(
            "A user's selector doesn't match any of the pre-aggregations defined in the data model.",
        ));
    }
    Ok(Value::Array(tokens))
}

fn get(model: &Model, params: &Params) -> ApiResult<Value> {
    let tokens = params.value("tokens").and_then(Value::as_array);
    let tokens = tokens.filter(|tokens| !tokens.is_empty() && tokens.len() <= ITEMS_MAX);
    let tokens = tokens.ok_or_else(|| invalid("\"tokens\" must contain between 1 and 1000 items"))?;
    let defined = defined(model);
    let described: Vec<(String, Value)> = tokens
        .iter()
        .map(|token| {
            let token = token.as_str().unwrap_or_default();
            (token.to_owned(), describe(token, &defined))
        })
        .collect();
    Ok(match params.text("resType") {
        Some("object") => Value::Object(
            described
                .into_iter()
                .map(|(token, mut job)| {
                    if let Value::Object(job) = &mut job {
                        job.shift_remove("token");
                    }
                    (token, job)
                })
                .collect(),
        ),
        _ => Value::Array(described.into_iter().map(|(_, job)| job).collect()),
    })
}

fn describe(token: &str, defined: &[String]) -> Value {
    let job = URL_SAFE_NO_PAD.decode(token).ok();
    let job: Option<Job> = job.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let Some(job) = job else {
        return json!({"token": token, "status": "not_found"});
    };
    let is_defined = defined.contains(&job.pre_aggregation);
    let cube = job.pre_aggregation.split('.').next().unwrap_or_default();
    json!({
        "token": token,
        "table": job.pre_aggregation,
        "status": if is_defined { "done" } else { "pre_agg_not_found" },
        "selector": {
            "cubes": [cube],
            "preAggregations": [job.pre_aggregation],
            "timezones": [job.timezone],
            "dataSources": [job.data_source],
        },
    })
}

/// The pre-aggregations of the model as `Cube.name`.
fn defined(model: &Model) -> Vec<String> {
    let cubes = model.cubes.values().filter(|cube| cube.alias_of.is_none());
    let named = |cube: &Arc<Cube>| -> Vec<String> {
        let defined = cube.pre_aggregations.iter();
        defined.map(|one| format!("{}.{}", cube.name, one.name)).collect()
    };
    cubes.flat_map(named).collect()
}

fn names(selector: &Map<String, Value>, key: &str) -> ApiResult<Option<Vec<String>>> {
    let Some(value) = selector.get(key).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let items = value.as_array().filter(|items| items.len() <= ITEMS_MAX);
    let items = items.ok_or_else(|| invalid(&format!("\"selector.{key}\" must be an array")))?;
    let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
    let texts: Option<Vec<String>> = texts.collect();
    texts
        .map(Some)
        .ok_or_else(|| invalid(&format!("\"selector.{key}\" must be an array of strings")))
}

/// `/v1/pre-aggregations/can-use`: none is the source of an answer.
///
/// # Errors
/// 400 when the query or the references are missing.
pub fn can_use(params: &Params) -> ApiResult<Value> {
    for key in ["transformedQuery", "references"] {
        if !params.value(key).is_some_and(Value::is_object) {
            return Err(ApiError::bad_request(format!("\"{key}\" is required")));
        }
    }
    Ok(json!({"canUsePreAggregationForTransformedQuery": false}))
}
