//! Faults of the machine, with real processes: kills, power cuts, disks that fail and disks that are full.
//!
//! One rule holds everywhere, the ledger: an event whose id was acknowledged is stored exactly once, every other at most
//! once, and no batch is stored in part. Each file says how to run its long version.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on must stop"
)]

#[path = "../support/mod.rs"]
mod support;

mod faults;
mod kill;
mod ledger;
mod power_loss;
mod restart;
mod scenario;
mod strace;
mod syscalls;
mod tables;
mod two_writers;

/// A number from the environment.
fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number"))
    })
}
