//! The text of a reference to the request, such as `SECURITY_CONTEXT.tenant.filter('tenant_id')`, as SQL with markers.
//!
//! The grammar is the part of Python that Cube's YAML understands here: paths with dots or `['name']`, calls, texts,
//! f-strings, and `lambda x, y: f"…"`.

use super::{FILTER, GROUP, LAMBDA, LOCAL, NUMBER, TEXT, TIME, TRUTH, VALUE};
use crate::error::{Error, Result};
use crate::model::{DimensionType, Piece, SqlTemplate};

/// What a reference may need to know of the place it is written in.
pub struct Surroundings<'a> {
    /// The cube's name.
    pub cube: &'a str,
    /// The type of a dimension by the names of its cube and its own, when it is known.
    pub kind_of: &'a dyn Fn(&str, &str) -> Option<DimensionType>,
    /// The SQL of a template written inside the reference.
    pub expand: &'a dyn Fn(&SqlTemplate) -> Result<String>,
}

/// A token of a reference.
#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    Text { body: String, formatted: bool },
    Symbol(char),
}

/// The parts of a reference.
struct Tokens<'a> {
    reference: &'a str,
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
}

/// What stands between the parentheses of a call.
enum Argument {
    /// A text, taken as it is.
    Plain(String),
    /// An f-string, or a path.
    Template(String),
    /// `lambda names: f"body"`.
    Lambda { names: Vec<String>, body: String },
}

/// `FILTER_PARAMS.cube.member.filter(argument)`.
struct FilterParam {
    cube: String,
    member: String,
    argument: Argument,
    /// Whether it asks for the filters of a shifted time, which are never those of the rows that are read.
    shifted: bool,
}

/// The SQL with markers for `reference`, which is written without its braces.
///
/// # Errors
/// `Model` when the reference is not written as it must be.
pub fn render(reference: &str, around: &Surroundings<'_>) -> Result<String> {
    let mut tokens = Tokens::new(reference)?;
    let root = tokens.name()?;
    let sql = match root.as_str() {
        "SECURITY_CONTEXT" | "securityContext" => security_context(&mut tokens, around)?,
        "FILTER_PARAMS" => group(vec![filter_param(&mut tokens)?], around)?,
        "FILTER_GROUP" => {
            tokens.expect('(')?;
            let mut params = Vec::new();
            loop {
                if tokens.name()? != "FILTER_PARAMS" {
                    return Err(tokens.wrong(
                        "FILTER_GROUP expects FILTER_PARAMS, such as FILTER_GROUP(FILTER_PARAMS.foo.bar.filter('bar'), \
                         FILTER_PARAMS.foo.jar.filter('jar'))",
                    ));
                }
                params.push(filter_param(&mut tokens)?);
                if !tokens.take(',') || tokens.peek(')') {
                    break;
                }
            }
            tokens.expect(')')?;
            group(params, around)?
        }
        "SQL_UTILS" => {
            tokens.expect('.')?;
            let utility = tokens.name()?;
            if !matches!(utility.as_str(), "convertTz" | "convert_tz") {
                return Err(tokens.wrong("of SQL_UTILS only `convertTz` is answered"));
            }
            let argument = tokens.call()?;
            format!("{LOCAL}(({}))", column(&argument, around, &tokens)?)
        }
        _ => return Err(tokens.wrong("it is not answered")),
    };
    tokens.end()?;
    Ok(sql)
}

fn security_context(tokens: &mut Tokens<'_>, around: &Surroundings<'_>) -> Result<String> {
    let mut path: Vec<String> = Vec::new();
    loop {
        if tokens.take('[') {
            path.push(tokens.text()?);
            tokens.expect(']')?;
        } else if tokens.take('.') {
            path.push(tokens.name()?);
        } else {
            break;
        }
    }
    let called = tokens.peek('(').then(|| path.pop()).flatten();
    let value = |path: &[String]| format!("{VALUE}({})", quoted_path(path));
    let required = match called.as_deref() {
        None | Some("unsafeValue" | "unsafe_value") => {
            if called.is_some() {
                tokens.expect('(')?;
                tokens.expect(')')?;
            }
            return Ok(value(&path));
        }
        Some("filter") => false,
        Some("requiredFilter" | "required_filter") => true,
        Some(_) => return Err(tokens.wrong("a claim has `filter`, `requiredFilter` and `unsafeValue`")),
    };
    let argument = tokens.call()?;
    let label = argument.source();
    let sql = match &argument {
        Argument::Lambda { names, body } => {
            let own = value(&path);
            format!(
                "{LAMBDA}(({}))",
                lambda(body, around, |name| {
                    names.first().filter(|first| *first == name).map(|_| own.clone())
                })?
            )
        }
        other => format!("({})", column(other, around, tokens)?),
    };
    Ok(format!(
        "{FILTER}({}, {}, {required}, {sql})",
        quoted_path(&path),
        quoted(label)
    ))
}

