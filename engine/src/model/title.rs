//! Titles made from names, as Cube makes them: the name in Pascal case, split at its capitals, small words lower.
//!
//! `created_at` gives `Created at`, `utmSource` gives `Utm Source`, `rolling7dCount` gives `Rolling7 D Count`. Up to
//! Cube 1.6 `userId` gives `User Id`, from 1.7 on `User ID`; here it is the former, which all clients of GitLab's age saw.

/// Words that keep their small first letter unless they begin the title.
const SMALL_WORDS: &[&str] = &[
    "and", "or", "nor", "a", "an", "the", "so", "but", "to", "of", "at", "by", "from", "into", "on", "onto", "off",
    "out", "in", "over", "with", "for",
];

/// The title of a cube, a member or a granularity of this name.
pub fn titleize(name: &str) -> String {
    let pascal = pascal_case(name);
    let mut spaced = String::with_capacity(pascal.len() + 8);
    for c in pascal.chars() {
        if c.is_ascii_uppercase() && !spaced.is_empty() {
            spaced.push(' ');
        }
        spaced.extend(c.to_lowercase());
    }
    let words = spaced.split(' ').map(|word| {
        if SMALL_WORDS.contains(&word) {
            word.to_owned()
        } else {
            capitalize(word)
        }
    });
    capitalize(&words.collect::<Vec<_>>().join(" "))
}

fn capitalize(word: &str) -> String {
    let mut chars = word.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    first + chars.as_str()
}

fn is_separator(c: char) -> bool {
    matches!(c, '_' | '.' | '-' | ' ')
}

/// Pascal case: a letter after a separator, after a digit and after a small letter's capital neighbour begins a word; a
/// run of capitals is one word.
fn pascal_case(name: &str) -> String {
    let split = split_capitals(name.trim());
    let mut pascal = String::with_capacity(split.len());
    let mut upper_next = true;
    for c in split.chars() {
        if is_separator(c) {
            upper_next = true;
            continue;
        }
        if upper_next {
            pascal.extend(c.to_uppercase());
        } else {
            pascal.extend(c.to_lowercase());
        }
        upper_next = c.is_ascii_digit();
    }
    pascal
}

/// Puts a `-` between a small letter and a capital, and before the last capital of a run that a small letter follows.
fn split_capitals(name: &str) -> String {
    let mut out: Vec<char> = Vec::with_capacity(name.len() + 4);
    let (mut last_lower, mut last_upper, mut before_upper) = (false, false, false);
    for c in name.chars() {
        if last_lower && c.is_uppercase() {
            out.extend(['-', c]);
            (last_lower, before_upper, last_upper) = (false, last_upper, true);
        } else if last_upper && before_upper && c.is_lowercase() {
            let at = out.len().saturating_sub(1);
            out.insert(at, '-');
            out.push(c);
            (last_lower, before_upper, last_upper) = (true, last_upper, false);
        } else {
            out.push(c);
            (last_lower, before_upper, last_upper) = (c.is_lowercase(), last_upper, c.is_uppercase());
        }
    }
    out.into_iter().collect()
}

#[cfg(test)]
mod tests;
