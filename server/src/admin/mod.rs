//! What operators ask: is it alive, how is it doing, what is this; and what they have done to the data.

pub(crate) mod health;
mod landing;
mod metrics;
pub mod operations;
mod process;

pub use operations::{Job, OPERATIONS, Operation, Progress};

use crate::app::SharedApp;
use axum::Router;
use axum::routing::{MethodRouter, get, post};

/// A route of operators.
pub struct Route {
    /// Its path.
    pub path: &'static str,
    /// What it is for, in a sentence.
    pub summary: &'static str,
    handler: fn() -> MethodRouter<SharedApp>,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Route").field(&self.path).finish()
    }
}

/// Every route that needs no token. None shows data.
pub static ROUTES: &[Route] = &[
    Route {
        path: "/",
        summary: "Says what this server is.",
        handler: || get(landing::page),
    },
    Route {
        path: "/metrics",
        summary: "Metrics for Prometheus.",
        handler: || get(metrics::page),
    },
    Route {
        path: "/livez",
        summary: "Whether the server lives.",
        handler: || get(health::alive),
    },
    Route {
        path: "/readyz",
        summary: "Whether everything that clients ask for can be done, and what is wrong.",
        handler: || get(health::ready),
    },
    Route {
        path: "/openapi.json",
        summary: "This description.",
        handler: || get(crate::openapi::serve),
    },
];

/// The routes of [`ROUTES`] and of [`OPERATIONS`].
pub fn router() -> Router<SharedApp> {
    let add = |router: Router<SharedApp>, route: &Route| router.route(route.path, (route.handler)());
    let operations = format!("{}{{name}}", operations::PREFIX);
    ROUTES
        .iter()
        .fold(Router::new(), add)
        .route(&operations, post(operations::handle))
}
