//! `time_bucket(at, zone, months, micros, interval, origin, offset)`: the wall-clock start of the bucket that holds an
//! instant after it is moved by `months` and `micros` on the wall clock.
//!
//! Exact at every daylight-saving edge: the instant is put on the zone's wall clock first and cut there. Most rows cost a
//! few nanoseconds: the zone's offsets are a table made once for each zone, and buckets of one length are arithmetic.

use crate::model::Granularity;
use crate::query::plan::BUCKET;
use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Months, NaiveDateTime, Offset, TimeZone};
use chrono_tz::Tz;
use datafusion::common::{Result as PlanResult, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// The function, for registration.
pub fn udf() -> Arc<ScalarUDF> {
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut types = vec![instant, DataType::Utf8, DataType::Int64, DataType::Int64];
    types.extend(std::iter::repeat_n(DataType::Utf8, 3));
    Arc::new(ScalarUDF::new_from_impl(Bucket {
        signature: Signature::exact(types, Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bucket {
    signature: Signature,
}

impl ScalarUDFImpl for Bucket {
    fn name(&self) -> &str {
        BUCKET
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> PlanResult<DataType> {
        Ok(DataType::Timestamp(TimeUnit::Microsecond, None))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let [at, zone, months, micros, interval, origin, offset] = args.args.as_slice() else {
            return Err(DataFusionError::Internal(format!("{BUCKET} takes seven arguments")));
        };
        let text = |value: &ColumnarValue| match value {
            ColumnarValue::Scalar(scalar) => Ok(scalar.try_as_str().flatten().unwrap_or_default().to_owned()),
            ColumnarValue::Array(_) => Err(DataFusionError::Internal(format!("{BUCKET} takes constants"))),
        };
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        let clock = ShiftedClock::of(zone, months, micros)?;
        let (origin, offset) = (given(text(origin)?), given(text(offset)?));
        let granularity = Granularity::new("bucket", None, &text(interval)?, origin.as_deref(), offset.as_deref())
            .map_err(DataFusionError::Execution)?;
        let mut cutter = Cutter::new(&granularity, clock);
        match at {
            ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(at, _)) => {
                let start = at.and_then(|at| cutter.cut(at));
                Ok(ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(start, None)))
            }
            ColumnarValue::Scalar(_) => Ok(ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(None, None))),
            ColumnarValue::Array(array) => Ok(ColumnarValue::Array(cutter.cut_all(array))),
        }
    }
}

/// Cuts instants for one call.
struct Cutter<'a> {
    clock: ShiftedClock,
    granularity: &'a Granularity,
    /// An edge and the length of all buckets, when they have one length.
    fixed: Option<(i64, i64)>,
    /// The bucket of the last instant: start and end.
    last: (i64, i64),
    /// Buckets of different lengths seen so far: start and end, sorted.
    seen: Vec<(i64, i64)>,
}

/// Buckets remembered in one call. A year of months is 12, so more than this are not from a calendar.
const SEEN_MAX: usize = 4096;

impl<'a> Cutter<'a> {
    fn new(granularity: &'a Granularity, clock: ShiftedClock) -> Self {
        Self {
            clock,
            granularity,
            fixed: granularity.fixed(),
            last: (0, 0),
            seen: Vec::new(),
        }
    }

    fn cut_all(&mut self, array: &ArrayRef) -> ArrayRef {
        let instants = array.as_primitive::<TimestampMicrosecondType>();
        let mut outside: Vec<usize> = Vec::new();
        let cut = |(row, at): (usize, &i64)| match self.cut(*at) {
            Some(start) => start,
            None => {
                outside.push(row);
                0
            }
        };
        let starts: Vec<i64> = instants.values().iter().enumerate().map(cut).collect();
        let mut nulls = instants.nulls().cloned();
        if !outside.is_empty() {
            let mut valid: Vec<bool> = (0..array.len()).map(|row| array.is_valid(row)).collect();
            for row in outside {
                if let Some(valid) = valid.get_mut(row) {
                    *valid = false;
                }
            }
            nulls = Some(NullBuffer::from(valid));
        }
        Arc::new(PrimitiveArray::<TimestampMicrosecondType>::new(starts.into(), nulls))
    }

    /// `None` for instants outside the calendar.
    #[inline]
    fn cut(&mut self, at: i64) -> Option<i64> {
        let local = self.clock.local(at)?;
        if local >= self.last.0 && local < self.last.1 {
            return Some(self.last.0);
        }
        self.last = match self.fixed {
            Some((edge, length)) => {
                let start = local.checked_sub((local.checked_sub(edge)?).rem_euclid(length))?;
                (start, start.checked_add(length)?)
            }
            None => self.calendar(local)?,
        };
        Some(self.last.0)
    }

    /// The bucket of a wall-clock instant when buckets have different lengths.
    fn calendar(&mut self, local: i64) -> Option<(i64, i64)> {
        let at = self.seen.partition_point(|(start, _)| *start <= local);
        let before = at.checked_sub(1).and_then(|at| self.seen.get(at));
        if let Some(&(start, end)) = before
            && local < end
        {
            return Some((start, end));
        }
        let naive = |micros: i64| DateTime::from_timestamp_micros(micros).map(|at| at.naive_utc());
        let micros = |naive: NaiveDateTime| naive.and_utc().timestamp_micros();
        let start = self.granularity.bucket(naive(local)?)?;
        let found = (micros(start), micros(self.granularity.next(start)?));
        if self.seen.len() < SEEN_MAX {
            self.seen.insert(at, found);
        }
        Some(found)
    }
}

/// A zone's wall clock that is put forward by calendar months and then by microseconds.
pub(super) struct ShiftedClock {
    clock: WallClock,
    months: i64,
    micros: i64,
}

impl ShiftedClock {
    /// The clock that constant arguments describe.
    pub(super) fn of(zone: &ColumnarValue, months: &ColumnarValue, micros: &ColumnarValue) -> PlanResult<Self> {
        let constants = || DataFusionError::Internal("the zone and the shift must be constants".to_owned());
        let number = |value: &ColumnarValue| match value {
            ColumnarValue::Scalar(ScalarValue::Int64(Some(number))) => Ok(*number),
            _ => Err(constants()),
        };
        let ColumnarValue::Scalar(zone) = zone else {
            return Err(constants());
        };
        let zone = zone.try_as_str().flatten().unwrap_or_default().parse::<Tz>();
        let zone = zone.map_err(|_| DataFusionError::Execution("unknown time zone".to_owned()))?;
        Ok(Self::new(zone, number(months)?, number(micros)?))
    }

    pub(super) fn new(zone: Tz, months: i64, micros: i64) -> Self {
        Self {
            clock: WallClock::new(zone),
            months,
            micros,
        }
    }

    /// The wall clock at an instant; `None` outside the calendar.
    #[inline]
    pub(super) fn local(&mut self, at: i64) -> Option<i64> {
        let mut local = self.clock.local(at)?;
        if self.months != 0 {
            let naive = DateTime::from_timestamp_micros(local)?.naive_utc();
            let step = Months::new(u32::try_from(self.months.unsigned_abs()).ok()?);
            let moved = match self.months < 0 {
                true => naive.checked_sub_months(step)?,
                false => naive.checked_add_months(step)?,
            };
            local = moved.and_utc().timestamp_micros();
        }
        local.checked_add(self.micros)
    }
}

/// Spans of constant offset of one zone: first instant and offset, both microseconds, sorted.
type Spans = Arc<Vec<(i64, i64)>>;

static ZONES: LazyLock<RwLock<HashMap<Tz, Spans>>> = LazyLock::new(RwLock::default);

/// 2000-01-01T00:00:00Z and 2050-01-01T00:00:00Z: what the tables cover. Other instants are looked up one by one.
const TABLE_SECONDS: (i64, i64) = (946_684_800, 2_524_608_000);
/// How far apart the table's maker looks; no zone changes its offset twice in this time.
const LOOK_SECONDS: i64 = 86_400;

/// Turns instants into a zone's wall clock, remembering the last span.
struct WallClock {
    zone: Tz,
    spans: Spans,
    span: (i64, i64),
    offset: i64,
}

impl WallClock {
    fn new(zone: Tz) -> Self {
        let known = ZONES.read().get(&zone).map(Arc::clone);
        let spans = known.unwrap_or_else(|| {
            let made = Arc::new(spans(zone));
            Arc::clone(ZONES.write().entry(zone).or_insert(made))
        });
        Self {
            zone,
            spans,
            span: (0, 0),
            offset: 0,
        }
    }

    #[inline]
    fn local(&mut self, at: i64) -> Option<i64> {
        if at < self.span.0 || at >= self.span.1 {
            self.find(at)?;
        }
        at.checked_add(self.offset)
    }

    fn find(&mut self, at: i64) -> Option<()> {
        let seconds = at.div_euclid(1_000_000);
        if seconds < TABLE_SECONDS.0 || seconds >= TABLE_SECONDS.1 {
            let offset = offset_seconds(seconds, self.zone)?;
            (self.span, self.offset) = ((at, at.checked_add(1)?), offset * 1_000_000);
            return Some(());
        }
        let next = self.spans.partition_point(|(from, _)| *from <= at);
        let (from, offset) = *self.spans.get(next.checked_sub(1)?)?;
        let end = self
            .spans
            .get(next)
            .map_or(TABLE_SECONDS.1 * 1_000_000, |(from, _)| *from);
        (self.span, self.offset) = ((from, end), offset);
        Some(())
    }
}

/// Seconds that `zone` is ahead of UTC at an instant given in seconds.
fn offset_seconds(seconds: i64, zone: Tz) -> Option<i64> {
    let utc = DateTime::from_timestamp(seconds, 0)?.naive_utc();
    Some(i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()))
}

fn spans(zone: Tz) -> Vec<(i64, i64)> {
    let offset = |seconds: i64| offset_seconds(seconds, zone).unwrap_or(0);
    let (mut at, end) = TABLE_SECONDS;
    let mut now = offset(at);
    let mut spans = vec![(at * 1_000_000, now * 1_000_000)];
    while at < end {
        let next = at + LOOK_SECONDS;
        let then = offset(next);
        if then != now {
            // The change lies in (before, after]; find its second.
            let (mut before, mut after) = (at, next);
            while after - before > 1 {
                let middle = before + (after - before) / 2;
                if offset(middle) == now {
                    before = middle;
                } else {
                    after = middle;
                }
            }
            spans.push((after * 1_000_000, then * 1_000_000));
            now = then;
        }
        at = next;
    }
    spans
}

#[cfg(test)]
mod tests;
