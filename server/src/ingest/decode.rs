//! From the bytes of a body to JSON text, by content and within bounds.
//!
//! `Content-Type` is never asked: SDKs send JSON as `text/plain` and gzip as a form. What counts is what the bytes are:
//! gzip, JSON, a `data=` form or base64.

use super::failure::Failure;
use crate::limits::{INGEST_DECODED_BYTES_MAX, INGEST_DECODED_RATIO_MAX};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::borrow::Cow;
use std::io::Read;

/// Decoded size up to which the expansion is not judged, so that a small repetitive batch passes.
const EXPANSION_FREE_BYTES: usize = 256 * 1024;
/// Forms and base64 around one another: gzip, form, base64, gzip.
const LAYERS_MAX: usize = 4;

/// Decodes a body into JSON text (one value, or several separated by line ends).
///
/// Lone surrogates become U+FFFD in the text, since no later reader takes them.
///
/// # Errors
/// `too_large` past a bound, `coding` for a coding other than gzip, `undecodable` when it is not UTF-8 or not JSON.
pub fn body<'a>(bytes: &'a [u8], content_encoding: Option<&str>) -> Result<Cow<'a, str>, Failure> {
    let mut bytes: Cow<'a, [u8]> = Cow::Borrowed(bytes);
    for _ in 0..=LAYERS_MAX {
        bytes = trim(bytes);
        match peel(&bytes, content_encoding)? {
            Some(inner) => bytes = Cow::Owned(inner),
            None => return text(bytes),
        }
    }
    Err(Failure::undecodable(
        "the body is wrapped in more layers of encoding than any SDK sends",
    ))
}

/// Takes one layer off; nothing when the bytes look like JSON already.
fn peel(bytes: &[u8], content_encoding: Option<&str>) -> Result<Option<Vec<u8>>, Failure> {
    match bytes {
        [0x1f, 0x8b, ..] => return gunzip(bytes).map(Some),
        [] | [b'{' | b'[', ..] => return Ok(None),
        _ => {}
    }
    if let Some(coding) = content_encoding.map(str::trim)
        && !coding.is_empty()
        && !["gzip", "x-gzip", "identity"]
            .iter()
            .any(|known| coding.eq_ignore_ascii_case(known))
    {
        return Err(Failure::coding(coding));
    }
    if let Some(value) = form_field(bytes) {
        return Ok(Some(value));
    }
    let text = std::str::from_utf8(bytes).map_err(not_utf8)?;
    match base64(text) {
        Some(inner) if !inner.is_empty() => Ok(Some(inner)),
        _ => Err(Failure::undecodable(format!(
            "the body is no JSON object or array (it begins with `{}`)",
            super::failure::beginning(text, 20)
        ))),
    }
}

fn not_utf8(error: std::str::Utf8Error) -> Failure {
    Failure::undecodable(format!("the body is not UTF-8 at byte {}", error.valid_up_to()))
}

/// Without surrounding space and byte order mark.
fn trim(bytes: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let cut = |bytes: &[u8]| {
        let rest = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let start = bytes.len() - rest.trim_ascii_start().len();
        start..bytes.trim_ascii_end().len().max(start)
    };
    match bytes {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[cut(bytes)]),
        Cow::Owned(mut bytes) => {
            let range = cut(&bytes);
            bytes.truncate(range.end);
            bytes.drain(..range.start);
            Cow::Owned(bytes)
        }
    }
}

fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    let bound =
        INGEST_DECODED_BYTES_MAX.min(EXPANSION_FREE_BYTES.max(bytes.len().saturating_mul(INGEST_DECODED_RATIO_MAX)));
    let mut out = Vec::with_capacity((bytes.len() * 4).min(bound));
    let limit = u64::try_from(bound).unwrap_or(u64::MAX);
    flate2::read::MultiGzDecoder::new(bytes)
        .take(limit + 1)
        .read_to_end(&mut out)
        .map_err(|error| Failure::undecodable(format!("the body begins like gzip but does not unpack: {error}")))?;
    if out.len() > bound {
        return Err(Failure::too_large(format!(
            "the body unpacks to more than {bound} bytes ({INGEST_DECODED_BYTES_MAX} at most, and {INGEST_DECODED_RATIO_MAX} times its \
             packed size); send smaller batches"
        )));
    }
    Ok(out)
}

