//! From a client's text to one statement: PostgreSQL's dialect, bounded before anything recurses over it.

use crate::error::{Error, Result};
use crate::limits;
use crate::model::Model;
use datafusion::sql::sqlparser::ast::{DescribeAlias, Query, Statement, Visit, Visitor, visit_relations};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

/// Nesting of one text. Deeper ones can overflow the parser's stack.
const DEPTH_MAX: usize = 50;
/// Characters of a statement that an error repeats.
const SHOWN_CHARS: usize = 200;

/// What a client asks.
#[derive(Debug)]
pub enum Ask {
    /// A query.
    Query(Box<Statement>),
    /// How a query would be answered.
    Explain(Box<Statement>),
    /// The names of all tables.
    ShowTables,
    /// The value of a setting.
    Show(String),
    /// What clients send by habit and what needs nothing: `SET`, `BEGIN`, `COMMIT` and the like.
    Nothing,
}

/// A client's statement with the names in it.
#[derive(Debug)]
pub struct Parsed {
    /// The statement.
    pub ask: Ask,
    /// Every word of the text, to tell what was named from what a `*` brought.
    pub words: HashSet<String>,
}

/// Parses one statement. Words without quotes that are names of `model` in another case become those names; others become
/// lower case, as in PostgreSQL.
///
/// # Errors
/// `Invalid` for texts that are too long or too deep, are no SQL, hold several statements, or do anything but read.
pub fn parse(sql: &str, model: &Model) -> Result<Parsed> {
    if sql.len() > limits::SQL_API_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the SQL has {} bytes: {} at most",
            sql.len(),
            limits::SQL_API_BYTES_MAX
        )));
    }
    let dialect = PostgreSqlDialect {};
    let mut tokens = Tokenizer::new(&dialect, sql).tokenize().map_err(syntax)?;
    check_tokens(&tokens)?;
    let words = rename(&mut tokens, &Names::of(model));
    let parser = Parser::new(&dialect)
        .with_recursion_limit(DEPTH_MAX)
        .with_tokens(tokens);
    let statements = { parser }.parse_statements().map_err(syntax)?;
    let mut statements = statements.into_iter();
    match (statements.next(), statements.next()) {
        (Some(statement), None) => {
            check_with(&statement)?;
            Ok(Parsed {
                ask: ask(statement)?,
                words,
            })
        }
        (None, _) => Err(Error::invalid("the SQL is empty")),
        _ => Err(Error::invalid("exactly one SQL statement is allowed")),
    }
}

fn ask(statement: Statement) -> Result<Ask> {
    Ok(match statement {
        Statement::Query(_) => Ask::Query(Box::new(statement)),
        Statement::Explain {
            describe_alias: DescribeAlias::Explain,
            analyze: false,
            statement,
            ..
        } if matches!(*statement, Statement::Query(_)) => Ask::Explain(statement),
        Statement::ShowTables { .. } => Ask::ShowTables,
        Statement::ShowVariable { variable } => {
            let words: Vec<String> = variable.into_iter().map(|word| word.value).collect();
            match words.join(" ") {
                name if name.eq_ignore_ascii_case("tables") => Ask::ShowTables,
                name => Ask::Show(name),
            }
        }
        Statement::Set(_)
        | Statement::StartTransaction { .. }
        | Statement::Commit { .. }
        | Statement::Rollback { .. }
        | Statement::Discard { .. }
        | Statement::Deallocate { .. } => Ask::Nothing,
        other => {
            let text: String = other.to_string().chars().take(SHOWN_CHARS).collect();
            return Err(Error::invalid(format!("Unsupported query type: {text}")));
        }
    })
}

fn syntax(error: impl std::fmt::Display) -> Error {
    Error::invalid(format!("Unable to parse: {error}"))
}

