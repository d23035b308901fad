//! Days and instants as text.

use super::{DAY, SECOND, local, times};
use crate::functions::scalar::Args;
use arrow::array::ArrayRef;
use arrow::datatypes::TimeUnit;
use chrono::{Datelike, NaiveDate};
use datafusion::common::Result as PlanResult;
use std::fmt::Write;

/// Appends what `toString` gives: `2020-01-02`, `2020-01-02 03:04:05`, `2020-01-02 03:04:05.006`.
pub fn text_of_array(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let times = times(args, 0, 1)?;
    args.texts(|row, out| {
        let wall = times.local(row);
        write_date(out, super::date_of(wall.div_euclid(DAY)));
        if times.are_days {
            return Ok(());
        }
        let clock = wall.rem_euclid(DAY);
        let seconds = clock / SECOND;
        let _ = write!(
            out,
            " {:02}:{:02}:{:02}",
            seconds / 3_600,
            seconds / 60 % 60,
            seconds % 60
        );
        let micros = clock % SECOND;
        let _ = match times.unit {
            TimeUnit::Second => Ok(()),
            TimeUnit::Millisecond => write!(out, ".{:03}", micros / 1_000),
            TimeUnit::Microsecond => write!(out, ".{micros:06}"),
            TimeUnit::Nanosecond => write!(out, ".{:09}", micros * 1_000),
        };
        Ok(())
    })
}

fn write_date(out: &mut String, date: NaiveDate) {
    let _ = write!(out, "{:04}-{:02}-{:02}", date.year(), date.month(), date.day());
}

const WEEKDAYS: &[&str] = &[
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const MONTHS: &[&str] = &[
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// `formatDateTime(t, format[, zone])`: MySQL's specifiers.
pub fn format_date_time(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let times = times(args, 0, 2)?;
    let format = if args.len() > 1 {
        args.constant_text(1)?
    } else {
        "%F %T".to_owned()
    };
    args.texts(|row, out| {
        let wall = times.local(row);
        let offset = if times.are_days {
            0
        } else {
            local(times.micros(row), times.zone) - times.micros(row)
        };
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            match (c, if c == '%' { chars.next() } else { None }) {
                ('%', Some(specifier)) => {
                    if !specified(out, specifier, wall, offset, times.unit) {
                        return Err(super::wrong(format!("`%{specifier}` is not known")));
                    }
                }
                (c, _) => out.push(c),
            }
        }
        Ok(())
    })
}

/// Appends what a specifier stands for; false when there is none such.
fn specified(out: &mut String, specifier: char, wall: i64, offset: i64, unit: TimeUnit) -> bool {
    let date = super::date_of(wall.div_euclid(DAY));
    let seconds = wall.rem_euclid(DAY) / SECOND;
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let twelve = (hour + 11) % 12 + 1;
    let micros = wall.rem_euclid(SECOND);
    let weekday = date.weekday().num_days_from_monday() as usize;
    let week = date.iso_week();
    let _ = match specifier {
        'Y' => write!(out, "{:04}", date.year()),
        'y' => write!(out, "{:02}", date.year().rem_euclid(100)),
        'C' => write!(out, "{:02}", date.year() / 100),
        'm' => write!(out, "{:02}", date.month()),
        'c' => write!(out, "{:02}", date.month()),
        'd' => write!(out, "{:02}", date.day()),
        'e' => write!(out, "{:>2}", date.day()),
        'j' => write!(out, "{:03}", date.ordinal()),
        'H' => write!(out, "{hour:02}"),
        'k' => write!(out, "{hour:02}"),
        'I' | 'h' => write!(out, "{twelve:02}"),
        'l' => write!(out, "{twelve:02}"),
        'i' => write!(out, "{minute:02}"),
        'M' => write!(out, "{}", MONTHS[date.month0() as usize]),
        'S' | 's' => write!(out, "{second:02}"),
        'p' => write!(out, "{}", if hour < 12 { "AM" } else { "PM" }),
        'f' => match unit {
            TimeUnit::Millisecond => write!(out, "{:03}", micros / 1_000),
            TimeUnit::Second => write!(out, "000000"),
            _ => write!(out, "{micros:06}"),
        },
        'F' => write!(out, "{:04}-{:02}-{:02}", date.year(), date.month(), date.day()),
        'D' => write!(
            out,
            "{:02}/{:02}/{:02}",
            date.month(),
            date.day(),
            date.year().rem_euclid(100)
        ),
        'T' => write!(out, "{hour:02}:{minute:02}:{second:02}"),
        'R' => write!(out, "{hour:02}:{minute:02}"),
        'r' => write!(out, "{twelve:02}:{minute:02} {}", if hour < 12 { "AM" } else { "PM" }),
        'u' => write!(out, "{}", weekday + 1),
        'w' => write!(out, "{}", (weekday + 1) % 7),
        'a' => write!(out, "{}", &WEEKDAYS[weekday][..3]),
        'W' => write!(out, "{}", WEEKDAYS[weekday]),
        'b' => write!(out, "{}", &MONTHS[date.month0() as usize][..3]),
        'V' => write!(out, "{:02}", week.week()),
        'G' => write!(out, "{:04}", week.year()),
        'g' => write!(out, "{:02}", week.year().rem_euclid(100)),
        'Q' => write!(out, "{}", date.month0() / 3 + 1),
        'z' => {
            let minutes = offset / SECOND / 60;
            let sign = if minutes < 0 { '-' } else { '+' };
            write!(out, "{sign}{:02}{:02}", minutes.abs() / 60, minutes.abs() % 60)
        }
        'n' => writeln!(out),
        't' => write!(out, "\t"),
        '%' => write!(out, "%"),
        _ => return false,
    };
    true
}