fn filter_param(tokens: &mut Tokens<'_>) -> Result<FilterParam> {
    tokens.expect('.')?;
    let cube = tokens.name()?;
    tokens.expect('.')?;
    let member = tokens.name()?;
    tokens.expect('.')?;
    let mut next = tokens.name()?;
    let shifted = matches!(next.as_str(), "time_shifts" | "timeShifts");
    if shifted {
        tokens.expect('.')?;
        tokens.name()?;
        tokens.expect('.')?;
        next = tokens.name()?;
    }
    if next != "filter" {
        return Err(tokens.wrong("write `FILTER_PARAMS.cube.member.filter('column')`"));
    }
    Ok(FilterParam {
        cube,
        member,
        argument: tokens.call()?,
        shifted,
    })
}

fn group(params: Vec<FilterParam>, around: &Surroundings<'_>) -> Result<String> {
    let mut sql = String::from(GROUP);
    for (at, param) in params.iter().enumerate() {
        let cube = if param.cube == "CUBE" { around.cube } else { &param.cube };
        let filter = match &param.argument {
            _ if param.shifted => "NULL".to_owned(),
            Argument::Lambda { names, body } => {
                let marker = match (around.kind_of)(cube, &param.member) {
                    Some(DimensionType::Time) => TIME,
                    Some(DimensionType::Number) => NUMBER,
                    Some(DimensionType::Boolean) => TRUTH,
                    _ => TEXT,
                };
                let value = |name: &str| {
                    let at = names.iter().position(|known| known == name)?;
                    Some(format!("{marker}({at})"))
                };
                format!("{LAMBDA}(({}))", lambda(body, around, value)?)
            }
            Argument::Plain(sql) => format!("({sql})"),
            Argument::Template(source) => format!("({})", expanded(source, around)?),
        };
        let separator = if at == 0 { '(' } else { ',' };
        sql.push_str(&format!(
            "{separator}{}, {filter}",
            quoted(&format!("{cube}.{}", param.member))
        ));
    }
    sql.push(')');
    Ok(sql)
}

/// The SQL of a lambda's body, in which its own names stand for values.
fn lambda(body: &str, around: &Surroundings<'_>, value: impl Fn(&str) -> Option<String>) -> Result<String> {
    let mut template = SqlTemplate::parse(body, Default::default()).map_err(Error::model)?;
    for piece in &mut template.pieces {
        if let Piece::Member(name) = piece
            && let Some(marker) = value(name)
        {
            *piece = Piece::Text(marker);
        }
    }
    (around.expand)(&template)
}

fn column(argument: &Argument, around: &Surroundings<'_>, tokens: &Tokens<'_>) -> Result<String> {
    match argument {
        Argument::Plain(sql) => Ok(sql.clone()),
        Argument::Template(source) => expanded(source, around),
        Argument::Lambda { .. } => Err(tokens.wrong("a column is needed here")),
    }
}

fn expanded(source: &str, around: &Surroundings<'_>) -> Result<String> {
    let template = SqlTemplate::parse(source, Default::default()).map_err(Error::model)?;
    (around.expand)(&template)
}

/// A text as a literal of SQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A path as one literal that [`super::path_of`] reads.
fn quoted_path(path: &[String]) -> String {
    quoted(&serde_json::Value::from(path).to_string())
}

impl Argument {
    fn source(&self) -> &str {
        match self {
            Argument::Plain(text) | Argument::Template(text) => text,
            Argument::Lambda { body, .. } => body,
        }
    }
}

