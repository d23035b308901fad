//! Events in, answers out: the storage and query engine of Tally, without HTTP, wire formats or environment.

pub mod clock;
pub mod error;
pub mod event;
pub mod limits;
pub mod model;
pub mod project;
pub mod query;

pub use error::{Error, ErrorKind, Result};
pub use project::ProjectId;
