//! From text to an [`Expression`].

use super::{Comparison, Expression};
use serde_json::Value;

/// Nesting of one expression.
const DEPTH_MAX: usize = 32;
/// Bytes of one expression.
const BYTES_MAX: usize = 4096;

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    Constant(Value),
    Symbol(&'static str),
}

/// Symbols, longer ones before those they begin with.
const SYMBOLS: &[&str] = &[
    "===", "!==", "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "(", ")", "[", "]", ".", ",",
];

/// What claims are called, with the path that a name stands for.
const ROOTS: &[(&str, &[&str])] = &[
    ("securityContext", &[]),
    ("security_context", &[]),
    ("SECURITY_CONTEXT", &[]),
    ("userAttributes", &["cubeCloud", "userAttributes"]),
    ("user_attributes", &["cubeCloud", "userAttributes"]),
    ("groups", &["cubeCloud", "groups"]),
];

pub(super) fn expression(text: &str) -> Result<Expression, String> {
    let trimmed = text.trim();
    let inner = trimmed.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let mut parser = Parser {
        tokens: tokens(inner.unwrap_or(trimmed))?,
        next: 0,
    };
    let parsed = parser.or(0)?;
    match parser.tokens.get(parser.next) {
        None => Ok(parsed),
        Some(token) => Err(format!("{token:?} is not expected in `{trimmed}`")),
    }
}

pub(super) fn text(text: &str) -> Result<Expression, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, found) = rest.split_at(at);
        if !before.is_empty() {
            parts.push(Expression::Constant(Value::from(before)));
        }
        let end = closing(found).ok_or_else(|| format!("`{text}` has no closing `}}`"))?;
        let (inner, after) = found.split_at(end + 1);
        parts.push(expression(inner)?);
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Expression::Constant(Value::from(rest)));
    }
    match (parts.len(), parts.pop()) {
        (_, None) => Ok(Expression::Constant(Value::from(""))),
        (1, Some(only)) => Ok(only),
        (_, Some(last)) => {
            parts.push(last);
            Ok(Expression::Text(parts))
        }
    }
}

/// The byte of the brace that closes the one at the start. Quoted braces do not count.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '\'' | '"') => quote = Some(c),
            None if c == '}' => return Some(at),
            None => {}
        }
    }
    None
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    if text.len() > BYTES_MAX {
        return Err(format!(
            "an expression of {} bytes; at most {BYTES_MAX} are read",
            text.len()
        ));
    }
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let taken;
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            tokens.push(Token::Symbol(symbol));
            taken = symbol.len();
        } else if matches!(first, '\'' | '"') {
            let body = rest.get(1..).unwrap_or_default();
            let end = body
                .find(first)
                .ok_or_else(|| format!("a quote is not closed in `{text}`"))?;
            tokens.push(Token::Constant(Value::from(body.get(..end).unwrap_or_default())));
            taken = end + 2;
        } else if first.is_ascii_digit() || first == '-' {
            let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
            taken = rest.find(|c| !part(c)).unwrap_or(rest.len());
            let written = rest.get(..taken).unwrap_or_default();
            let number: serde_json::Number =
                serde_json::from_str(written).map_err(|_| format!("`{written}` is no number"))?;
            tokens.push(Token::Constant(Value::Number(number)));
        } else if first.is_alphabetic() || first == '_' {
            taken = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            tokens.push(word(rest.get(..taken).unwrap_or_default()));
        } else {
            return Err(format!("`{first}` has no meaning in `{text}`"));
        }
        rest = rest.get(taken..).unwrap_or_default().trim_start();
    }
    Ok(tokens)
}

fn word(word: &str) -> Token {
    match word {
        "true" | "True" => Token::Constant(Value::Bool(true)),
        "false" | "False" => Token::Constant(Value::Bool(false)),
        "null" | "undefined" | "None" => Token::Constant(Value::Null),
        "and" => Token::Symbol("&&"),
        "or" => Token::Symbol("||"),
        "not" => Token::Symbol("!"),
        other => Token::Name(other.to_owned()),
    }
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
}

