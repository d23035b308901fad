//! The network edge of Tally: SDK protocols, the Cube API, tokens, settings and the command line.

pub mod admin;
pub mod app;
pub mod auth;
pub mod cli;
pub mod config;
pub mod cube;
pub mod data_format;
pub mod demo;
pub mod error;
pub mod import;
pub mod ingest;
pub mod limits;
pub mod listen;
pub mod log;
pub mod openapi;
pub mod restoring;
pub mod starting;

pub use app::{App, SharedApp};
