//! Text. Positions and lengths count bytes, in the `UTF8` forms characters; letters change case only in ASCII, in the
//! `UTF8` forms everywhere; regular expressions are RE2's, which the `regex` crate speaks.

mod pattern;
mod split;

pub use pattern::*;
pub use split::*;

use super::scalar::{Args, wrong};
use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, UInt64Type};
use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use datafusion::common::Result as PlanResult;
use std::fmt::Write;

/// Appends bytes that may have been cut inside of a character.
pub fn push_bytes(out: &mut String, bytes: &[u8]) {
    let mut broken = false;
    for chunk in bytes.utf8_chunks() {
        if !chunk.valid().is_empty() {
            out.push_str(chunk.valid());
            broken = false;
        }
        // Broken bytes in a row are one mark.
        if !chunk.invalid().is_empty() && !broken {
            out.push('\u{fffd}');
            broken = true;
        }
    }
}

macro_rules! mapped {
    ($($(#[$doc:meta])* $name:ident $map:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name(args: &Args<'_>) -> PlanResult<ArrayRef> {
            let text = args.text(0)?;
            let map: fn(&str, &mut String) = $map;
            args.texts(|row, out| {
                map(text.get(row), out);
                Ok(())
            })
        }
    )*};
}

mapped! {
    /// `lower`.
    lower |text, out| out.push_str(&text.to_ascii_lowercase());
    /// `upper`.
    upper |text, out| out.push_str(&text.to_ascii_uppercase());
    /// `lowerUTF8`.
    lower_utf8 |text, out| out.push_str(&text.to_lowercase());
    /// `upperUTF8`.
    upper_utf8 |text, out| out.push_str(&text.to_uppercase());
    /// `reverse`: by bytes.
    reverse |text, out| push_bytes(out, &text.bytes().rev().collect::<Vec<u8>>());
    /// `reverseUTF8`.
    reverse_utf8 |text, out| out.extend(text.chars().rev());
    /// `base64Encode`.
    base64_encode |text, out| general_purpose::STANDARD.encode_string(text, out);
    /// `base64URLEncode`.
    base64_url_encode |text, out| general_purpose::URL_SAFE_NO_PAD.encode_string(text, out);
    /// `initcap`.
    initcap |text, out| capitals(text, out, |c| c.is_ascii_alphanumeric(), |c| c.to_ascii_uppercase().to_string(), |c| c.to_ascii_lowercase().to_string());
    /// `initcapUTF8`.
    initcap_utf8 |text, out| capitals(text, out, char::is_alphanumeric, |c| c.to_uppercase().collect(), |c| c.to_lowercase().collect());
    /// `regexpQuoteMeta`.
    quote_meta |text, out| for c in text.chars() {
        if "\\()^$.|[]*+?{:-".contains(c) {
            out.push('\\');
        }
        out.push(c);
    };
    /// `encodeXMLComponent`.
    encode_xml |text, out| for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c => out.push(c),
        }
    };
}

fn capitals(text: &str, out: &mut String, in_word: fn(char) -> bool, up: fn(char) -> String, down: fn(char) -> String) {
    let mut inside = false;
    for c in text.chars() {
        let word = in_word(c);
        match (word, inside) {
            (true, false) => out.push_str(&up(c)),
            (true, true) => out.push_str(&down(c)),
            (false, _) => out.push(c),
        }
        inside = word;
    }
}

/// `length` of text in bytes, or of a list.
pub fn length(args: &Args<'_>) -> PlanResult<ArrayRef> {
    if let DataType::List(_) = args.data_type(0) {
        let array = args.array(0)?;
        let lists = array.as_list::<i32>();
        return args.numbers::<UInt64Type>(|row| Ok(Some(lists.value_length(row) as u64)));
    }
    let text = args.text(0)?;
    args.numbers::<UInt64Type>(|row| Ok(Some(text.get(row).len() as u64)))
}

/// `lengthUTF8`.
pub fn length_utf8(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let text = args.text(0)?;
    args.numbers::<UInt64Type>(|row| Ok(Some(text.get(row).chars().count() as u64)))
}

/// `empty` of text or of a list.
pub fn empty(args: &Args<'_>) -> PlanResult<ArrayRef> {
    emptiness(args, true)
}

/// `notEmpty`.
pub fn not_empty(args: &Args<'_>) -> PlanResult<ArrayRef> {
    emptiness(args, false)
}

