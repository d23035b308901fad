//! Whether a text mentions an id: as a word of its own, in the ways that texts of events write it.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Characters of base64 in a row from which they may be a text in base64: shorter ones are words.
const BASE64_CHARS_MIN: usize = 16;
/// Base64 inside base64 is looked into this many times.
const BASE64_DEPTH_MAX: usize = 2;

/// Both alphabets, with and without padding.
static CODINGS: [GeneralPurpose; 2] = {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let config = config.with_decode_allow_trailing_bits(true);
    [
        GeneralPurpose::new(&alphabet::STANDARD, config),
        GeneralPurpose::new(&alphabet::URL_SAFE, config),
    ]
};

/// An id in the ways it may be written.
#[derive(Debug)]
pub(super) struct Needle {
    /// As it is; as in JSON and as in an address where these differ.
    forms: Vec<String>,
}

impl Needle {
    /// For an id that is not empty.
    pub(super) fn new(id: &str) -> Self {
        let json = serde_json::Value::from(id).to_string();
        let json = json.get(1..json.len() - 1).unwrap_or_default().to_owned();
        let query: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
        let path = query.replace('+', "%20");
        let mut forms = vec![id.to_owned()];
        for form in [json, lower_escapes(&path), lower_escapes(&query), path, query] {
            if !forms.contains(&form) {
                forms.push(form);
            }
        }
        Self { forms }
    }

    /// Whether any form is anywhere in `bytes`, also as a part of something else.
    pub(super) fn is_in_bytes(&self, bytes: &[u8]) -> bool {
        match std::str::from_utf8(bytes) {
            // The search of texts is the fast one.
            Ok(text) => self.forms.iter().any(|form| text.contains(form.as_str())),
            Err(_) => self
                .forms
                .iter()
                .any(|form| bytes.windows(form.len()).any(|window| window == form.as_bytes())),
        }
    }

    /// Whether `text` mentions the id: not as a part of a longer word, in clear or inside base64.
    pub(super) fn is_mentioned(&self, text: &str) -> bool {
        self.is_within(text, BASE64_DEPTH_MAX)
    }

    /// Whether `text` has the id as a word of its own, in clear.
    pub(super) fn is_word_in(&self, text: &str) -> bool {
        self.forms.iter().any(|form| has_word(text, form))
    }

    fn is_within(&self, text: &str, depth: usize) -> bool {
        if self.is_word_in(text) {
            return true;
        }
        let Some(deeper) = depth.checked_sub(1) else {
            return false;
        };
        // Padding is not needed, and a sign of equality stands before a value in an address.
        let is_coded = |c: char| c.is_ascii_alphanumeric() || "+/-_".contains(c);
        let runs = text.split(|c| !is_coded(c)).filter(|run| run.len() >= BASE64_CHARS_MIN);
        runs.flat_map(|run| CODINGS.iter().map(move |coding| coding.decode(run)))
            .filter_map(|decoded| String::from_utf8(decoded.ok()?).ok())
            .any(|decoded| self.is_within(&decoded, deeper))
    }
}

/// `%2F` as `%2f`: addresses have both.
fn lower_escapes(escaped: &str) -> String {
    let mut parts = escaped.split('%');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |mut text, part| {
        let (code, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        text.push('%');
        text.push_str(&code.to_ascii_lowercase());
        text.push_str(rest);
        text
    })
}

/// Whether `word` is in `text` with no letter, digit or joining sign of an id on either side of it.
fn has_word(text: &str, word: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let begins = word.chars().next().is_some_and(joins);
    let ends = word.chars().next_back().is_some_and(joins);
    text.match_indices(word).any(|(at, _)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|after| after.chars().next());
        // In `\u0041bc` and `%20abc` the sign before the id belongs to an escape; that is told as a mention.
        let is_escape = text.get(..at).is_some_and(ends_in_escape);
        let free_before = !begins || is_escape || !before.is_some_and(joins);
        free_before && (!ends || !after.is_some_and(joins))
    })
}

/// Whether a text ends in an escape of an address or of JSON: `%2F`, `\n`.
fn ends_in_escape(text: &str) -> bool {
    let bytes = text.as_bytes();
    let hex = |byte: &u8| byte.is_ascii_hexdigit();
    match bytes {
        [.., b'%', a, b] => hex(a) && hex(b),
        [.., b'\\', sign] => sign.is_ascii_lowercase(),
        _ => false,
    }
}
