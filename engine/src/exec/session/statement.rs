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
        self.run(|| {
            let (shared, model, asked) = (Arc::clone(&self.shared), Arc::clone(&model), asked.clone());
            let (project, view) = (project.clone(), view.clone());
            async move { shared.sql_answer(project, view, model, &asked, now).await }
        })
        .await
    }

    /// How a client's SQL would be answered.
    ///
    /// # Errors
    /// As [`QuerySession::sql`].
    pub async fn sql_plan(&self, model: Arc<Model>, asked: &Asked, now: Micros) -> Result<SqlPlan> {
        self.run(|| {
            let (shared, model, asked) = (Arc::clone(&self.shared), Arc::clone(&model), asked.clone());
            async move { shared.sql_plan(model, &asked, now) }
        })
        .await
    }
}

impl Shared {
    async fn sql_answer(
        &self,
        project: ProjectId,
        view: ProjectView,
        model: Arc<Model>,
        asked: &Asked,
        now: Micros,
    ) -> Result<SqlAnswer> {
        let as_of = view.as_of;
        let state = self.state(now);
        let compiled = self.compiled(model);
        let planned = sql_api::plan(asked, &compiled, &state, now)?;
        let (columns, reads_clock) = (planned.columns(), planned.reads_clock);
        let rows = match planned.plan {
            Some(plan) => {
                let bound = Bound::new(self, project, view)?;
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
    }

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
