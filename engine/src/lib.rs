//! Events in, answers out: the storage and query engine of Tally, without HTTP, wire formats or environment.

pub mod clock;
pub mod engine;
pub mod error;
pub mod event;
pub mod exec;
pub mod ingest;
pub mod limits;
pub mod model;
pub mod project;
pub mod query;
pub mod store;

pub use engine::{Engine, EngineOptions, ProjectStats, check_models};
pub use error::{Error, ErrorKind, Result};
pub use project::ProjectId;