fn emptiness(args: &Args<'_>, wanted: bool) -> PlanResult<ArrayRef> {
    if let DataType::List(_) = args.data_type(0) {
        let array = args.array(0)?;
        let lists = array.as_list::<i32>();
        return args.booleans(|row| Ok((lists.value_length(row) == 0) == wanted));
    }
    let text = args.text(0)?;
    args.booleans(|row| Ok(text.get(row).is_empty() == wanted))
}

/// The range of a substring: 1-based, counted from the end when negative; 0 gives nothing.
fn range(length: usize, offset: i64, count: Option<i64>) -> std::ops::Range<usize> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    if offset == 0 {
        return 0..0;
    }
    let start = if offset > 0 {
        offset - 1
    } else {
        length.saturating_add(offset)
    };
    let end = match count {
        None => length,
        Some(count) if count < 0 => length.saturating_add(count),
        Some(count) => start.saturating_add(count),
    };
    let start = start.clamp(0, length);
    let end = end.clamp(start, length);
    start as usize..end as usize
}

/// `substring(text, offset[, length])` by bytes.
pub fn substring(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (text, offsets) = (args.text(0)?, args.int(1)?);
    let counts = if args.len() > 2 { Some(args.int(2)?) } else { None };
    args.texts(|row, out| {
        let bytes = text.get(row).as_bytes();
        let count = counts.as_ref().map(|counts| counts.get(row));
        push_bytes(out, &bytes[range(bytes.len(), offsets.get(row), count)]);
        Ok(())
    })
}

/// `substringUTF8`.
pub fn substring_utf8(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (text, offsets) = (args.text(0)?, args.int(1)?);
    let counts = if args.len() > 2 { Some(args.int(2)?) } else { None };
    args.texts(|row, out| {
        let text = text.get(row);
        let count = counts.as_ref().map(|counts| counts.get(row));
        let range = range(text.chars().count(), offsets.get(row), count);
        out.extend(text.chars().skip(range.start).take(range.len()));
        Ok(())
    })
}

/// `left(text, n)`: without the last `-n` when negative.
pub fn left(args: &Args<'_>) -> PlanResult<ArrayRef> {
    ends(args, |length, count| 0..at(length, count))
}

/// `right(text, n)`: without the first `-n` when negative.
pub fn right(args: &Args<'_>) -> PlanResult<ArrayRef> {
    ends(args, |length, count| length - at(length, count)..length)
}

fn at(length: usize, count: i64) -> usize {
    match usize::try_from(count) {
        Ok(count) => count.min(length),
        Err(_) => length.saturating_sub(usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX)),
    }
}

fn ends(args: &Args<'_>, range: fn(usize, i64) -> std::ops::Range<usize>) -> PlanResult<ArrayRef> {
    let (text, counts) = (args.text(0)?, args.int(1)?);
    let by_chars = args.function().ends_with("UTF8");
    args.texts(|row, out| {
        let text = text.get(row);
        if by_chars {
            let range = range(text.chars().count(), counts.get(row));
            out.extend(text.chars().skip(range.start).take(range.len()));
        } else {
            push_bytes(out, &text.as_bytes()[range(text.len(), counts.get(row))]);
        }
        Ok(())
    })
}

/// `position(text, needle[, start])`: 1-based byte, 0 when it is not there.
pub fn position(args: &Args<'_>) -> PlanResult<ArrayRef> {
    find(args, false)
}

/// `positionCaseInsensitive`.
pub fn position_any_case(args: &Args<'_>) -> PlanResult<ArrayRef> {
    find(args, true)
}

fn find(args: &Args<'_>, any_case: bool) -> PlanResult<ArrayRef> {
    let (text, needle) = (args.text(0)?, args.text(1)?);
    let starts = if args.len() > 2 { Some(args.int(2)?) } else { None };
    let by_chars = args.function().ends_with("UTF8");
    let fold = |text: &str| match (any_case, by_chars) {
        (false, _) => text.to_owned(),
        (true, false) => text.to_ascii_lowercase(),
        (true, true) => text.to_lowercase(),
    };
    args.numbers::<UInt64Type>(|row| {
        let (text, needle) = (fold(text.get(row)), fold(needle.get(row)));
        let start = starts.as_ref().map_or(0, |starts| {
            usize::try_from(starts.get(row)).unwrap_or(0).saturating_sub(1)
        });
        let start = match by_chars {
            true => text.char_indices().nth(start).map_or(text.len() + start, |(at, _)| at),
            false => start,
        };
        if start > text.len() || (start == text.len() && start > 0 && !needle.is_empty()) {
            return Ok(Some(0));
        }
        if needle.is_empty() {
            return Ok(Some(start as u64 + 1));
        }
        let found = memory_find(&text.as_bytes()[start..], needle.as_bytes()).map(|at| at + start);
        Ok(Some(found.map_or(0, |at| match by_chars {
            true => text[..at].chars().count() as u64 + 1,
            false => at as u64 + 1,
        })))
    })
}

