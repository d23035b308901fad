//! Shifts in time. A row is looked at as if its instant were moved on the wall clock of the query's zone; for ranges and
//! conditions their bounds are moved back instead, so that only the needed rows are read.

use super::Shifted;
use crate::error::{Error, Result};
use crate::model::{Cube, Dimension, Interval, Member};
use crate::query::resolve::{Condition, SelectedTime};
use crate::query::{DateRange, Operator, date_range};
use chrono::{NaiveDateTime, NaiveTime, TimeDelta};

fn shift_of(shifts: &[Shifted], cube: &Cube, dimension: &Dimension) -> Option<Interval> {
    let found = shifts
        .iter()
        .find(|shift| shift.cube == cube.name && shift.dimension == dimension.name);
    found.map(|shift| shift.by)
}

/// The first wall-clock time that is at or after `bound` when it is moved by `by`.
pub(super) fn unshifted(bound: NaiveDateTime, by: Interval) -> Option<NaiveDateTime> {
    let back = by.add(bound, -1)?;
    if by.add(back, 1)? >= bound {
        return Some(back);
    }
    // The target month is shorter: no day of it is moved to `bound`, the first day after it is moved beyond.
    Some(back.date().succ_opt()?.and_time(NaiveTime::MIN))
}

fn moved(bound: NaiveDateTime, by: Interval, whole_millisecond: bool) -> Result<NaiveDateTime> {
    let millisecond = TimeDelta::milliseconds(i64::from(whole_millisecond));
    let found = unshifted(bound + millisecond, by).map(|bound| bound - millisecond);
    found.ok_or_else(|| Error::invalid("a time shift leads outside the calendar"))
}

fn range(range: DateRange, by: Interval) -> Result<DateRange> {
    Ok(DateRange {
        from: moved(range.from, by, false)?,
        to: moved(range.to, by, true)?,
    })
}

/// `times` with shifted buckets, and with ranges that hold the rows that are moved into theirs.
pub(super) fn times<'a>(times: &[SelectedTime<'a>], shifts: &[Shifted]) -> Result<Vec<SelectedTime<'a>>> {
    let mut all = times.to_vec();
    for time in &mut all {
        let Some(by) = shift_of(shifts, time.cube, time.dimension) else {
            continue;
        };
        time.granularity = time
            .granularity
            .as_ref()
            .map(|granularity| granularity.shifted(Some(by)));
        time.range = time.range.map(|found| range(found, by)).transpose()?;
    }
    Ok(all)
}

/// Values of the conditions on shifted dimensions, moved back, in the order of [`condition`].
pub(super) fn values(conditions: &[Condition<'_>], shifts: &[Shifted]) -> Result<Vec<Vec<Option<String>>>> {
    let mut all = Vec::new();
    for condition in conditions {
        add_values(condition, shifts, &mut all)?;
    }
    Ok(all)
}

/// Depth is bounded by `resolve`.
fn add_values(condition: &Condition<'_>, shifts: &[Shifted], all: &mut Vec<Vec<Option<String>>>) -> Result<()> {
    match condition {
        Condition::And(inner) | Condition::Or(inner) => inner
            .iter()
            .try_for_each(|condition| add_values(condition, shifts, all)),
        Condition::Member {
            path,
            cube,
            member: Member::Dimension(dimension),
            operator,
            values,
        } => {
            if let Some(by) = shift_of(shifts, cube, dimension) {
                all.push(moved_values(path, *operator, values, by)?);
            }
            Ok(())
        }
        Condition::Member { .. } => Ok(()),
    }
}

fn moved_values(
    path: &str,
    operator: Operator,
    values: &[Option<String>],
    by: Interval,
) -> Result<Vec<Option<String>>> {
    if matches!(operator, Operator::Set | Operator::NotSet) {
        return Ok(values.to_vec());
    }
    if !operator.is_date() {
        return Err(Error::invalid(format!(
            "the operator `{}` on '{path}' does not go with a measure that shifts it in time",
            operator.name()
        )));
    }
    let mut all = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        let last = index == 1 || matches!(operator, Operator::BeforeOrOnDate | Operator::AfterDate);
        all.push(match value {
            Some(text) => Some(date_range::format(moved(date_range::parse_local(text)?, by, last)?)),
            None => None,
        });
    }
    Ok(all)
}

/// `condition` with the values that [`values`] moved.
pub(super) fn condition<'a>(
    condition: &Condition<'a>,
    shifts: &[Shifted],
    moved: &mut std::slice::Iter<'a, Vec<Option<String>>>,
) -> Condition<'a> {
    let mut each = |inner: &[Condition<'a>]| inner.iter().map(|one| self::condition(one, shifts, moved)).collect();
    match condition {
        Condition::And(inner) => Condition::And(each(inner)),
        Condition::Or(inner) => Condition::Or(each(inner)),
        Condition::Member {
            path,
            cube,
            member: Member::Dimension(dimension),
            operator,
            ..
        } if shift_of(shifts, cube, dimension).is_some() => Condition::Member {
            path,
            cube,
            member: Member::Dimension(dimension),
            operator: *operator,
            values: moved.next().map_or(&[], Vec::as_slice),
        },
        other => other.clone(),
    }
}
