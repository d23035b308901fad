//! `LIKE` and regular expressions.

use crate::functions::scalar::{Args, Text, wrong};
use arrow::array::{ArrayRef, ListBuilder, StringViewBuilder};
use arrow::datatypes::UInt64Type;
use datafusion::common::Result as PlanResult;
use regex::{Regex, RegexBuilder};
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of a compiled expression.
const COMPILED_BYTES_MAX: usize = 1024 * 1024;
/// Different patterns kept while a batch is answered.
const PATTERNS_MAX: usize = 64;

/// Compiled patterns of one batch: mostly one.
struct Patterns {
    text: Text,
    compile: fn(&str) -> PlanResult<Regex>,
    known: HashMap<String, Regex>,
}

impl Patterns {
    fn new(args: &Args<'_>, at: usize, compile: fn(&str) -> PlanResult<Regex>) -> PlanResult<Self> {
        Ok(Self {
            text: args.text(at)?,
            compile,
            known: HashMap::new(),
        })
    }

    fn get(&mut self, row: usize) -> PlanResult<&Regex> {
        let pattern = self.text.get(row);
        if !self.known.contains_key(pattern) {
            if self.known.len() >= PATTERNS_MAX {
                self.known.clear();
            }
            self.known.insert(pattern.to_owned(), (self.compile)(pattern)?);
        }
        self.known.get(pattern).ok_or_else(|| wrong("a pattern is gone"))
    }
}

fn built(pattern: &str, set: impl FnOnce(&mut RegexBuilder) -> &mut RegexBuilder) -> PlanResult<Regex> {
    let mut builder = RegexBuilder::new(pattern);
    let builder = builder.size_limit(COMPILED_BYTES_MAX).unicode(true);
    set(builder)
        .build()
        .map_err(|error| wrong(format!("`{pattern}` is no regular expression: {error}")))
}

/// RE2's syntax, in which `\d`, `\w`, `\s` and `\b` know ASCII only and `.` takes newlines.
fn expression(pattern: &str) -> PlanResult<Regex> {
    built(&ascii_classes(pattern), |builder| builder.dot_matches_new_line(true))
}