/// Where `needle` begins in `bytes`.
fn memory_find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    match (std::str::from_utf8(bytes), std::str::from_utf8(needle)) {
        (Ok(text), Ok(needle)) => text.find(needle),
        _ => bytes.windows(needle.len()).position(|window| window == needle),
    }
}

macro_rules! asked {
    ($($(#[$doc:meta])* $name:ident $of:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name(args: &Args<'_>) -> PlanResult<ArrayRef> {
            let (text, other) = (args.text(0)?, args.text(1)?);
            let of: fn(&str, &str) -> bool = $of;
            args.booleans(|row| Ok(of(text.get(row), other.get(row))))
        }
    )*};
}

asked! {
    /// `startsWith`.
    starts_with |text, other| text.starts_with(other);
    /// `endsWith`.
    ends_with |text, other| text.ends_with(other);
    /// `hasSubsequence`.
    has_subsequence |text, other| { let mut bytes = text.bytes(); other.bytes().all(|byte| bytes.any(|found| found == byte)) };
    /// `hasToken`.
    has_token |text, other| text.split(|c: char| c.is_ascii() && !c.is_ascii_alphanumeric()).any(|token| token == other);
    /// `hasTokenCaseInsensitive`.
    has_token_any_case |text, other| {
        text.split(|c: char| c.is_ascii() && !c.is_ascii_alphanumeric()).any(|token| token.eq_ignore_ascii_case(other))
    };
}

/// `concat(…)`: arguments of any type, as text.
pub fn concat(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let all: PlanResult<Vec<_>> = (0..args.len()).map(|at| as_text(args, at)).collect();
    let all = all?;
    args.texts(|row, out| {
        for text in &all {
            out.push_str(text.get(row));
        }
        Ok(())
    })
}

/// `concatWithSeparator(separator, …)`.
pub fn concat_with(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let all: PlanResult<Vec<_>> = (0..args.len()).map(|at| as_text(args, at)).collect();
    let all = all?;
    args.texts(|row, out| {
        for (at, text) in all.iter().skip(1).enumerate() {
            if at > 0 {
                out.push_str(all[0].get(row));
            }
            out.push_str(text.get(row));
        }
        Ok(())
    })
}

/// An argument of any type as `toString` writes it.
pub fn as_text(args: &Args<'_>, at: usize) -> PlanResult<super::scalar::Text> {
    if let Ok(text) = args.text(at) {
        return Ok(text);
    }
    let written = args.alone(at, super::convert::string)?;
    Ok(super::scalar::Text::Many(
        arrow::compute::cast(&written, &DataType::Utf8View)?
            .as_string_view()
            .clone(),
    ))
}

/// `format('{} {1}', …)`.
pub fn format(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let pattern = args.constant_text(0)?;
    let all: PlanResult<Vec<_>> = (1..args.len()).map(|at| as_text(args, at)).collect();
    let (all, pieces) = (all?, placeholders(&pattern)?);
    if let Some(missing) = pieces.iter().filter_map(|(_, at)| *at).find(|at| *at >= all.len()) {
        return Err(wrong(format!("there is no argument {{{missing}}}")));
    }
    args.texts(|row, out| {
        for (text, at) in &pieces {
            out.push_str(text);
            if let Some(at) = at {
                out.push_str(all[*at].get(row));
            }
        }
        Ok(())
    })
}

/// Text, and the argument after it.
fn placeholders(pattern: &str) -> PlanResult<Vec<(String, Option<usize>)>> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut next = 0;
    let mut rest = pattern;
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            text.push_str(brace);
            rest = after;
            continue;
        }
        let end = rest.find('}').filter(|_| brace == "{");
        let (name, after) = end
            .map(|end| (&rest[..end], &rest[end + 1..]))
            .ok_or_else(|| wrong("a brace has no other"))?;
        let number = match name.is_empty() {
            true => Some(next),
            false => name.parse().ok(),
        };
        next += 1;
        pieces.push((
            std::mem::take(&mut text),
            Some(number.ok_or_else(|| wrong("braces take a number"))?),
        ));
        rest = after;
    }
    text.push_str(rest);
    pieces.push((text, None));
    Ok(pieces)
}

