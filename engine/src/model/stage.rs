//! Measures that are computed from other measures' answers: over a window of time, or in stages.

use super::{Interval, Location, SqlTemplate};

/// How far a rolling window reaches in one direction.
#[derive(Debug, Clone, PartialEq)]
pub enum WindowBound {
    /// Not beyond the bucket.
    None,
    /// For ever.
    Unbounded,
    /// This far.
    Interval(Interval),
}

/// The edge of a bucket that a rolling window is measured from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WindowOffset {
    /// Its beginning.
    Start,
    /// Its end, Cube's default.
    #[default]
    End,
}

/// `rolling_window` of a measure.
#[derive(Debug, Clone, PartialEq)]
pub enum RollingWindow {
    /// From `trailing` before to `leading` after an edge of the bucket.
    Fixed {
        /// Backwards.
        trailing: WindowBound,
        /// Forwards.
        leading: WindowBound,
        /// The edge.
        offset: WindowOffset,
    },
    /// From the beginning of a longer bucket, such as the year, to the end of the asked one.
    ToDate {
        /// Name of the longer granularity.
        granularity: String,
    },
}

/// Which way a time shift looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShiftDirection {
    /// To earlier rows: last year's value in this year's bucket.
    Prior,
    /// To later rows.
    Next,
}

/// An element of `time_shift`.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeShift {
    /// Full name of the time dimension that is shifted; `None` shifts every one of the query.
    pub time_dimension: Option<String>,
    /// How far.
    pub interval: Interval,
    /// Which way.
    pub direction: ShiftDirection,
}

/// An element of `order_by` of a rank.
#[derive(Debug, Clone, PartialEq)]
pub struct StageOrder {
    /// What is compared, with references to members.
    pub sql: SqlTemplate,
    /// Greatest first.
    pub desc: bool,
}

/// The keys of `multi_stage: true`: with which dimensions the inner stage is grouped before the outer one aggregates.
/// Names are full: `Cube.dimension`.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiStage {
    /// Exactly these of the query's dimensions.
    pub group_by: Option<Vec<String>>,
    /// The query's dimensions without these.
    pub reduce_by: Vec<String>,
    /// The query's dimensions and these.
    pub add_group_by: Vec<String>,
    /// Shifts in time of the inner stage.
    pub time_shift: Vec<TimeShift>,
    /// Order of a rank.
    pub order_by: Vec<StageOrder>,
    /// Where it was written.
    pub location: Location,
}
