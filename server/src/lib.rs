//! The network edge of Tally: SDK protocols, the Cube API, tokens, settings and the command line.

pub mod admin;
pub mod app;
pub mod auth;
pub mod config;
pub mod error;
pub mod ingest;
pub mod limits;
pub mod listen;

pub use app::{App, SharedApp};