/// `trimLeft`, `trimRight`, `trimBoth`: spaces, or the characters of the second argument.
pub fn trim(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let text = args.text(0)?;
    let characters = if args.len() > 1 {
        Some(args.constant_text(1)?)
    } else {
        None
    };
    let drop = |c: char| characters.as_deref().map_or(c == ' ', |set| set.contains(c));
    let (left, right) = (!args.function().ends_with("Right"), !args.function().ends_with("Left"));
    args.texts(|row, out| {
        let mut found = text.get(row);
        if left {
            found = found.trim_start_matches(drop);
        }
        if right {
            found = found.trim_end_matches(drop);
        }
        out.push_str(found);
        Ok(())
    })
}

/// `leftPad(text, length[, with])` and `rightPad`, and their UTF8 forms.
pub fn pad(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (text, lengths) = (args.text(0)?, args.int(1)?);
    let with = if args.len() > 2 {
        args.constant_text(2)?
    } else {
        " ".to_owned()
    };
    let with = if with.is_empty() { " ".to_owned() } else { with };
    let by_chars = args.function().ends_with("UTF8");
    let to_left = args.function().starts_with("left");
    args.texts(|row, out| {
        let text = text.get(row);
        let wanted = usize::try_from(lengths.get(row)).unwrap_or(0);
        if wanted > super::TEXT_BYTES_MAX {
            return Err(wrong(format!("{wanted} is too long")));
        }
        if by_chars {
            let count = text.chars().count();
            let padding: String = with.chars().cycle().take(wanted.saturating_sub(count)).collect();
            let kept: String = text.chars().take(wanted).collect();
            *out = if to_left { padding + &kept } else { kept + &padding };
            return Ok(());
        }
        let padding: Vec<u8> = with.bytes().cycle().take(wanted.saturating_sub(text.len())).collect();
        let kept = &text.as_bytes()[..text.len().min(wanted)];
        push_bytes(
            out,
            &if to_left {
                [&padding, kept].concat()
            } else {
                [kept, &padding].concat()
            },
        );
        Ok(())
    })
}

/// `repeat(text, n)`.
pub fn repeat(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (text, counts) = (args.text(0)?, args.int(1)?);
    args.texts(|row, out| {
        let (text, count) = (text.get(row), usize::try_from(counts.get(row)).unwrap_or(0));
        if text.len().saturating_mul(count) > super::TEXT_BYTES_MAX {
            return Err(wrong("the result is too long"));
        }
        (0..count).for_each(|_| out.push_str(text));
        Ok(())
    })
}

/// `space(n)`.
pub fn space(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let counts = args.int(0)?;
    args.texts(|row, out| {
        let count = usize::try_from(counts.get(row)).unwrap_or(0);
        if count > super::TEXT_BYTES_MAX {
            return Err(wrong("the result is too long"));
        }
        out.extend(std::iter::repeat_n(' ', count));
        Ok(())
    })
}

/// `appendTrailingCharIfAbsent(text, c)`.
pub fn with_end(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (text, end) = (args.text(0)?, args.constant_text(1)?);
    args.texts(|row, out| {
        let text = text.get(row);
        out.push_str(text);
        if !text.is_empty() && !text.ends_with(&end) {
            out.push_str(&end);
        }
        Ok(())
    })
}

/// `hex`: of text its bytes; of whole numbers their digits in pairs.
pub fn hex(args: &Args<'_>) -> PlanResult<ArrayRef> {
    if let Ok(text) = args.text(0) {
        return args.texts(|row, out| {
            for byte in text.get(row).bytes() {
                let _ = write!(out, "{byte:02X}");
            }
            Ok(())
        });
    }
    let bytes = args.data_type(0).primitive_width().unwrap_or(8);
    let numbers = args.int(0)?;
    args.texts(|row, out| {
        let all = numbers.get(row).to_be_bytes();
        let own = &all[8_usize.saturating_sub(bytes)..];
        let first = own
            .iter()
            .position(|byte| *byte != 0)
            .unwrap_or(own.len().saturating_sub(1));
        for byte in &own[first..] {
            let _ = write!(out, "{byte:02X}");
        }
        Ok(())
    })
}

