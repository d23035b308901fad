//! Who may do what: write keys decide the project of an event, tokens decide the project of a query.

pub mod context;
pub mod jwks;
pub mod jwt;
pub mod kept;
pub mod operator;
pub mod projects;
pub mod scopes;
pub mod secrets;
pub mod write_key;

pub use context::SecurityContext;
pub use kept::Kept;
pub use projects::{Project, Projects, Retention};
pub use scopes::Scope;
pub use secrets::Secrets;
