//! Aggregates of our own, one file each.

pub mod funnel;
