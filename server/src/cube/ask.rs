//! The one way to an answer, for HTTP, WebSockets and GraphQL: kept, shared or computed.

use super::batch::Batch;
use super::cache::{Asked, Lasting, Written};
use super::error::ApiResult;
use super::load;
use crate::app::SharedApp;
use crate::auth::SecurityContext;
use axum::body::Bytes;
use std::sync::Arc;

/// The mode that wants an answer computed in any case.
const NO_CACHE: &str = "no-cache";

/// The body that answers `batch` for `context`; `multi` says whether the client understands several results. `None` when
/// it takes too long and the client is to ask again.
///
/// # Errors
/// As Cube words them.
pub async fn ask(app: &SharedApp, context: &SecurityContext, batch: Batch, multi: bool) -> ApiResult<Option<Bytes>> {
    load::check_client(&batch, multi)?;
    let engine = &app.engine;
    // Before anything is read: rows that come from now on make another version.
    let version = engine.data_version(context.project());
    let model = engine.model(context.project()).version.clone();
    let asked = Asked {
        key: load::key(context, &model, &batch, multi),
        version,
        now: engine.clock().now_micros(),
        anew: batch.queries.iter().any(|query| query.cache_mode == NO_CACHE),
    };
    let work = || {
        let (app, context) = (Arc::clone(app), context.clone());
        async move {
            let loaded = load::load(&app.engine, &context, &batch, multi).await?;
            let lasting = match app.engine.model(context.project()).version == model {
                // The files of the model changed meanwhile: nobody can say which of them was asked.
                false => Lasting::No,
                true if loaded.reads_clock => Lasting::Moments,
                true => Lasting::WhileRowsStay,
            };
            Ok(Written {
                body: Bytes::from(loaded.body),
                lasting,
            })
        }
    };
    app.answers.answer(asked, work).await
}