/// `pattern` with its Perl classes in ASCII.
fn ascii_classes(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    let mut in_set = false;
    while let Some(c) = chars.next() {
        match (c, in_set) {
            ('\\', _) => match (chars.next(), in_set) {
                (Some('d'), true) => out.push_str("0-9"),
                (Some('w'), true) => out.push_str("0-9A-Za-z_"),
                (Some('s'), true) => out.push_str(r"\t\n\f\r "),
                (Some('d'), false) => out.push_str("[0-9]"),
                (Some('w'), false) => out.push_str("[0-9A-Za-z_]"),
                (Some('s'), false) => out.push_str(r"[\t\n\f\r ]"),
                (Some('D'), false) => out.push_str("[^0-9]"),
                (Some('W'), false) => out.push_str("[^0-9A-Za-z_]"),
                (Some('S'), false) => out.push_str(r"[^\t\n\f\r ]"),
                (Some(other), _) => {
                    out.push('\\');
                    out.push(other);
                }
                (None, _) => out.push('\\'),
            },
            ('[', false) => {
                in_set = true;
                out.push(c);
            }
            ('[', true) => out.push_str(r"\["),
            (']', true) => {
                in_set = false;
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

/// A `LIKE` pattern as a regular expression: `%`, `_`, and `\` before them.
fn like_expression(pattern: &str) -> String {
    let mut out = String::from("^");
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => out.push_str(".*"),
            '_' => out.push('.'),
            '\\' => match chars.next() {
                Some(next @ ('%' | '_' | '\\')) => out.push_str(&regex::escape(&next.to_string())),
                Some(next) => {
                    out.push_str(r"\\");
                    out.push_str(&regex::escape(&next.to_string()));
                }
                None => out.push_str(r"\\"),
            },
            c => out.push_str(&regex::escape(&c.to_string())),
        }
    }
    out.push('$');
    out
}

fn like_pattern(pattern: &str) -> PlanResult<Regex> {
    built(&like_expression(pattern), |builder| builder.dot_matches_new_line(true))
}

fn ilike_pattern(pattern: &str) -> PlanResult<Regex> {
    built(&like_expression(pattern), |builder| {
        builder.dot_matches_new_line(true).case_insensitive(true)
    })
}

fn matches(args: &Args<'_>, compile: fn(&str) -> PlanResult<Regex>, negated: bool) -> PlanResult<ArrayRef> {
    let text = args.text(0)?;
    let mut patterns = Patterns::new(args, 1, compile)?;
    args.booleans(|row| Ok(patterns.get(row)?.is_match(text.get(row)) != negated))
}

/// `like`.
pub fn like(args: &Args<'_>) -> PlanResult<ArrayRef> {
    matches(args, like_pattern, false)
}

/// `notLike`.
pub fn not_like(args: &Args<'_>) -> PlanResult<ArrayRef> {
    matches(args, like_pattern, true)
}

/// `ilike`.
pub fn ilike(args: &Args<'_>) -> PlanResult<ArrayRef> {
    matches(args, ilike_pattern, false)
}

/// `notILike`.
pub fn not_ilike(args: &Args<'_>) -> PlanResult<ArrayRef> {
    matches(args, ilike_pattern, true)
}

/// `match`.
pub fn is_match(args: &Args<'_>) -> PlanResult<ArrayRef> {
    matches(args, expression, false)
}

/// `extract(text, pattern)`: the first group, or all of the match when there is none.
pub fn extract(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let text = args.text(0)?;
    let mut patterns = Patterns::new(args, 1, expression)?;
    args.texts(|row, out| {
        let pattern = patterns.get(row)?;
        let group = usize::from(pattern.captures_len() > 1);
        if let Some(found) = pattern.captures(text.get(row)).and_then(|found| found.get(group)) {
            out.push_str(found.as_str());
        }
        Ok(())
    })
}

/// `regexpExtract(text, pattern[, group])`.
pub fn extract_group(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let text = args.text(0)?;
    let groups = if args.len() > 2 { Some(args.int(2)?) } else { None };
    let mut patterns = Patterns::new(args, 1, expression)?;
    args.texts(|row, out| {
        let pattern = patterns.get(row)?;
        let group = match &groups {
            Some(groups) => usize::try_from(groups.get(row)).unwrap_or(usize::MAX),
            None => usize::from(pattern.captures_len() > 1),
        };
        if group >= pattern.captures_len() {
            return Err(wrong(format!("the pattern has no group {group}")));
        }
        if let Some(found) = pattern.captures(text.get(row)).and_then(|found| found.get(group)) {
            out.push_str(found.as_str());
        }
        Ok(())
    })
}

/// `extractAll(text, pattern)`.
pub fn extract_all(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let text = args.text(0)?;
    let mut patterns = Patterns::new(args, 1, expression)?;
    lists(args, |row, list| {
        let pattern = patterns.get(row)?;
        let group = usize::from(pattern.captures_len() > 1);
        for found in pattern.captures_iter(text.get(row)) {
            list.append_value(found.get(group).map_or("", |found| found.as_str()));
        }
        Ok(())
    })
}

/// `countMatches(text, pattern)`.
pub fn count_matches(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let text = args.text(0)?;
    let mut patterns = Patterns::new(args, 1, expression)?;
    args.numbers::<UInt64Type>(|row| {
        let found = patterns
            .get(row)?
            .find_iter(text.get(row))
            .filter(|found| !found.is_empty());
        Ok(Some(found.count() as u64))
    })
}

/// Answers in lists of texts: `write` appends a row's elements.
pub fn lists(
    args: &Args<'_>,
    mut write: impl FnMut(usize, &mut StringViewBuilder) -> PlanResult<()>,
) -> PlanResult<ArrayRef> {
    let mut builder = ListBuilder::new(StringViewBuilder::new());
    for row in 0..args.rows {
        if args.is_null(row) {
            builder.append_null();
            continue;
        }
        write(row, builder.values())?;
        builder.append(true);
    }
    Ok(Arc::new(builder.finish()))
}

/// `replaceAll(text, from, to)` and `replaceOne`.
pub fn replace(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (text, from, to) = (args.text(0)?, args.text(1)?, args.text(2)?);
    let count = if args.function().ends_with("One") {
        1
    } else {
        usize::MAX
    };
    args.texts(|row, out| {
        let from = from.get(row);
        match from.is_empty() {
            true => out.push_str(text.get(row)),
            false => out.push_str(&text.get(row).replacen(from, to.get(row), count)),
        }
        Ok(())
    })
}

/// `replaceRegexpAll(text, pattern, to)` and `replaceRegexpOne`: `\0` to `\9` stand for groups.
pub fn replace_regexp(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (text, to) = (args.text(0)?, args.text(2)?);
    let one = args.function().ends_with("One");
    let mut patterns = Patterns::new(args, 1, expression)?;
    args.texts(|row, out| {
        let (text, to) = (text.get(row), to.get(row));
        let mut done = 0;
        for found in patterns.get(row)?.captures_iter(text) {
            let Some(whole) = found.get(0) else { continue };
            out.push_str(&text[done..whole.start()]);
            done = whole.end();
            let mut chars = to.chars();
            while let Some(c) = chars.next() {
                match (c, if c == '\\' { chars.next() } else { None }) {
                    ('\\', Some(digit @ '0'..='9')) => {
                        let group = found.get(digit as usize - '0' as usize);
                        out.push_str(group.map_or("", |group| group.as_str()));
                    }
                    ('\\', Some(other)) => out.push(other),
                    (c, _) => out.push(c),
                }
            }
            if one {
                break;
            }
        }
        out.push_str(&text[done..]);
        Ok(())
    })
}

/// `translate(text, from, to)`, by characters.
pub fn translate(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (text, from, to) = (args.text(0)?, args.constant_text(1)?, args.constant_text(2)?);
    let mut map: HashMap<char, Option<char>> = HashMap::new();
    let mut targets = to.chars();
    for c in from.chars() {
        map.insert(c, targets.next());
    }
    args.texts(|row, out| {
        out.extend(
            text.get(row)
                .chars()
                .filter_map(|c| map.get(&c).copied().unwrap_or(Some(c))),
        );
        Ok(())
    })
}
