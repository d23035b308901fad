//! Text cut into lists.

use super::pattern::lists;
use crate::functions::scalar::{Args, wrong};
use arrow::array::ArrayRef;
use datafusion::common::Result as PlanResult;

/// `splitByChar(separator, text[, max])` and `splitByString`; an empty separator cuts into characters.
pub fn split(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (separator, text) = (args.constant_text(0)?, args.text(1)?);
    let most = if args.len() > 2 {
        usize::try_from(args.int(2)?.get(0)).unwrap_or(0)
    } else {
        0
    };
    let most = if most == 0 { usize::MAX } else { most };
    if args.function() == "splitByChar" && separator.len() != 1 {
        return Err(wrong("the separator must be one byte"));
    }
    lists(args, |row, list| {
        let text = text.get(row);
        // Nothing is cut into one empty piece by a separator, and into none without one.
        if separator.is_empty() {
            let mut buffer = [0; 4];
            text.chars()
                .take(most)
                .for_each(|c| list.append_value(c.encode_utf8(&mut buffer)));
        } else {
            text.split(separator.as_str())
                .take(most)
                .for_each(|piece| list.append_value(piece));
        }
        Ok(())
    })
}

/// `splitByWhitespace(text)`.
pub fn split_by_space(args: &Args<'_>) -> PlanResult<ArrayRef> {
    pieces(args, |c| !matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}'))
}

/// `splitByNonAlpha(text)`.
pub fn split_by_other(args: &Args<'_>) -> PlanResult<ArrayRef> {
    pieces(args, |c| {
        !(c.is_ascii_whitespace() || c == '\u{b}' || c.is_ascii_punctuation())
    })
}

/// `alphaTokens(text)`.
pub fn alpha_tokens(args: &Args<'_>) -> PlanResult<ArrayRef> {
    pieces(args, |c| c.is_ascii_alphabetic())
}

fn pieces(args: &Args<'_>, inside: fn(char) -> bool) -> PlanResult<ArrayRef> {
    let text = args.text(0)?;
    lists(args, |row, list| {
        let found = text.get(row).split(|c| !inside(c)).filter(|piece| !piece.is_empty());
        found.for_each(|piece| list.append_value(piece));
        Ok(())
    })
}
