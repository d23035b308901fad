//! One linked binary of integration tests: a server in this process, spoken to over real connections.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on must stop"
)]

#[path = "../support/mod.rs"]
mod support;

mod bitrot;
mod cache;
mod cube;
mod cube_conformance;
mod cube_generated;
mod funnels;
mod golden;
mod graphql;
mod hostile;
mod ingest;
mod life;
mod observed;
mod operations;
mod restart;
mod server;
mod slow_clients;
mod slowloris;
mod socket;
mod sql_api;
mod tenants;
mod visibility;
