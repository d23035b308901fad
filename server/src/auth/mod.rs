//! Who may do what: write keys decide the project of an event, tokens decide the project of a query.

pub mod projects;
pub mod secrets;
pub mod write_key;

pub use projects::{Project, Projects};
pub use secrets::Secrets;
