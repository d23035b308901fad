//! Granularities: how time is cut into buckets, always on the wall clock of the query's time zone.

/// A predefined granularity, which is also the unit of intervals and relative date ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimeUnit {
    /// 1 second.
    Second,
    /// 60 seconds.
    Minute,
    /// 60 minutes.
    Hour,
    /// A calendar day.
    Day,
    /// An ISO week, from Monday.
    Week,
    /// A calendar month.
    Month,
    /// Three calendar months.
    Quarter,
    /// A calendar year.
    Year,
}

impl TimeUnit {
    /// All units, finest first.
    pub const ALL: &'static [TimeUnit] = &[
        TimeUnit::Second,
        TimeUnit::Minute,
        TimeUnit::Hour,
        TimeUnit::Day,
        TimeUnit::Week,
        TimeUnit::Month,
        TimeUnit::Quarter,
        TimeUnit::Year,
    ];

    /// The name in queries, singular.
    pub fn name(self) -> &'static str {
        match self {
            TimeUnit::Second => "second",
            TimeUnit::Minute => "minute",
            TimeUnit::Hour => "hour",
            TimeUnit::Day => "day",
            TimeUnit::Week => "week",
            TimeUnit::Month => "month",
            TimeUnit::Quarter => "quarter",
            TimeUnit::Year => "year",
        }
    }

    /// The unit of this name, singular.
    pub fn from_name(name: &str) -> Option<TimeUnit> {
        TimeUnit::ALL.iter().copied().find(|unit| unit.name() == name)
    }
}

/// A custom granularity of a time dimension, as written.
#[derive(Debug, Clone, PartialEq)]
pub struct Granularity {
    /// Name.
    pub name: String,
    /// Title.
    pub title: Option<String>,
    /// Interval, for instance `15 minutes`.
    pub interval: String,
    /// A bucket edge, on the wall clock.
    pub origin: Option<String>,
    /// Shift of the natural edges, for instance `-1 day`.
    pub offset: Option<String>,
}
