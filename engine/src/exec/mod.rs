//! Running plans: the tables of a project at one moment, the functions that plans call, and the threads they run on.

pub mod admission;
pub mod bucket;
mod footers;
mod piece;
mod pool;
mod prune;
mod rules;
pub mod session;
pub mod table;
pub mod udaf;

pub use footers::KeptFooters;
pub use session::{QuerySession, SessionOptions};