/// The value of `data` in a form body.
fn form_field(bytes: &[u8]) -> Option<Vec<u8>> {
    let at = if bytes.starts_with(b"data=") {
        0
    } else {
        bytes.windows(6).position(|w| w == b"&data=")? + 1
    };
    let value = bytes.get(at + 5..)?;
    let end = value.iter().position(|b| *b == b'&').unwrap_or(value.len());
    Some(percent(value.get(..end)?).into_owned())
}

/// Undoes form encoding of one value.
pub(crate) fn percent(value: &[u8]) -> Cow<'_, [u8]> {
    if value.contains(&b'+') {
        let spaced: Vec<u8> = value.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
        return Cow::Owned(percent_encoding::percent_decode(&spaced).collect());
    }
    percent_encoding::percent_decode(value).into()
}

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Base64 in either alphabet, padded or not. A `+` that a form turned into a space counts as `+`.
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    if text.contains(['-', '_']) {
        return URL_SAFE.decode(text).ok();
    }
    if text.contains(' ') {
        return STANDARD.decode(text.replace(' ', "+")).ok();
    }
    STANDARD.decode(text).ok()
}

fn text(bytes: Cow<'_, [u8]>) -> Result<Cow<'_, str>, Failure> {
    let text = match bytes {
        Cow::Borrowed(bytes) => Cow::Borrowed(std::str::from_utf8(bytes).map_err(not_utf8)?),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8(bytes).map_err(|e| not_utf8(e.utf8_error()))?),
    };
    if text.is_empty() {
        return Err(Failure::undecodable(
            "the body is empty; it must be a JSON object or array of events",
        ));
    }
    Ok(clean_surrogates(text))
}

/// Replaces `\ud800` escapes that have no other half by `\ufffd`. Text without such escapes is passed as it is.
pub(crate) fn clean_surrogates(text: Cow<'_, str>) -> Cow<'_, str> {
    let may_have = |t: &str| t.contains("\\ud") || t.contains("\\uD");
    if !may_have(&text) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let mut taken = escape.char_indices().nth(2).map_or(escape.len(), |(end, _)| end);
        match surrogate(escape) {
            Some(0xd800..=0xdbff) if matches!(escape.get(6..).and_then(surrogate), Some(0xdc00..=0xdfff)) => {
                taken = 12;
                out.push_str(&escape[..taken]);
            }
            Some(0xd800..=0xdfff) => {
                taken = 6;
                out.push_str("\\ufffd");
            }
            _ => out.push_str(&escape[..taken]),
        }
        rest = &escape[taken..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The code unit of a `\uXXXX` escape at the start of `text`.
fn surrogate(text: &str) -> Option<u16> {
    let hex = text.strip_prefix("\\u")?.get(..4)?;
    let plain = hex.bytes().all(|b| b.is_ascii_hexdigit());
    plain.then(|| u16::from_str_radix(hex, 16).ok()).flatten()
}

/// Replaces the bare words `NaN`, `Infinity` and `-Infinity`, which Python's encoder writes, by `null`.
///
/// Nothing when there are none. Only asked for when the text did not parse.
pub(crate) fn clean_non_numbers(text: &str) -> Option<String> {
    const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    if !WORDS.iter().any(|word| text.contains(word)) {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let (mut in_text, mut escaped, mut skip_until) = (false, false, 0);
    for (at, c) in text.char_indices() {
        if at < skip_until {
            continue;
        }
        if !in_text && let Some(word) = WORDS.iter().find(|word| text[at..].starts_with(**word)) {
            out.push_str("null");
            skip_until = at + word.len();
            continue;
        }
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = in_text,
            '"' => in_text = !in_text,
            _ => {}
        }
        out.push(c);
    }
    Some(out)
}

#[cfg(test)]
mod tests;
