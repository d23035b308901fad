//! Parsing of JSON that clients send, with the error texts of the JavaScript engine that Cube runs on: clients show and
//! compare them.

use serde_json::Value;

#[cfg(test)]
mod tests;

/// Nesting of JSON at the most; serde_json stops at the same depth.
const DEPTH_MAX: usize = 128;
/// How the text about nesting begins; it is ours, where all others are JavaScript's.
pub const TOO_DEEP: &str = "nested deeper than";
/// Characters shown on either side of a wrong token.
const CONTEXT_CHARS: usize = 10;

/// Parses `text`.
///
/// # Errors
/// The text of the first defect, as `JSON.parse` words it.
pub fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| match Scanner::new(text).document() {
        Err(defect) => defect,
        // Valid JSON that serde_json refuses: nested too deeply, or a number too large for a float.
        Ok(()) => format!("{error}"),
    })
}

/// Walks over JSON without building anything, only to find and word the first defect.
struct Scanner {
    chars: Vec<char>,
    at: usize,
}

type Scan = Result<(), String>;

impl Scanner {
    fn new(text: &str) -> Self {
        Self {
            chars: text.chars().collect(),
            at: 0,
        }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }

    fn expected(&self, what: &str) -> String {
        format!("{what} in JSON at position {}", self.at)
    }

    /// A token that cannot begin a value. Long texts are shown only around the place.
    fn unexpected(&self) -> String {
        let Some(c) = self.peek() else {
            return "Unexpected end of JSON input".to_owned();
        };
        let (mut from, mut to) = (0, self.chars.len());
        if to > 2 * CONTEXT_CHARS {
            from = self.at.saturating_sub(CONTEXT_CHARS);
            to = (self.at + CONTEXT_CHARS).min(to);
        }
        let excerpt: String = self.chars.iter().skip(from).take(to - from).collect();
        let before = if from > 0 { "..." } else { "" };
        let after = if to < self.chars.len() { "..." } else { "" };
        format!("Unexpected token '{c}', {before}\"{excerpt}\"{after} is not valid JSON")
    }

    fn document(&mut self) -> Scan {
        self.value(0)?;
        self.skip_space();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(format!(
                "Unexpected non-whitespace character after JSON at position {}",
                self.at
            )),
        }
    }

    fn value(&mut self, depth: usize) -> Scan {
        if depth > DEPTH_MAX {
            return Err(format!("{TOO_DEEP} {DEPTH_MAX} levels at position {}", self.at));
        }
        self.skip_space();
        match self.peek() {
            Some('{') => self.object(depth),
            Some('[') => self.array(depth),
            Some('"') => self.string(),
            Some('-' | '0'..='9') => self.number(),
            Some('t') => self.word("true"),
            Some('f') => self.word("false"),
            Some('n') => self.word("null"),
            _ => Err(self.unexpected()),
        }
    }

    fn word(&mut self, word: &str) -> Scan {
        for expected in word.chars() {
            if self.peek() != Some(expected) {
                return Err(self.unexpected());
            }
            self.at += 1;
        }
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Scan {
        self.at += 1;
        self.skip_space();
        if self.peek() == Some('}') {
            self.at += 1;
            return Ok(());
        }
        let mut first = true;
        loop {
            self.skip_space();
            if self.peek() != Some('"') {
                let what = if first {
                    "Expected property name or '}'"
                } else {
                    "Expected double-quoted property name"
                };
                return Err(self.expected(what));
            }
            first = false;
            self.string()?;
            self.skip_space();
            if self.peek() != Some(':') {
                return Err(self.expected("Expected ':' after property name"));
            }
            self.at += 1;
            self.value(depth + 1)?;
            self.skip_space();
            match self.peek() {
                Some(',') => self.at += 1,
                Some('}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.expected("Expected ',' or '}' after property value")),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Scan {
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            self.skip_space();
            match self.peek() {
                Some(',') => self.at += 1,
                Some(']') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.expected("Expected ',' or ']' after array element")),
            }
        }
    }

    fn string(&mut self) -> Scan {
        self.at += 1;
        loop {
            match self.peek() {
                None => return Err(format!("Unterminated string in JSON at position {}", self.at)),
                Some('"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some('\\') => {
                    self.at += 1;
                    self.escape()?;
                }
                Some(c) if c < ' ' => {
                    return Err(format!(
                        "Bad control character in string literal in JSON at position {}",
                        self.at
                    ));
                }
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Scan {
        match self.peek() {
            Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => self.at += 1,
            Some('u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|c| c.is_ascii_hexdigit()) {
                        return Err(format!("Bad Unicode escape in JSON at position {}", self.at));
                    }
                    self.at += 1;
                }
            }
            None => return Err(format!("Unterminated string in JSON at position {}", self.at)),
            Some(_) => return Err(format!("Bad escaped character in JSON at position {}", self.at)),
        }
        Ok(())
    }

    fn digits(&mut self) -> bool {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        self.at > start
    }

    fn number(&mut self) -> Scan {
        if self.peek() == Some('-') {
            self.at += 1;
            if !self.peek().is_some_and(|c| c.is_ascii_digit()) {
                return Err(format!("No number after minus sign in JSON at position {}", self.at));
            }
        }
        if self.peek() == Some('0') {
            self.at += 1;
            if self.peek().is_some_and(|c| c.is_ascii_digit()) {
                return Err(format!("Unexpected number in JSON at position {}", self.at));
            }
        } else {
            self.digits();
        }
        if self.peek() == Some('.') {
            self.at += 1;
            if !self.digits() {
                return Err(format!(
                    "Unterminated fractional number in JSON at position {}",
                    self.at
                ));
            }
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            self.at += 1;
            if matches!(self.peek(), Some('+' | '-')) {
                self.at += 1;
            }
            if !self.digits() {
                return Err(format!(
                    "Exponent part is missing a number in JSON at position {}",
                    self.at
                ));
            }
        }
        Ok(())
    }
}
