//! The first syntax error of a GraphQL document, worded as graphql-js words it: clients show these texts.
//!
//! The grammar is that of executable documents (GraphQL, October 2021, section 2). Nothing is built; the library reads
//! the documents that have no error here.

/// Nesting at the most; the library stops at the same depth.
pub(super) const DEPTH_MAX: usize = 64;

/// An error and the place of its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) message: String,
    /// Counted from 1.
    pub(super) line: usize,
    /// Counted from 1, in UTF-16 units as JavaScript counts.
    pub(super) column: usize,
}

/// The first error of `text`, if any.
pub(super) fn check(text: &str) -> Result<(), SyntaxError> {
    let mut parser = Parser {
        lexer: Lexer { text, at: 0 },
        token: Token::Punctuator(""),
        start: 0,
    };
    let outcome = parser.advance().and_then(|()| parser.document());
    outcome.map_err(|(at, message)| {
        let before = &text[..at.min(text.len())];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        SyntaxError {
            message: format!("Syntax Error: {message}"),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].encode_utf16().count() + 1,
        }
    })
}

type Fault = (usize, String);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    End,
    Punctuator(&'static str),
    Name(String),
    Int(String),
    Float(String),
    Text(String),
    Block,
}

impl Token {
    fn described(&self) -> String {
        match self {
            Token::End => "<EOF>".to_owned(),
            Token::Punctuator(mark) => format!("\"{mark}\""),
            Token::Name(name) => format!("Name \"{name}\""),
            Token::Int(number) => format!("Int \"{number}\""),
            Token::Float(number) => format!("Float \"{number}\""),
            Token::Text(text) => format!("String \"{text}\""),
            Token::Block => "BlockString".to_owned(),
        }
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

const MARKS: &[&str] = &["...", "!", "$", "&", "(", ")", ":", "=", "@", "[", "]", "{", "|", "}"];

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip_ignored(&mut self) {
        loop {
            let rest = self.rest();
            let skipped = rest.trim_start_matches([' ', '\t', '\n', '\r', ',', '\u{feff}']);
            let skipped = match skipped.strip_prefix('#') {
                Some(comment) => comment.trim_start_matches(|c| c != '\n' && c != '\r'),
                None => skipped,
            };
            let step = rest.len() - skipped.len();
            if step == 0 {
                return;
            }
            self.at += step;
        }
    }

    fn next(&mut self) -> Result<(usize, Token), Fault> {
        self.skip_ignored();
        let start = self.at;
        let Some(first) = self.peek() else {
            return Ok((start, Token::End));
        };
        if let Some(mark) = MARKS.iter().find(|mark| self.rest().starts_with(**mark)) {
            self.at += mark.len();
            return Ok((start, Token::Punctuator(mark)));
        }
        let token = match first {
            'a'..='z' | 'A'..='Z' | '_' => {
                let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
                Token::Name(name)
            }
            '-' | '0'..='9' => self.number()?,
            '"' if self.rest().starts_with("\"\"\"") => self.block()?,
            '"' => self.string()?,
            '\'' => {
                let text = "Unexpected single quote character ('), did you mean to use a double quote (\")?";
                return Err((start, text.to_owned()));
            }
            c if c < ' ' => {
                return Err((
                    start,
                    format!("Cannot contain the invalid character {}.", printed(Some(c))),
                ));
            }
            c => {
                return Err((
                    start,
                    format!("Cannot parse the unexpected character {}.", printed(Some(c))),
                ));
            }
        };
        Ok((start, token))
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let rest = self.rest();
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        let taken = rest[..end].to_owned();
        self.at += end;
        taken
    }

    fn digits(&mut self) -> Result<(), Fault> {
        if !self.peek().is_some_and(|c| c.is_ascii_digit()) {
            let text = format!("Invalid number, expected digit but got: {}.", printed(self.peek()));
            return Err((self.at, text));
        }
        self.take_while(|c| c.is_ascii_digit());
        Ok(())
    }

    fn number(&mut self) -> Result<Token, Fault> {
        let start = self.at;
        let mut is_float = false;
        if self.peek() == Some('-') {
            self.at += 1;
        }
        if self.peek() == Some('0') {
            self.at += 1;
            if self.peek().is_some_and(|c| c.is_ascii_digit()) {
                let text = format!("Invalid number, unexpected digit after 0: {}.", printed(self.peek()));
                return Err((self.at, text));
            }
        } else {
            self.digits()?;
        }
        if self.peek() == Some('.') {
            is_float = true;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            is_float = true;
            self.at += 1;
            if matches!(self.peek(), Some('+' | '-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        if self
            .peek()
            .is_some_and(|c| c == '.' || c == '_' || c.is_ascii_alphabetic())
        {
            let text = format!("Invalid number, expected digit but got: {}.", printed(self.peek()));
            return Err((self.at, text));
        }
        let number = self.text[start..self.at].to_owned();
        Ok(if is_float {
            Token::Float(number)
        } else {
            Token::Int(number)
        })
    }

    fn block(&mut self) -> Result<Token, Fault> {
        self.at += 3;
        loop {
            let rest = self.rest();
            if rest.starts_with("\\\"\"\"") {
                self.at += 4;
            } else if rest.starts_with("\"\"\"") {
                self.at += 3;
                return Ok(Token::Block);
            } else {
                let Some(c) = rest.chars().next() else {
                    return Err((self.at, "Unterminated string.".to_owned()));
                };
                self.at += c.len_utf8();
            }
        }
    }

    fn string(&mut self) -> Result<Token, Fault> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.peek() {
                None | Some('\n' | '\r') => return Err((self.at, "Unterminated string.".to_owned())),
                Some('"') => {
                    let text = self.text[start..self.at].to_owned();
                    self.at += 1;
                    return Ok(Token::Text(text));
                }
                Some('\\') => self.escape()?,
                Some(c) if c < ' ' && c != '\t' => {
                    return Err((
                        self.at,
                        format!("Invalid character within String: {}.", printed(Some(c))),
                    ));
                }
                Some(c) => self.at += c.len_utf8(),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        let start = self.at;
        self.at += 1;
        let Some(c) = self.peek() else {
            return Err((self.at, "Unterminated string.".to_owned()));
        };
        self.at += c.len_utf8();
        if c == 'u' {
            let digits: String = self.rest().chars().take(4).collect();
            if digits.len() == 4 && digits.chars().all(|c| c.is_ascii_hexdigit()) {
                self.at += 4;
                return Ok(());
            }
            return Err((start, format!("Invalid character escape sequence: \\u{digits}.")));
        }
        match c {
            '"' | '/' | '\\' | 'b' | 'f' | 'n' | 'r' | 't' => Ok(()),
            other => Err((start, format!("Invalid character escape sequence: \\{other}."))),
        }
    }
}

/// A character as graphql-js shows it.
fn printed(c: Option<char>) -> String {
    match c {
        None => "<EOF>".to_owned(),
        Some(c) if c < '\u{7f}' => serde_json::Value::from(c.to_string()).to_string(),
        Some(c) => format!("\"\\u{:04X}\"", c as u32),
    }
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    token: Token,
    start: usize,
}

impl Parser<'_> {
    fn advance(&mut self) -> Result<(), Fault> {
        (self.start, self.token) = self.lexer.next()?;
        Ok(())
    }

    fn unexpected<T>(&self) -> Result<T, Fault> {
        Err((self.start, format!("Unexpected {}.", self.token.described())))
    }

    fn is(&self, mark: &str) -> bool {
        matches!(&self.token, Token::Punctuator(found) if *found == mark)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(&self.token, Token::Name(name) if name == word)
    }

    fn optional(&mut self, mark: &str) -> Result<bool, Fault> {
        let is = self.is(mark);
        if is {
            self.advance()?;
        }
        Ok(is)
    }

    fn expect(&mut self, mark: &str) -> Result<(), Fault> {
        match self.optional(mark)? {
            true => Ok(()),
            false => Err((
                self.start,
                format!("Expected \"{mark}\", found {}.", self.token.described()),
            )),
        }
    }

    fn name(&mut self) -> Result<(), Fault> {
        match self.token {
            Token::Name(_) => self.advance(),
            _ => Err((self.start, format!("Expected Name, found {}.", self.token.described()))),
        }
    }

    fn too_deep<T>(&self) -> Result<T, Fault> {
        Err((self.start, format!("nested deeper than {DEPTH_MAX} levels.")))
    }

    fn document(&mut self) -> Result<(), Fault> {
        loop {
            self.definition()?;
            if self.token == Token::End {
                return Ok(());
            }
        }
    }

    fn definition(&mut self) -> Result<(), Fault> {
        if self.is("{") {
            return self.selection_set(0);
        }
        if self.is_word("fragment") {
            self.advance()?;
            if self.is_word("on") {
                return self.unexpected();
            }
            self.name()?;
            if !self.is_word("on") {
                return Err((
                    self.start,
                    format!("Expected \"on\", found {}.", self.token.described()),
                ));
            }
            self.advance()?;
            self.name()?;
            self.directives()?;
            return self.selection_set(0);
        }
        if !["query", "mutation", "subscription"]
            .iter()
            .any(|word| self.is_word(word))
        {
            return self.unexpected();
        }
        self.advance()?;
        if matches!(self.token, Token::Name(_)) {
            self.advance()?;
        }
        if self.optional("(")? {
            loop {
                self.variable_definition()?;
                if self.optional(")")? {
                    break;
                }
            }
        }
        self.directives()?;
        self.selection_set(0)
    }

    fn variable_definition(&mut self) -> Result<(), Fault> {
        self.expect("$")?;
        self.name()?;
        self.expect(":")?;
        self.type_reference()?;
        if self.optional("=")? {
            self.value(true, 0)?;
        }
        self.directives()
    }

    fn type_reference(&mut self) -> Result<(), Fault> {
        let mut open = 0;
        while self.optional("[")? {
            open += 1;
        }
        self.name()?;
        self.optional("!")?;
        for _ in 0..open {
            self.expect("]")?;
            self.optional("!")?;
        }
        Ok(())
    }

    fn selection_set(&mut self, depth: usize) -> Result<(), Fault> {
        if depth > DEPTH_MAX {
            return self.too_deep();
        }
        self.expect("{")?;
        loop {
            self.selection(depth)?;
            if self.optional("}")? {
                return Ok(());
            }
        }
    }

    fn selection(&mut self, depth: usize) -> Result<(), Fault> {
        if self.optional("...")? {
            if self.is_word("on") {
                self.advance()?;
                self.name()?;
            } else if matches!(self.token, Token::Name(_)) {
                self.advance()?;
                return self.directives();
            }
            self.directives()?;
            return self.selection_set(depth + 1);
        }
        self.name()?;
        if self.optional(":")? {
            self.name()?;
        }
        self.arguments()?;
        self.directives()?;
        match self.is("{") {
            true => self.selection_set(depth + 1),
            false => Ok(()),
        }
    }

    fn arguments(&mut self) -> Result<(), Fault> {
        if !self.optional("(")? {
            return Ok(());
        }
        loop {
            self.name()?;
            self.expect(":")?;
            self.value(false, 0)?;
            if self.optional(")")? {
                return Ok(());
            }
        }
    }

    fn directives(&mut self) -> Result<(), Fault> {
        while self.optional("@")? {
            self.name()?;
            self.arguments()?;
        }
        Ok(())
    }

    fn value(&mut self, constant: bool, depth: usize) -> Result<(), Fault> {
        if depth > DEPTH_MAX {
            return self.too_deep();
        }
        if self.optional("[")? {
            while !self.optional("]")? {
                self.value(constant, depth + 1)?;
            }
            return Ok(());
        }
        if self.optional("{")? {
            while !self.optional("}")? {
                self.name()?;
                self.expect(":")?;
                self.value(constant, depth + 1)?;
            }
            return Ok(());
        }
        if self.is("$") && !constant {
            self.advance()?;
            return self.name();
        }
        match self.token {
            Token::End | Token::Punctuator(_) => self.unexpected(),
            _ => self.advance(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_without_an_error_pass() {
        for text in [
            "{cube{a{b}}}",
            "query Q($a: [Int!]! = 3, $b: String) @x { cube(limit: $a, where: {a: {in: [\"x\", 1, 2.5e3, null, E]}}) { ...f ... on T @skip(if: true) { x } } } fragment f on T { y: z }",
            "# comment\n{ a(b: \"\"\"block \\\"\"\" \"\"\") }",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn errors_are_worded_and_placed_as_by_graphql_js() {
        let cases = [
            ("{ cube { ", "Expected Name, found <EOF>.", 1, 10),
            ("", "Unexpected <EOF>.", 1, 1),
            ("hello { a }", "Unexpected Name \"hello\".", 1, 1),
            ("{ a(b: ) }", "Unexpected \")\".", 1, 8),
            ("{ a(b 1) }", "Expected \":\", found Int \"1\".", 1, 7),
            ("query {\n  a }\n}", "Unexpected \"}\".", 3, 1),
            ("{ }", "Expected Name, found \"}\".", 1, 3),
            ("{ a ? }", "Cannot parse the unexpected character \"?\".", 1, 5),
            ("{ a(b: \"x) }", "Unterminated string.", 1, 13),
            (
                "{ a(b: 'x') }",
                "Unexpected single quote character ('), did you mean to use a double quote (\")?",
                1,
                8,
            ),
            ("{ a(b: 01) }", "Invalid number, unexpected digit after 0: \"1\".", 1, 9),
            ("fragment on on T { a }", "Unexpected Name \"on\".", 1, 10),
            ("query ($a Int) { a }", "Expected \":\", found Name \"Int\".", 1, 11),
        ];
        for (text, message, line, column) in cases {
            let error = check(text).unwrap_err();
            let expected = (format!("Syntax Error: {message}"), line, column);
            assert_eq!((error.message, error.line, error.column), expected, "{text}");
        }
        assert!(check(&"{a".repeat(100)).unwrap_err().message.contains("nested deeper"));
        assert!(check(&format!("{{a(b:{}", "[".repeat(100_000))).is_err());
    }
}
