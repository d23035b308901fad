//! What each route does, whichever way it was asked: HTTP and WebSockets end here.

use super::batch::Batch;
use super::error::ApiResult;
use super::normalize::Defaults;
use super::routes::Action;
use super::wire::Params;
use super::{ask, cubesql, dry_run, jobs, meta, sql};
use crate::app::SharedApp;
use crate::auth::SecurityContext;
use axum::body::Bytes;

/// The body that answers a call; `None` when it takes too long and the client is to ask again.
///
/// # Errors
/// As Cube words them.
pub async fn perform(
    app: &SharedApp,
    context: &SecurityContext,
    action: Action,
    params: &Params,
) -> ApiResult<Option<Bytes>> {
    let model = || app.engine.model(context.project());
    let defaults = Defaults::of(&app.settings, app.engine.clock().now_micros());
    let batch = || Batch::new(&params.query()?, params.cache(), defaults);
    let body = match action {
        Action::Load => return ask::ask(app, context, batch()?, params.multi()).await,
        Action::Sql if params.text("format") == Some("sql") => {
            cubesql::sql(app, context, params, &defaults).await?.to_string()
        }
        Action::ConvertQuery => cubesql::convert(app, context, params, &defaults).await?.to_string(),
        Action::Sql => sql::sql(&app.engine, context, &batch()?).await?.to_string(),
        Action::DryRun => dry_run::dry_run(&model(), &batch()?)?.to_string(),
        Action::Meta => {
            let only_views = params.flag("onlyViews");
            return Ok(Some(meta::body(
                &model(),
                &context.asker(),
                params.has("extended"),
                only_views,
            )));
        }
        Action::GraphQlToJson => super::graphql::to_json(app, context, params)?.to_string(),
        Action::Jobs => jobs::jobs(&model(), params)?.to_string(),
        Action::CanUse => jobs::can_use(params)?.to_string(),
        Action::CancelQuery => jobs::NOTHING_CANCELLED.to_owned(),
        Action::RefreshNothing => "{\"finished\":true}".to_owned(),
        Action::CubeSql | Action::GraphQl => {
            return Err(engine::Error::internal("SQL and GraphQL have their own forms of answers").into());
        }
    };
    Ok(Some(Bytes::from(body)))
}
