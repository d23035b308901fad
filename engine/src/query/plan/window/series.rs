//! Which instants each bucket of a query sees of a rolling window. Everything is on the wall clock of the query's zone.
//!
//! As Cube: a window is measured from the last millisecond of a bucket (`offset: end`) or from its start, and rows are
//! compared by the start of their unit, which is the finest of the query's granularity and the window's interval. So a month
//! back from the end of February reaches to the 31st of January for daily buckets and to the 1st of February for monthly ones.

use crate::error::{Error, Result};
use crate::model::{Granularity, RollingWindow, TimeUnit, WindowBound, WindowOffset};
use crate::query::DateRange;
use crate::query::resolve::natural;
use crate::{limits, query::date_range};
use chrono::{NaiveDateTime, TimeDelta};

/// A bucket: its start and the start of the next.
pub type Bucket = (NaiveDateTime, NaiveDateTime);

/// The ends of a window, the second excluded; `None` reaches for ever.
pub type Ends = (Option<NaiveDateTime>, Option<NaiveDateTime>);

/// The buckets that a range touches.
///
/// # Errors
/// `Invalid` when there are more than [`limits::QUERY_BUCKETS_MAX`].
pub fn buckets(granularity: &Granularity, range: &DateRange) -> Result<Vec<Bucket>> {
    let mut all = Vec::new();
    let mut start = granularity.bucket(range.from);
    while let Some(from) = start.filter(|from| *from <= range.to) {
        let Some(to) = granularity.next(from) else { break };
        if all.len() == limits::QUERY_BUCKETS_MAX {
            return Err(Error::invalid(format!(
                "The count of generated date ranges for the request from [{}] to [{}] by {} is over limit ({}). Please \
                 reduce the requested date interval or use bigger granularity.",
                date_range::format(range.from),
                date_range::format(range.to),
                granularity.interval,
                limits::QUERY_BUCKETS_MAX
            )));
        }
        all.push((from, to));
        start = Some(to);
    }
    Ok(all)
}

/// What windows are measured in.
#[derive(Debug)]
pub struct Ruler {
    window: RollingWindow,
    /// The unit whose starts rows are compared by.
    unit: Granularity,
    /// The longer granularity of a window to date.
    longer: Option<Granularity>,
    /// The start of the query's range.
    from: NaiveDateTime,
}

impl Ruler {
    /// A ruler for `window` over buckets of `granularity`; `longer` is the granularity that a window to date names.
    ///
    /// # Errors
    /// None for units of the calendar.
    pub fn new(
        window: &RollingWindow,
        granularity: &Granularity,
        longer: Option<Granularity>,
        from: NaiveDateTime,
    ) -> Result<Self> {
        let mut unit = unit_of(granularity);
        if let RollingWindow::Fixed { trailing, leading, .. } = window {
            for bound in [trailing, leading] {
                if let WindowBound::Interval(interval) = bound {
                    unit = common(unit, interval.unit());
                }
            }
        }
        Ok(Self {
            window: window.clone(),
            unit: natural(unit)?,
            longer,
            from,
        })
    }

    /// What the window of a bucket sees; `None` outside the calendar.
    pub fn ends(&self, (start, end): Bucket) -> Option<Ends> {
        let (trailing, leading, offset) = match &self.window {
            RollingWindow::Running => return Some((Some(self.from), Some(end))),
            RollingWindow::ToDate { .. } => {
                let from = self.longer.as_ref()?.bucket(start)?;
                return Some((Some(from), Some(end)));
            }
            RollingWindow::Fixed {
                trailing,
                leading,
                offset,
            } => (trailing, leading, *offset),
        };
        let edge = match offset {
            WindowOffset::Start => start,
            WindowOffset::End => end.checked_sub_signed(TimeDelta::milliseconds(1))?,
        };
        let reach = |bound: &WindowBound, count: i64| {
            let at = match bound {
                WindowBound::Unbounded => return Some(None),
                WindowBound::None => edge,
                WindowBound::Interval(interval) => interval.add(edge, count)?,
            };
            self.rounded(at, offset).map(Some)
        };
        Some((reach(trailing, -1)?, reach(leading, 1)?))
    }

    /// The first start of a unit after `at`, or at it when windows are measured from starts.
    fn rounded(&self, at: NaiveDateTime, offset: WindowOffset) -> Option<NaiveDateTime> {
        let start = self.unit.bucket(at)?;
        match offset {
            WindowOffset::Start if start == at => Some(at),
            _ => self.unit.next(start),
        }
    }
}

/// The finest unit that a granularity is made of.
fn unit_of(granularity: &Granularity) -> TimeUnit {
    if let Some(unit) = TimeUnit::from_name(&granularity.name) {
        return unit;
    }
    let texts = [Some(&granularity.interval), granularity.offset.as_ref()];
    let words = texts.into_iter().flatten().flat_map(|text| text.split_whitespace());
    let named = words.filter_map(|word| TimeUnit::from_name(word.strip_suffix('s').unwrap_or(word)));
    let unit = named.reduce(common).unwrap_or(TimeUnit::Second);
    // An origin may put the edges between the starts of its unit.
    let any = granularity.bucket(NaiveDateTime::default()).unwrap_or_default();
    let finer = [TimeUnit::Day, TimeUnit::Hour, TimeUnit::Minute];
    match unit.truncate(any) == any {
        true => unit,
        false => {
            let fits = finer.into_iter().find(|unit| unit.truncate(any) == any);
            common(unit, fits.unwrap_or(TimeUnit::Second))
        }
    }
}

/// The longest unit that divides both.
fn common(a: TimeUnit, b: TimeUnit) -> TimeUnit {
    let (fine, coarse) = (a.min(b), a.max(b));
    match fine {
        TimeUnit::Week if coarse != TimeUnit::Week => TimeUnit::Day,
        _ => fine,
    }
}