impl<'a> Tokens<'a> {
    fn new(reference: &'a str) -> Result<Self> {
        let mut tokens = Vec::new();
        let mut chars = reference.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                c if c.is_whitespace() => {}
                '\'' | '"' => tokens.push(Token::Text {
                    body: text(&mut chars, c, reference)?,
                    formatted: false,
                }),
                'f' | 'F' if matches!(chars.peek(), Some('\'' | '"')) => {
                    let quote = chars.next().unwrap_or('"');
                    let body = text(&mut chars, quote, reference)?;
                    tokens.push(Token::Text { body, formatted: true });
                }
                c if c.is_alphabetic() || c == '_' => {
                    let mut name = String::from(c);
                    while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                        name.push(c);
                    }
                    tokens.push(Token::Name(name));
                }
                '.' | ',' | ':' | '(' | ')' | '[' | ']' => tokens.push(Token::Symbol(c)),
                other => return Err(wrong(reference, &format!("`{other}` has no meaning here"))),
            }
        }
        Ok(Self {
            reference,
            tokens: tokens.into_iter().peekable(),
        })
    }

    fn wrong(&self, why: &str) -> Error {
        wrong(self.reference, why)
    }

    fn peek(&mut self, symbol: char) -> bool {
        self.tokens.peek() == Some(&Token::Symbol(symbol))
    }

    fn take(&mut self, symbol: char) -> bool {
        self.tokens.next_if(|token| *token == Token::Symbol(symbol)).is_some()
    }

    fn expect(&mut self, symbol: char) -> Result<()> {
        match self.take(symbol) {
            true => Ok(()),
            false => Err(self.wrong(&format!("a `{symbol}` is missing"))),
        }
    }

    fn name(&mut self) -> Result<String> {
        match self.tokens.next() {
            Some(Token::Name(name)) => Ok(name),
            _ => Err(self.wrong("a name is missing")),
        }
    }

    fn text(&mut self) -> Result<String> {
        match self.tokens.next() {
            Some(Token::Text { body, formatted: false }) => Ok(body),
            _ => Err(self.wrong("a quoted name is missing")),
        }
    }

    fn end(&mut self) -> Result<()> {
        match self.tokens.next() {
            None => Ok(()),
            Some(_) => Err(self.wrong("it goes on after its end")),
        }
    }

    /// `(argument)`.
    fn call(&mut self) -> Result<Argument> {
        self.expect('(')?;
        let argument = match self.tokens.next() {
            Some(Token::Text { body, formatted: false }) => Argument::Plain(body),
            Some(Token::Text { body, formatted: true }) => Argument::Template(body),
            Some(Token::Name(name)) if name == "lambda" => self.lambda()?,
            Some(Token::Name(name)) => {
                let mut path = name;
                while self.take('.') {
                    path.push('.');
                    path.push_str(&self.name()?);
                }
                Argument::Template(format!("{{{path}}}"))
            }
            _ => return Err(self.wrong("a column is missing: write it in quotes")),
        };
        self.take(',');
        self.expect(')')?;
        Ok(argument)
    }

    fn lambda(&mut self) -> Result<Argument> {
        let mut names = Vec::new();
        while !self.take(':') {
            names.push(self.name()?);
            if !self.take(',') && !self.peek(':') {
                return Err(self.wrong("a `:` is missing after the names of `lambda`"));
            }
        }
        match self.tokens.next() {
            Some(Token::Text { body, .. }) => Ok(Argument::Lambda { names, body }),
            _ => Err(self.wrong("`lambda` must give a text: `lambda x, y: f\"column >= {x} AND column <= {y}\"`")),
        }
    }
}

/// The rest of a quoted text; a backslash keeps its quote from ending it.
fn text(chars: &mut impl Iterator<Item = char>, quote: char, reference: &str) -> Result<String> {
    let mut body = String::new();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped) if escaped == quote || escaped == '\\' => body.push(escaped),
                Some(other) => body.extend(['\\', other]),
                None => break,
            },
            c if c == quote => return Ok(body),
            c => body.push(c),
        }
    }
    Err(wrong(reference, "a quote is not closed"))
}

fn wrong(reference: &str, why: &str) -> Error {
    Error::model(format!("`{{{reference}}}`: {why}"))
}
