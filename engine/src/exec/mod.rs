//! Running plans: the tables of a project at one moment, the functions that plans call, and the threads they run on.

pub mod admission;
pub mod bucket;
mod footers;
mod merge_order;
mod piece;
mod prune;
pub mod session;
pub mod table;
pub mod udaf;

pub use footers::KeptFooters;
pub use session::{QuerySession, SessionOptions};