impl Parser {
    fn peek(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.next + ahead)
    }

    fn take(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(0), Some(Token::Symbol(found)) if *found == symbol);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &str) -> Result<(), String> {
        match self.take(symbol) {
            true => Ok(()),
            false => Err(format!("a `{symbol}` is missing")),
        }
    }

    fn or(&mut self, depth: usize) -> Result<Expression, String> {
        if depth > DEPTH_MAX {
            return Err(format!("the expression is nested more than {DEPTH_MAX} deep"));
        }
        let mut left = self.and(depth)?;
        let mut links = 0;
        while self.take("||") {
            left = Expression::Or(Box::new(left), Box::new(self.and(depth)?));
            links = self.linked(links)?;
        }
        Ok(left)
    }

    fn and(&mut self, depth: usize) -> Result<Expression, String> {
        let mut left = self.not(depth)?;
        let mut links = 0;
        while self.take("&&") {
            left = Expression::And(Box::new(left), Box::new(self.not(depth)?));
            links = self.linked(links)?;
        }
        Ok(left)
    }

    /// A chain nests as deep as it is long.
    fn linked(&self, links: usize) -> Result<usize, String> {
        match links < DEPTH_MAX {
            true => Ok(links + 1),
            false => Err(format!("more than {DEPTH_MAX} conditions in one expression")),
        }
    }

    fn not(&mut self, depth: usize) -> Result<Expression, String> {
        let mut negated = 0;
        while self.take("!") {
            negated += 1;
        }
        let inner = self.comparison(depth)?;
        Ok(match negated {
            0 => inner,
            n if n % 2 == 1 => Expression::Not(Box::new(inner)),
            _ => Expression::Not(Box::new(Expression::Not(Box::new(inner)))),
        })
    }

    fn comparison(&mut self, depth: usize) -> Result<Expression, String> {
        let left = self.operand(depth)?;
        let is_name = |token: Option<&Token>, name: &str| matches!(token, Some(Token::Name(found)) if found == name);
        let comparison = match self.peek(0) {
            Some(Token::Symbol("==" | "===")) => Comparison::Equal,
            Some(Token::Symbol("!=" | "!==")) => Comparison::NotEqual,
            Some(Token::Symbol("<")) => Comparison::Less,
            Some(Token::Symbol("<=")) => Comparison::LessOrEqual,
            Some(Token::Symbol(">")) => Comparison::Greater,
            Some(Token::Symbol(">=")) => Comparison::GreaterOrEqual,
            token if is_name(token, "in") => Comparison::In,
            Some(Token::Symbol("!")) if is_name(self.peek(1), "in") => {
                self.next += 1;
                Comparison::NotIn
            }
            token if is_name(token, "is") => match self.peek(1) {
                Some(Token::Symbol("!")) => {
                    self.next += 1;
                    Comparison::NotEqual
                }
                _ => Comparison::Equal,
            },
            _ => return Ok(left),
        };
        self.next += 1;
        let right = self.operand(depth)?;
        Ok(Expression::Compare(Box::new(left), comparison, Box::new(right)))
    }

    fn operand(&mut self, depth: usize) -> Result<Expression, String> {
        let Some(token) = self.peek(0).cloned() else {
            return Err("a value is missing at the end".to_owned());
        };
        self.next += 1;
        match token {
            Token::Constant(value) => Ok(Expression::Constant(value)),
            Token::Symbol("(") => {
                let inner = self.or(depth + 1)?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Symbol("[") => {
                let mut items = Vec::new();
                while !self.take("]") {
                    items.push(self.or(depth + 1)?);
                    if !self.take(",") {
                        self.expect("]")?;
                        break;
                    }
                }
                Ok(Expression::List(items))
            }
            Token::Name(root) => self.claim(&root, depth),
            Token::Symbol(symbol) => Err(format!("`{symbol}` stands where a value must")),
        }
    }

    fn claim(&mut self, root: &str, depth: usize) -> Result<Expression, String> {
        let known = ROOTS.iter().find(|(name, _)| *name == root);
        let (_, path) = known.ok_or_else(|| format!("`{root}` is not known: write `securityContext.claim`"))?;
        let mut path: Vec<String> = path.iter().map(|name| (*name).to_owned()).collect();
        loop {
            if self.take("[") {
                match self.peek(0).cloned() {
                    Some(Token::Constant(Value::String(name))) => path.push(name),
                    _ => return Err("a quoted name is missing after `[`".to_owned()),
                }
                self.next += 1;
                self.expect("]")?;
            } else if self.take(".") {
                match self.peek(0).cloned() {
                    Some(Token::Name(name)) => path.push(name),
                    _ => return Err("a name is missing after `.`".to_owned()),
                }
                self.next += 1;
            } else {
                break;
            }
        }
        if path.last().is_some_and(|name| name == "includes") && self.take("(") {
            path.pop();
            let item = self.or(depth + 1)?;
            self.expect(")")?;
            let list = Box::new(Expression::Claim(path));
            return Ok(Expression::Compare(Box::new(item), Comparison::In, list));
        }
        Ok(Expression::Claim(path))
    }
}
