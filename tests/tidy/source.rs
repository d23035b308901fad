//! Rust source as the rules look at it: without comments, the insides of strings, and tests.

use std::path::Path;

/// One file.
#[derive(Debug)]
pub struct Source {
    /// Relative to the repository's root, with slashes.
    pub path: String,
    /// The text with comments, string contents and tests blanked out; lines are where they were.
    code: String,
}

/// One function.
#[derive(Debug)]
pub struct Function {
    pub name: String,
    /// One-based.
    pub line: usize,
    pub code_lines: usize,
}

/// All Rust files under these folders that are not tests.
pub fn rust_sources(root: &Path, folders: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut left: Vec<_> = folders.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let is_tests = stem == "tests" || stem.ends_with("_tests");
            if is_tests {
                continue;
            }
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let relative = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
                found.push(Source::new(&relative, &text));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let code = without_tests(&without_text(text));
        Self {
            path: path.to_owned(),
            code,
        }
    }

    /// Lines with code.
    pub fn code_lines(&self) -> usize {
        self.code.lines().filter(|line| !line.trim().is_empty()).count()
    }

    /// One-based numbers of lines in which `needle` stands as a whole word.
    pub fn lines_with(&self, needle: &str) -> Vec<usize> {
        let lines = self.code.lines().enumerate();
        lines
            .filter(|(_, line)| !word_starts(line, needle).is_empty())
            .map(|(number, _)| number + 1)
            .collect()
    }

    /// The first name of every path after `prefix`, those in braces one by one, with their lines.
    pub fn paths_after(&self, prefix: &str) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for at in word_starts(&self.code, prefix) {
            let rest = &self.code[at + prefix.len()..];
            let line = self.line_of(at);
            match rest.strip_prefix('{') {
                Some(group) => found.extend(names_in_braces(group).into_iter().map(|name| (line, name))),
                None => found.push((line, name_at(rest))),
            }
        }
        found.retain(|(_, name)| !name.is_empty());
        found
    }

    /// All functions with a body.
    pub fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for at in word_starts(&self.code, "fn ") {
            let name = name_at(&self.code[at + 3..]);
            let Some(end) = body_end(&self.code, at) else { continue };
            if name.is_empty() {
                continue;
            }
            let body = &self.code[at..end];
            found.push(Function {
                name,
                line: self.line_of(at),
                code_lines: body.lines().filter(|line| !line.trim().is_empty()).count(),
            });
        }
        found
    }

    fn line_of(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }
}

/// Where `needle` stands and is not the end of a longer name.
fn word_starts(text: &str, needle: &str) -> Vec<usize> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let joins = needle.starts_with(is_name);
    let starts = text.match_indices(needle).map(|(at, _)| at);
    starts
        .filter(|at| !joins || !text[..*at].ends_with(|c: char| is_name(c) || c == ':'))
        .collect()
}

fn name_at(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// The first names of the entries of `{a::b, c, d::{e, f}}`, whose opening brace has been read.
fn names_in_braces(group: &str) -> Vec<String> {
    let mut names = vec![name_at(group)];
    let mut depth = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name_at(&group[at + 1..])),
            _ => {}
        }
    }
    names
}

/// The end of the block that follows `at`, or `None` when a semicolon comes first, as in a trait.
fn body_end(code: &str, at: usize) -> Option<usize> {
    let (mut braces, mut brackets) = (0_usize, 0_usize);
    for (offset, c) in code[at..].char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            ';' if braces == 0 && brackets == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces = braces.checked_sub(1)?;
                if braces == 0 {
                    return Some(at + offset + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Blanks the items behind `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut code = code.to_owned();
    while let Some(at) = code.find("#[cfg(test)]") {
        let semicolon = code[at..].find(';').map(|offset| at + offset + 1);
        let end = match body_end(&code, at + "#[cfg(test)]".len()) {
            Some(end) => end,
            None => semicolon.unwrap_or(code.len()),
        };
        let blank: String = code[at..end]
            .chars()
            .map(|c| if c == '\n' { '\n' } else { ' ' })
            .collect();
        code.replace_range(at..end, &blank);
    }
    code
}

/// Blanks comments and the insides of strings and character literals; quotes and line ends stay.
fn without_text(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match (chars[at], chars.get(at + 1)) {
            ('/', Some('/')) => chars[at..]
                .iter()
                .position(|c| *c == '\n')
                .map_or(chars.len(), |n| at + n),
            ('/', Some('*')) => comment_end(&chars, at),
            ('"', _) => string_end(&chars, at + 1),
            ('r', Some('"' | '#')) if !continues_name(&chars, at) => raw_string_end(&chars, at),
            ('\'', _) => char_end(&chars, at),
            _ => at + 1,
        };
        if end == at + 1 {
            out.push(chars[at]);
        } else {
            // A string keeps its first and last character, so that code around it still looks like code.
            let is_comment = chars[at] == '/';
            for (offset, c) in chars[at..end].iter().enumerate() {
                let edge = !is_comment && (offset == 0 || at + offset + 1 == end);
                out.push(if *c == '\n' || edge { *c } else { ' ' });
            }
        }
        at = end.max(at + 1);
    }
    out
}

fn continues_name(chars: &[char], at: usize) -> bool {
    let before = at.checked_sub(1).map(|before| chars[before]);
    before.is_some_and(|c| (c.is_alphanumeric() && c != 'b') || c == '_')
}

fn comment_end(chars: &[char], at: usize) -> usize {
    let mut depth = 0;
    let mut at = at;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

fn raw_string_end(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + 1 + hashes) != Some(&'"') {
        // A raw identifier such as `r#type`.
        return at + 1;
    }
    let mut end = at + 2 + hashes;
    while end < chars.len() {
        let closes = chars[end] == '"' && chars[end + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
        end += 1;
        if closes {
            return end + hashes;
        }
    }
    chars.len()
}

/// The end of a character literal, or `at + 1` when it is a lifetime.
fn char_end(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            let close = chars[at + 3..].iter().position(|c| *c == '\'');
            close.map_or(chars.len(), |offset| at + 4 + offset)
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at + 1,
    }
}