/// `unhex`.
pub fn unhex(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let text = args.text(0)?;
    args.texts(|row, out| {
        let text = text.get(row);
        let padded = if text.len() % 2 == 1 {
            format!("0{text}")
        } else {
            text.to_owned()
        };
        let bytes = padded.as_bytes().chunks(2).map(|pair| {
            let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
            digit(pair[0]) * 16 + digit(pair[1])
        });
        push_bytes(out, &bytes.collect::<Vec<u8>>());
        Ok(())
    })
}

/// `base64Decode`, `tryBase64Decode`, `base64URLDecode`.
pub fn base64_decode(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let text = args.text(0)?;
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet = if args.function().contains("URL") {
        &base64::alphabet::URL_SAFE
    } else {
        &base64::alphabet::STANDARD
    };
    let engine = GeneralPurpose::new(alphabet, config);
    let lenient = args.function().starts_with("try");
    args.texts(|row, out| match engine.decode(text.get(row)) {
        Ok(bytes) => {
            push_bytes(out, &bytes);
            Ok(())
        }
        Err(_) if lenient => Ok(()),
        Err(error) => Err(super::scalar::failed(format!(
            "`{}` is no base64: {error}",
            text.get(row)
        ))),
    })
}

/// `ascii`: the first byte.
pub fn ascii(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let text = args.text(0)?;
    args.numbers::<arrow::datatypes::Int32Type>(|row| Ok(Some(text.get(row).bytes().next().map_or(0, i32::from))))
}

/// `char(n, …)`: bytes.
pub fn char_of(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let all: PlanResult<Vec<_>> = (0..args.len()).map(|at| args.int(at)).collect();
    let all = all?;
    args.texts(|row, out| {
        let bytes: Vec<u8> = all.iter().map(|number| number.get(row) as u8).collect();
        push_bytes(out, &bytes);
        Ok(())
    })
}

/// `countSubstrings(text, needle)`.
pub fn count_substrings(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (text, needle) = (args.text(0)?, args.text(1)?);
    let any_case = args.function().ends_with("CaseInsensitive");
    args.numbers::<UInt64Type>(|row| {
        let (text, needle) = (text.get(row), needle.get(row));
        if needle.is_empty() {
            return Ok(Some(0));
        }
        let count = match any_case {
            true => text.to_ascii_lowercase().matches(&needle.to_ascii_lowercase()).count(),
            false => text.matches(needle).count(),
        };
        Ok(Some(count as u64))
    })
}

/// `levenshteinDistance`, by bytes; `…UTF8` by characters.
pub fn edit_distance(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (left, right) = (args.text(0)?, args.text(1)?);
    let by_chars = args.function().ends_with("UTF8");
    args.numbers::<UInt64Type>(|row| {
        let (left, right) = (left.get(row), right.get(row));
        Ok(Some(match by_chars {
            true => strsim::levenshtein(left, right) as u64,
            false => strsim::generic_levenshtein(&Bytes(left.as_bytes()), &Bytes(right.as_bytes())) as u64,
        }))
    })
}

struct Bytes<'a>(&'a [u8]);

impl<'b> IntoIterator for &'b Bytes<'_> {
    type Item = u8;
    type IntoIter = std::iter::Copied<std::slice::Iter<'b, u8>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().copied()
    }
}

/// `substringIndex(text, delimiter, n)`: what stands before the nth delimiter, from the end when negative.
pub fn substring_index(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (text, delimiter, counts) = (args.text(0)?, args.constant_text(1)?, args.int(2)?);
    args.texts(|row, out| {
        let (text, count) = (text.get(row), counts.get(row));
        if count == 0 || delimiter.is_empty() {
            return Ok(());
        }
        let nth = usize::try_from(count.unsigned_abs())
            .unwrap_or(usize::MAX)
            .saturating_sub(1);
        out.push_str(match count > 0 {
            true => text
                .match_indices(&delimiter)
                .nth(nth)
                .map_or(text, |(at, _)| &text[..at]),
            false => text
                .rmatch_indices(&delimiter)
                .nth(nth)
                .map_or(text, |(at, _)| &text[at + delimiter.len()..]),
        });
        Ok(())
    })
}

/// `isValidUTF8`: always, because text is UTF-8 here.
pub fn always(args: &Args<'_>) -> PlanResult<ArrayRef> {
    args.booleans(|_| Ok(true))
}

/// `reverse` of a text.
pub fn reversed(call: super::Call) -> crate::error::Result<datafusion::sql::sqlparser::ast::Expr> {
    let [text] = call.exactly()?;
    Ok(super::build::function("ch_reverseText", vec![text]))
}
