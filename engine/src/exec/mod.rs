//! Running plans.

pub mod udaf;
