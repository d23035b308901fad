//! Calls that become others: intervals, units written as words, the present.

use crate::error::{Error, Result};
use crate::functions::{Call, build};
use datafusion::sql::sqlparser::ast::{Expr, Value};

/// The text of a literal or of a bare word.
fn word(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        Expr::Identifier(name) => Some(name.value.clone()),
        _ => None,
    }
}

/// The count and the unit of an interval that was written out or made by a function.
fn interval(expr: &Expr) -> Option<(Expr, String)> {
    match expr {
        Expr::Interval(interval) => {
            let text = word(&interval.value)?;
            let (count, unit) = text.split_once(' ')?;
            let months = count.trim().parse().ok()?;
            Some((build::number(months), unit.trim().to_owned()))
        }
        Expr::Function(function) => {
            let call = Call::new(function.clone()).ok()?;
            let [unit, count]: [Expr; 2] = call.args.try_into().ok()?;
            if call.name != "ch_interval" {
                return None;
            }
            Some((count, word(&unit)?))
        }
        Expr::Nested(inner) => interval(inner),
        _ => None,
    }
}

/// `toStartOfInterval(t, INTERVAL 15 minute[, zone])`.
pub fn start_of_interval(call: Call) -> Result<Expr> {
    call.count(2, 3)?;
    let mut args = call.args;
    let zone = if args.len() > 2 { args.pop() } else { None };
    let length = args.pop();
    let found = length.as_ref().and_then(interval);
    let (count, unit) = found.ok_or_else(|| {
        Error::model("`toStartOfInterval` takes an interval: toStartOfInterval(ts, INTERVAL 15 MINUTE)")
    })?;
    args.extend([count, build::text(&unit)]);
    args.extend(zone);
    Ok(build::function("ch_startOfInterval", args))
}

/// `dateTrunc('unit', t[, zone])`: the start of the unit.
pub fn truncated(call: Call) -> Result<Expr> {
    call.count(2, 3)?;
    let mut args = call.args.into_iter();
    let unit = args
        .next()
        .as_ref()
        .and_then(word)
        .ok_or_else(|| Error::model("`dateTrunc` takes its unit as a text"))?;
    let name = match unit.to_ascii_lowercase().trim_end_matches('s') {
        "second" => "ch_toStartOfSecond",
        "minute" => "ch_toStartOfMinute",
        "hour" => "ch_toStartOfHour",
        "day" => "ch_toStartOfDay",
        "week" => "ch_toMonday",
        "month" => "ch_toStartOfMonth",
        "quarter" => "ch_toStartOfQuarter",
        "year" => "ch_toStartOfYear",
        _ => return Err(Error::model(format!("`dateTrunc` knows no unit `{unit}`"))),
    };
    let mut rest: Vec<Expr> = args.collect();
    if name == "ch_toStartOfSecond" {
        rest.insert(1, build::number(1));
        rest.insert(2, build::text("second"));
        return Ok(build::function("ch_startOfInterval", rest));
    }
    Ok(build::function(name, rest))
}

/// `dateDiff('unit', from, to[, zone])` and `age`; the unit may be a bare word.
pub fn diff(call: Call) -> Result<Expr> {
    call.count(3, 4)?;
    let name = if call.name.eq_ignore_ascii_case("age") {
        "ch_ageOf"
    } else {
        "ch_diffOf"
    };
    let mut args = call.args;
    let unit = word(&args[0]).ok_or_else(|| Error::model(format!("`{}` takes its unit as a text", call.name)))?;
    args[0] = build::text(&unit);
    Ok(build::function(name, args))
}

/// `dateAdd(unit, n, t)`, `dateAdd(t, INTERVAL n unit)`, and `dateSub`.
pub fn add_by_unit(call: Call) -> Result<Expr> {
    call.count(2, 3)?;
    let sign = if call.name.to_ascii_lowercase().contains("sub") {
        "subtract"
    } else {
        "add"
    };
    let name = call.name.clone();
    let (count, unit, at) = match call.args.as_slice() {
        [at, length] => {
            let (at, length) = if interval(at).is_some() {
                (length, at)
            } else {
                (at, length)
            };
            let (count, unit) = interval(length).ok_or_else(|| Error::model(format!("`{name}` takes an interval")))?;
            (count, unit, at.clone())
        }
        [unit, count, at] => {
            let unit = word(unit).ok_or_else(|| Error::model(format!("`{name}` takes a unit, a count and a time")))?;
            (count.clone(), unit, at.clone())
        }
        _ => return Err(Error::internal("arguments were counted")),
    };
    let function = match unit.to_ascii_lowercase().trim_end_matches('s') {
        "year" => "Years",
        "quarter" => "Quarters",
        "month" => "Months",
        "week" => "Weeks",
        "day" => "Days",
        "hour" => "Hours",
        "minute" => "Minutes",
        "second" => "Seconds",
        "millisecond" => "Milliseconds",
        "microsecond" => "Microseconds",
        _ => return Err(Error::model(format!("`{name}` knows no unit `{unit}`"))),
    };
    Ok(build::function(&format!("ch_{sign}{function}"), vec![at, count]))
}

/// `toIntervalDay(n)`.
pub fn to_interval(call: Call) -> Result<Expr> {
    let unit = call
        .name
        .to_ascii_lowercase()
        .trim_start_matches("tointerval")
        .to_owned();
    let [count] = call.exactly()?;
    Ok(build::function("ch_interval", vec![build::text(&unit), count]))
}

/// `now([zone])` in whole seconds, `now64([scale[, zone]])`.
pub fn now(call: Call) -> Result<Expr> {
    let now = build::function("now", Vec::new());
    if call.name.eq_ignore_ascii_case("now64") {
        call.count(0, 2)?;
        let mut args = vec![now];
        args.extend(call.args);
        if args.len() == 1 {
            args.push(build::number(3));
        }
        return Ok(build::function("ch_toDateTime64", args));
    }
    call.count(0, 1)?;
    let args = std::iter::once(now).chain(call.args).collect();
    Ok(build::function("ch_toDateTime", args))
}

/// `today([zone])` and `yesterday([zone])`.
pub fn today(call: Call) -> Result<Expr> {
    call.count(0, 1)?;
    let args = std::iter::once(build::function("now", Vec::new()))
        .chain(call.args)
        .collect();
    let today = build::function("ch_toDate", args);
    Ok(match call.name.eq_ignore_ascii_case("yesterday") {
        true => build::function("ch_addDays", vec![today, build::number(-1)]),
        false => today,
    })
}

/// `fromUnixTimestamp(n[, format[, zone]])`.
pub fn from_unix(call: Call) -> Result<Expr> {
    call.count(1, 3)?;
    let mut args = call.args.into_iter();
    let seconds = args.next().into_iter().collect();
    let at = build::function("ch_fromUnixTimestamp64Second", seconds);
    let rest: Vec<Expr> = args.collect();
    if rest.is_empty() {
        return Ok(at);
    }
    Ok(build::function(
        "ch_formatDateTime",
        std::iter::once(at).chain(rest).collect(),
    ))
}
