//! Events in, answers out: the storage and query engine of Tally, without HTTP, wire formats or environment.

mod blocking;
mod budget;
pub mod clock;
pub mod engine;
pub mod error;
pub mod event;
pub mod exec;
pub mod functions;
pub mod health;
pub mod ingest;
pub mod limits;
pub mod maintenance;
pub mod metrics;
pub mod model;
pub mod project;
pub mod query;
pub mod store;
pub mod wal;

pub use engine::{DiskOptions, Engine, EngineOptions, Mode, Role, check_models};
pub use error::{Error, ErrorKind, Result};
pub use ingest::{Changes, DataVersion, ProjectStats};
pub use project::ProjectId;
pub use store::Documents;
pub use store::erase::Subject;
pub use store::history::Version;
pub use store::rejected::{RejectedFilter, RejectedKey, RejectedRow};
