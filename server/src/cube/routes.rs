//! The one table of the Cube API's routes.

use crate::auth::Scope;
use axum::http::Method;

/// What a path does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Answer queries.
    Load,
    /// Show the SQL of queries.
    Sql,
    /// Show queries in normal form.
    DryRun,
    /// Show the model.
    Meta,
    /// The SQL interface.
    CubeSql,
    /// Answer a GraphQL document.
    GraphQl,
    /// From SQL to the query language.
    ConvertQuery,
    /// A GraphQL document as a query.
    GraphQlToJson,
    /// Jobs that build pre-aggregations.
    Jobs,
    /// Whether a pre-aggregation can answer a query.
    CanUse,
    /// Stop a query.
    CancelQuery,
    /// Cron jobs of older installations still call it; there is nothing to refresh.
    RefreshNothing,
}

impl Action {
    /// What a token must be good for.
    pub fn scope(self) -> Option<Scope> {
        ROUTES.iter().find(|route| route.action == self)?.scope
    }
}

/// A route.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The path after the base; `{}` stands for one part of any text.
    pub path: &'static str,
    /// Its methods. `HEAD` goes with `GET`, `OPTIONS` with all.
    pub methods: &'static [Method],
    /// What it does.
    pub action: Action,
    /// The scope that a token must have.
    pub scope: Option<Scope>,
    /// What it is for, in a sentence.
    pub summary: &'static str,
}

impl Route {
    /// The route of a path after the base.
    pub fn find(path: &str) -> Option<&'static Route> {
        ROUTES.iter().find(|route| {
            let mut parts = path.split('/');
            let fits = |wanted: &str| {
                parts
                    .next()
                    .is_some_and(|part| wanted == part || (wanted == "{}" && !part.is_empty()))
            };
            route.path.split('/').all(fits) && parts.next().is_none()
        })
    }
}

const GET: &[Method] = &[Method::GET];
const POST: &[Method] = &[Method::POST];
const BOTH: &[Method] = &[Method::GET, Method::POST];
const DELETE: &[Method] = &[Method::DELETE];

macro_rules! routes {
    ($($path:literal $methods:ident $action:ident $scope:expr, $summary:literal;)*) => {
        /// Every route.
        pub static ROUTES: &[Route] = &[$(Route {
            path: $path, methods: $methods, action: Action::$action, scope: $scope, summary: $summary,
        },)*];
    };
}

routes! {
    "/v1/load" BOTH Load Some(Scope::Data), "Answers one query, or several.";
    "/v1/subscribe" BOTH Load Some(Scope::Data), "The same as load; clients ask again by themselves. Over a WebSocket answers are pushed.";
    "/v1/sql" BOTH Sql Some(Scope::Sql), "Shows the SQL of a query.";
    "/v1/dry-run" BOTH DryRun Some(Scope::Data), "Shows a query in normal form without running it.";
    "/v1/meta" GET Meta Some(Scope::Meta), "Shows the cubes and views with their members.";
    "/v1/cubesql" POST CubeSql Some(Scope::Data), "Answers SQL over the cubes, as lines of JSON.";
    "/v1/convert-query" POST ConvertQuery Some(Scope::Sql), "Turns SQL over the cubes into a query for load.";
    "/v1/graphql-to-json" POST GraphQlToJson None, "Turns a GraphQL document into a query for load.";
    "/graphql" BOTH GraphQl Some(Scope::GraphQl), "Answers GraphQL documents over the cubes.";
    "/v1/pre-aggregations/jobs" POST Jobs Some(Scope::Jobs), "Starts jobs that refresh pre-aggregations, and tells how they are.";
    "/v1/pre-aggregations/can-use" POST CanUse Some(Scope::Meta), "Tells whether a pre-aggregation can answer a query.";
    "/v1/running-query/{}" DELETE CancelQuery None, "Stops a running query.";
    "/v1/run-scheduled-refresh" BOTH RefreshNothing None, "Does nothing, for cron jobs of older installations.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_whole() {
        let found = |path: &str| Route::find(path).map(|route| route.action);
        assert_eq!(found("/v1/load"), Some(Action::Load));
        assert_eq!(found("/v1/running-query/abc-span-1"), Some(Action::CancelQuery));
        for path in [
            "",
            "/",
            "/v1",
            "/v1/load/x",
            "/v1/running-query/",
            "/v1/running-query/a/b",
            "v1/load",
        ] {
            assert_eq!(found(path), None, "{path}");
        }
    }
}
