//! `refresh_key`: when Cube computes something anew. Answers here are always fresh, so that a key is checked and shown
//! and changes nothing.

use super::{Location, SqlTemplate};

/// When something is computed anew.
#[derive(Debug, Clone, PartialEq)]
pub struct RefreshKey {
    /// An interval such as `1 hour`, or a cron expression.
    pub every: Option<String>,
    /// A query whose changed answer asks for it.
    pub sql: Option<SqlTemplate>,
    /// Time zone of a cron expression.
    pub timezone: Option<String>,
    /// Whether only the newest partitions are made anew.
    pub incremental: bool,
    /// How far back partitions count as new.
    pub update_window: Option<String>,
    /// Never.
    pub immutable: bool,
    /// As written, without SQL: what extended meta shows.
    pub shown: serde_json::Value,
    /// Where it was written.
    pub location: Location,
}

/// Whether `text` is an interval of a refresh key: `<n> second|minute|hour|day|week`, plural allowed.
pub fn is_interval(text: &str) -> bool {
    const UNITS: &[&str] = &["second", "minute", "hour", "day", "week"];
    text.split_once(' ').is_some_and(|(count, unit)| {
        let unit = unit.strip_suffix('s').unwrap_or(unit);
        !count.is_empty() && count.chars().all(|c| c.is_ascii_digit()) && UNITS.contains(&unit)
    })
}

/// The least and greatest number of each field of a cron expression of six fields.
const CRON_FIELDS: [(u32, u32, &[&str]); 6] = [
    (0, 59, &[]),
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (
        1,
        12,
        &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    ),
    (0, 7, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];

/// Checks a cron expression of five fields, or six with seconds first.
///
/// # Errors
/// What is wrong with it.
pub fn check_cron(text: &str) -> Result<(), String> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let skipped = match fields.len() {
        5 => 1,
        6 => 0,
        _ => return Err("five or six fields are needed".to_owned()),
    };
    let rows = CRON_FIELDS.iter().skip(skipped);
    for (field, (least, greatest, names)) in fields.iter().zip(rows) {
        for part in field.split(',') {
            cron_part(part, *least, *greatest, names)?;
        }
    }
    Ok(())
}

fn cron_part(part: &str, least: u32, greatest: u32, names: &[&str]) -> Result<(), String> {
    let (range, step) = part
        .split_once('/')
        .map_or((part, None), |(range, step)| (range, Some(step)));
    if let Some(step) = step
        && !step.parse::<u32>().is_ok_and(|step| step > 0)
    {
        return Err(format!("`{part}` has no step that is a number above 0"));
    }
    if ["*", "?", "L"].contains(&range) {
        return Ok(());
    }
    let number = |text: &str| {
        let name = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let named = name.and_then(|at| u32::try_from(at).ok()).map(|at| at + least);
        let number = named.or_else(|| text.parse().ok());
        let number = number.ok_or_else(|| format!("Invalid characters, got value: {text}"))?;
        if (least..=greatest).contains(&number) {
            Ok(number)
        } else {
            Err(format!(
                "Constraint error, got value {number} expected range {least}-{greatest}"
            ))
        }
    };
    match range.split_once('-') {
        None => number(range).map(drop),
        Some((from, to)) if number(from)? <= number(to)? => Ok(()),
        Some(_) => Err(format!("`{range}` runs backwards")),
    }
}

#[cfg(test)]
mod tests;
