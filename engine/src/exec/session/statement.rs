//! Statements of clients, run where queries run and with the same bounds.

use super::{Bound, QuerySession, Shared};
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::ingest::ProjectView;
use crate::model::Model;
use crate::project::ProjectId;
use crate::query::shown;
use crate::query::sql_api::{self, Asked, SqlAnswer, SqlPlan};
use std::sync::Arc;

impl QuerySession {
    /// Answers a client's SQL over `view`. Dropping the future stops it.
    ///
    /// # Errors
    /// As [`QuerySession::query`].
    pub async fn sql(
        &self,
        project: &ProjectId,
        view: ProjectView,
        model: Arc<Model>,
        asked: &Asked,
        now: Micros,
    ) -> Result<SqlAnswer> {
        let (shared, asked, project) = (Arc::clone(&self.shared), asked.clone(), project.clone());
        self.run(async move {
            let as_of = view.as_of;
            let state = shared.state(now);
            let compiled = shared.compiled(model);
            let planned = sql_api::plan(&asked, &compiled, &state, now)?;
            let (columns, reads_clock) = (planned.columns(), planned.reads_clock);
            let rows = match planned.plan {
                Some(plan) => {
                    let bound = Bound::new(&shared, project, view)?;
                    bound.run(&state, plan).await.map_err(plain)?
                }
                None => Vec::new(),
            };
            Ok(SqlAnswer {
                columns,
                rows,
                as_of,
                reads_clock,
            })
        })
        .await
    }

    /// How a client's SQL would be answered.
    ///
    /// # Errors
    /// As [`QuerySession::sql`].
    pub async fn sql_plan(&self, model: Arc<Model>, asked: &Asked, now: Micros) -> Result<SqlPlan> {
        let (shared, asked) = (Arc::clone(&self.shared), asked.clone());
        self.run(async move { shared.sql_plan(model, &asked, now) }).await
    }
}

impl Shared {
    fn sql_plan(&self, model: Arc<Model>, asked: &Asked, now: Micros) -> Result<SqlPlan> {
        let compiled = self.compiled(model);
        let planned = sql_api::plan(asked, &compiled, &self.state(now), now)?;
        let text = planned.plan.as_ref().map(shown::text);
        Ok(SqlPlan {
            kind: planned.kind,
            queries: planned.queries,
            text: text.unwrap_or_default(),
        })
    }
}

/// Errors of types come from the optimizer, which takes them for execution's.
fn plain(error: Error) -> Error {
    match error.message().strip_prefix("Error during planning: ") {
        Some(message) => Error::invalid(message),
        None => error,
    }
}
