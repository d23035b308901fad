//! Measures that are computed from other measures' answers: over a window of time, or in stages.

use super::{Interval, Location, Measure, MeasureType, SqlTemplate, TimeUnit};

/// How far a rolling window reaches in one direction.
#[derive(Debug, Clone, PartialEq)]
pub enum WindowBound {
    /// Not beyond the edge.
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
    /// From the beginning of the query's range to the end of the bucket: `type: running_total`.
    Running,
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

/// With which dimensions the inner stage is grouped: `grain`, or its older keys `group_by` (`keep_only`), `reduce_by`
/// (`exclude`) and `add_group_by` (`include`). Names are full: `Cube.dimension`, a granularity may follow.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Grain {
    /// Of the query's dimensions only these.
    pub keep_only: Option<Vec<String>>,
    /// The query's dimensions without these.
    pub exclude: Vec<String>,
    /// These too, whether the query has them or not.
    pub include: Vec<String>,
}

/// A condition that a stage adds.
#[derive(Debug, Clone, PartialEq)]
pub enum StageCondition {
    /// All hold.
    And(Vec<StageCondition>),
    /// At least one holds.
    Or(Vec<StageCondition>),
    /// A comparison, as in a query.
    Member {
        /// Full name.
        member: String,
        /// Name of the operator.
        operator: String,
        /// Values; null is `None`.
        values: Vec<Option<String>>,
    },
}

/// `filter` of a multi-stage measure: which of the query's conditions its inner stage sees.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StageFilter {
    /// `mode: fixed`: none of the conditions from outside hold inside.
    pub fixed: bool,
    /// Full names of the members whose conditions do not hold inside.
    pub exclude: Vec<String>,
    /// Full names of the only members whose conditions hold inside.
    pub keep_only: Option<Vec<String>>,
    /// Conditions that hold inside besides.
    pub include: Vec<StageCondition>,
}

/// The keys of `multi_stage: true`.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiStage {
    /// Dimensions of the inner stage.
    pub grain: Grain,
    /// Conditions of the inner stage.
    pub filter: Option<StageFilter>,
    /// Shifts in time of the inner stage.
    pub time_shift: Vec<TimeShift>,
    /// Order of a rank.
    pub order_by: Vec<StageOrder>,
    /// Where it was written.
    pub location: Location,
}

impl StageCondition {
    /// Calls `each` for the members of the condition. Nesting is bounded by the reader of files.
    fn members_mut(&mut self, each: &mut dyn FnMut(&mut String)) {
        match self {
            StageCondition::And(inner) | StageCondition::Or(inner) => {
                inner.iter_mut().for_each(|condition| condition.members_mut(each));
            }
            StageCondition::Member { member, .. } => each(member),
        }
    }
}

impl MultiStage {
    /// Full names of the members that the inner stage brings besides those of the query: a granularity may follow.
    pub fn inner_members(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.grain.include.iter().map(String::as_str).collect();
        let mut open: Vec<&StageCondition> = self.filter.iter().flat_map(|filter| &filter.include).collect();
        while let Some(condition) = open.pop() {
            match condition {
                StageCondition::And(inner) | StageCondition::Or(inner) => open.extend(inner),
                StageCondition::Member { member, .. } => names.push(member),
            }
        }
        names
    }

    /// Calls `each` for every name of a member, segments of `filter` included.
    pub(super) fn names_mut(&mut self, each: &mut dyn FnMut(&mut String)) {
        let grain = &mut self.grain;
        let names = grain.keep_only.iter_mut().flatten().chain(&mut grain.exclude);
        names.chain(&mut grain.include).for_each(&mut *each);
        if let Some(filter) = &mut self.filter {
            let lists = filter.keep_only.iter_mut().flatten().chain(&mut filter.exclude);
            lists.for_each(&mut *each);
            filter
                .include
                .iter_mut()
                .for_each(|condition| condition.members_mut(each));
        }
        let shifts = self.time_shift.iter_mut();
        shifts.filter_map(|shift| shift.time_dimension.as_mut()).for_each(each);
    }
}

impl Measure {
    /// Every SQL of the measure.
    pub(crate) fn templates(&self) -> impl Iterator<Item = &SqlTemplate> {
        let order = self.multi_stage.iter().flat_map(|stage| &stage.order_by);
        self.sql
            .iter()
            .chain(&self.filters)
            .chain(order.map(|order| &order.sql))
    }

    /// Every SQL of the measure.
    pub(super) fn templates_mut(&mut self) -> impl Iterator<Item = &mut SqlTemplate> {
        let order = self.multi_stage.iter_mut().flat_map(|stage| &mut stage.order_by);
        let order = order.map(|order| &mut order.sql);
        self.sql.iter_mut().chain(&mut self.filters).chain(order)
    }

    /// The window of time it is computed over; a running total's is implied by its type.
    pub fn window(&self) -> Option<RollingWindow> {
        match self.kind {
            MeasureType::RunningTotal => Some(RollingWindow::Running),
            _ => self.rolling_window.clone(),
        }
    }

    /// The unit of its window's interval, the finer of two; `None` when the window has no interval.
    pub fn window_unit(&self) -> Option<TimeUnit> {
        let Some(RollingWindow::Fixed { trailing, leading, .. }) = &self.rolling_window else {
            return None;
        };
        let unit = |bound: &WindowBound| match bound {
            WindowBound::Interval(interval) => Some(interval.unit()),
            WindowBound::None | WindowBound::Unbounded => None,
        };
        [trailing, leading].into_iter().filter_map(unit).min()
    }

    /// The measure over all rows that it would be without its window; `None` when it has none or has stages.
    pub fn without_window(&self) -> Option<Measure> {
        self.window().filter(|_| self.multi_stage.is_none())?;
        Some(Measure {
            kind: match self.kind {
                MeasureType::RunningTotal => MeasureType::Sum,
                kind => kind,
            },
            rolling_window: None,
            ..self.clone()
        })
    }

    /// Whether it cannot be computed as one aggregate of rows, whatever it refers to.
    pub fn is_staged(&self) -> bool {
        self.multi_stage.is_some() || self.rolling_window.is_some() || self.kind == MeasureType::RunningTotal
    }
}