/// Chains of operators make trees as deep as they are long, so their number is bounded, and so is everything else.
fn check_tokens(tokens: &[Token]) -> Result<()> {
    let (mut operators, mut all) = (0, 0);
    for token in tokens {
        match token {
            Token::Whitespace(_) | Token::EOF => continue,
            Token::Placeholder(name) => {
                return Err(Error::invalid(format!(
                    "`{name}` is a parameter, and parameters are not supported: write the value"
                )));
            }
            Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::Comma
            | Token::Period
            | Token::LParen
            | Token::RParen => {}
            Token::Word(word) if word.keyword == Keyword::NoKeyword => {}
            _ => operators += 1,
        }
        all += 1;
    }
    let too_many = |what, got, most| Err(Error::invalid(format!("the SQL has {got} {what}: {most} at most")));
    if operators > limits::SQL_API_OPERATORS_MAX {
        return too_many("keywords and operators", operators, limits::SQL_API_OPERATORS_MAX);
    }
    if all > limits::SQL_API_TOKENS_MAX {
        return too_many("words and signs", all, limits::SQL_API_TOKENS_MAX);
    }
    Ok(())
}

/// Refuses a `WITH` that grows when its names are put in their places: one that names another twice, which names
/// another twice, doubles with every step.
fn check_with(statement: &Statement) -> Result<()> {
    let mut sizes = Sizes(HashMap::new());
    if statement.visit(&mut sizes).is_continue() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the queries of WITH have more than {} steps when they are put in their places: name them less often",
        limits::SQL_API_PLAN_NODES_MAX
    )))
}

/// Tables behind each name of a `WITH`. Of names that are given twice the larger one counts.
struct Sizes(HashMap<String, usize>);

impl Sizes {
    fn of(&self, query: &Query) -> usize {
        let mut size = 1_usize;
        let _: ControlFlow<()> = visit_relations(query, |name| {
            let name = name.to_string();
            let known = self.0.get(name.trim_matches('"')).copied();
            size = size.saturating_add(known.unwrap_or(1));
            ControlFlow::Continue(())
        });
        size
    }
}

impl Visitor for Sizes {
    type Break = ();

    /// Queries inside come before those around them.
    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let size = self.of(&cte.query);
            let known = self.0.entry(cte.alias.name.value.clone()).or_default();
            *known = size.max(*known);
        }
        match self.of(query) > limits::SQL_API_PLAN_NODES_MAX {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

/// Names that clients may write in any case.
struct Names<'a> {
    /// As they are.
    exact: HashSet<&'a str>,
    /// By their lower case; the first of several.
    lower: HashMap<String, &'a str>,
}

impl<'a> Names<'a> {
    fn of(model: &'a Model) -> Self {
        let mut names = Self {
            exact: HashSet::new(),
            lower: HashMap::new(),
        };
        names.add(super::catalog::JOIN_FIELD);
        for cube in model.cubes.values() {
            names.add(&cube.name);
            cube.measures.iter().for_each(|measure| names.add(&measure.name));
            cube.dimensions.iter().for_each(|dimension| names.add(&dimension.name));
            cube.segments.iter().for_each(|segment| names.add(&segment.name));
        }
        names
    }

    fn add(&mut self, name: &'a str) {
        self.exact.insert(name);
        self.lower.entry(name.to_ascii_lowercase()).or_insert(name);
    }

    /// The name that a word without quotes means.
    fn meant(&self, word: &str) -> String {
        if self.exact.contains(word) {
            return word.to_owned();
        }
        let lower = word.to_ascii_lowercase();
        self.lower.get(&lower).map_or(lower, |name| (*name).to_owned())
    }
}

/// Gives the words their case, and returns them all.
fn rename(tokens: &mut [Token], names: &Names<'_>) -> HashSet<String> {
    let mut words = HashSet::new();
    for token in tokens {
        let Token::Word(word) = token else {
            continue;
        };
        if word.quote_style.is_none() {
            word.value = names.meant(&word.value);
        }
        words.insert(word.value.clone());
    }
    words
}
