//! ClickHouse's grammar: what it has and the query engine lacks is put into the engine's own forms before planning.
//!
//! Two steps. The text becomes a tree by sqlparser's ClickHouse dialect, with `a ? b : c` added. Then the tree is rewritten
//! from the leaves up: calls by the table of [`crate::functions`], casts to ClickHouse's types, `PREWHERE`, aliases that
//! are used beside where they are made. What has no such form (`ARRAY JOIN`, `LIMIT BY`, …) is refused by its name.

mod aliases;
mod operators;
mod types;

pub(super) use operators::Operators;

use crate::error::{Error, Result};
use crate::functions::{self, Call, build};
use datafusion::sql::sqlparser::ast::{
    AccessExpr, Array, BinaryOperator, CastKind, CeilFloorKind, DateTimeField, Distinct, Expr, Function,
    FunctionArguments, GroupByExpr, Interval, JoinOperator, LimitClause, ObjectName, Query, Select, SelectItem,
    Statement, Subscript, TableFactor, TrimWhereField, UnaryOperator, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::{ClickHouseDialect, Dialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use std::any::TypeId;
use std::ops::ControlFlow;

/// sqlparser's dialect with the conditional operator, and with `FILTER`, which ClickHouse takes too.
#[derive(Debug)]
struct Grammar(ClickHouseDialect);

/// Below `OR`.
const CONDITIONAL: u8 = 4;

impl Dialect for Grammar {
    fn dialect(&self) -> TypeId {
        self.0.dialect()
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_'
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        true
    }

    fn supports_select_wildcard_except(&self) -> bool {
        true
    }

    fn supports_limit_comma(&self) -> bool {
        true
    }

    fn supports_numeric_literal_underscores(&self) -> bool {
        true
    }

    fn supports_lambda_functions(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_group_by_with_modifier(&self) -> bool {
        true
    }

    fn supports_nested_comments(&self) -> bool {
        true
    }

    fn supports_prewhere(&self) -> bool {
        true
    }

    fn supports_with_fill(&self) -> bool {
        true
    }

    fn supports_limit_by(&self) -> bool {
        true
    }

    fn supports_settings(&self) -> bool {
        true
    }

    fn supports_select_format(&self) -> bool {
        true
    }

    fn supports_array_join_syntax(&self) -> bool {
        true
    }

    fn supports_comma_separated_trim(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }

    fn supports_trailing_commas(&self) -> bool {
        true
    }

    fn get_next_precedence(&self, parser: &Parser<'_>) -> Option<Result<u8, ParserError>> {
        match parser.peek_token_ref().token {
            Token::Question => Some(Ok(CONDITIONAL)),
            Token::Colon => Some(Ok(0)),
            _ => None,
        }
    }

    fn parse_infix(&self, parser: &mut Parser<'_>, expr: &Expr, _: u8) -> Option<Result<Expr, ParserError>> {
        if parser.parse_keyword(Keyword::DIV) {
            return Some(
                parser
                    .parse_subexpr(self.prec_value(Precedence::MulDivModOp))
                    .map(|right| build::binary(expr.clone(), BinaryOperator::MyIntegerDivide, right)),
            );
        }
        if !parser.consume_token(&Token::Question) {
            return None;
        }
        let parts = parser.parse_subexpr(0).and_then(|then| {
            parser.expect_token(&Token::Colon)?;
            Ok((then, parser.parse_subexpr(CONDITIONAL - 1)?))
        });
        Some(parts.map(|(then, otherwise)| build::function_named("if", vec![expr.clone(), then, otherwise])))
    }
}

/// The tokens of `sql` with what the grammar does not know taken out or put in its form.
fn tokens(sql: &str, grammar: &Grammar) -> Result<Vec<TokenWithSpan>> {
    let mut found = Tokenizer::new(grammar, sql)
        .tokenize_with_location()
        .map_err(|error| Error::model(error.to_string()))?;
    // `?1` of `x ?1:0` comes as one.
    let mut at = 0;
    while at < found.len() {
        if let Token::Placeholder(text) = &found[at].token
            && let Some(digits) = text.strip_prefix('?').map(str::to_owned)
        {
            found[at].token = Token::Question;
            if !digits.is_empty() {
                let mut number = found[at].clone();
                number.token = Token::Number(digits, false);
                found.insert(at + 1, number);
            }
        }
        at += 1;
    }
    for at in 0..found.len() {
        name_of_type(&mut found, at);
        list_after_in(&mut found, at);
    }
    // Events are stored once each, so `FINAL` and `GLOBAL` (of `GLOBAL IN`) change nothing.
    let dropped: Vec<bool> = (0..found.len()).map(|at| is_noise(&found, at)).collect();
    let mut dropped = dropped.into_iter();
    found.retain(|_| !dropped.next().unwrap_or(false));
    Ok(found)
}

/// Whether a token is this bare word.
fn is_word(token: &TokenWithSpan, text: &str) -> bool {
    matches!(&token.token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text))
}

/// `DateTime('UTC')` is a type whose name the grammar takes a number after; `DateTime32` is its other name.
fn name_of_type(tokens: &mut [TokenWithSpan], at: usize) {
    let zoned = is_word(&tokens[at], "DateTime")
        && matches!(tokens.get(at + 1).map(|token| &token.token), Some(Token::LParen))
        && matches!(
            tokens.get(at + 2).map(|token| &token.token),
            Some(Token::SingleQuotedString(_))
        );
    if zoned {
        tokens[at].token = Token::make_word("DateTime32", None);
    }
}

/// `x IN [1, 2]` is `x IN (1, 2)`.
fn list_after_in(tokens: &mut [TokenWithSpan], at: usize) {
    if !is_word(&tokens[at], "IN") {
        return;
    }
    let is_space = |token: &TokenWithSpan| matches!(token.token, Token::Whitespace(_));
    let Some(open) = (at + 1..tokens.len()).find(|next| !is_space(&tokens[*next])) else {
        return;
    };
    if tokens[open].token != Token::LBracket {
        return;
    }
    let mut depth = 0;
    for close in open..tokens.len() {
        match tokens[close].token {
            Token::LBracket => depth += 1,
            Token::RBracket if depth == 1 => {
                (tokens[open].token, tokens[close].token) = (Token::LParen, Token::RParen);
                return;
            }
            Token::RBracket => depth -= 1,
            _ => {}
        }
    }
}

fn is_noise(tokens: &[TokenWithSpan], at: usize) -> bool {
    let word = is_word;
    let visible = |token: &&TokenWithSpan| !matches!(token.token, Token::Whitespace(_));
    if word(&tokens[at], "FINAL") {
        let before = tokens[..at].iter().rev().find(visible);
        let clause = [
            "SELECT", "WHERE", "BY", "AND", "OR", "ON", "AS", "NOT", "CASE", "WHEN", "THEN", "ELSE", "HAVING",
        ];
        return matches!(before.map(|token| &token.token), Some(Token::Word(_)))
            && before.is_some_and(|token| !clause.iter().any(|keyword| word(token, keyword)));
    }
    if word(&tokens[at], "GLOBAL") {
        let after = tokens[at + 1..].iter().find(visible);
        return after.is_some_and(|token| {
            ["IN", "NOT", "JOIN", "LEFT", "INNER"]
                .iter()
                .any(|next| word(token, next))
        });
    }
    false
}

/// Parses with `parse` and rewrites the tree.
fn parsed<T: VisitMut>(
    sql: &str,
    depth: usize,
    parse: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
) -> Result<T> {
    let grammar = Grammar(ClickHouseDialect {});
    let tokens = tokens(sql, &grammar)?;
    let mut parser = Parser::new(&grammar)
        .with_recursion_limit(depth)
        .with_tokens_with_locations(tokens);
    let mut tree = parse(&mut parser).map_err(|error| Error::model(error.to_string()))?;
    match tree.visit(&mut Rewriter) {
        ControlFlow::Continue(()) => Ok(tree),
        ControlFlow::Break(error) => Err(error),
    }
}

/// One expression.
///
/// # Errors
/// `Model` with what is wrong.
pub(super) fn expression(sql: &str, depth: usize) -> Result<Expr> {
    parsed(sql, depth, |parser| {
        let expr = parser.parse_expr()?;
        parser.expect_token(&Token::EOF)?;
        Ok(expr)
    })
}

/// One statement.
///
/// # Errors
/// `Model` with what is wrong.
pub(super) fn statement(sql: &str, depth: usize) -> Result<Statement> {
    parsed(sql, depth, |parser| {
        let statement = parser.parse_statement()?;
        let _ = parser.consume_token(&Token::SemiColon);
        parser.expect_token(&Token::EOF)?;
        Ok(statement)
    })
}

/// Whether `sql` has signs that only ClickHouse's grammar knows, or a call that only its functions answer.
pub(super) fn is_marked(sql: &str, known: impl Fn(&str) -> bool) -> bool {
    let grammar = Grammar(ClickHouseDialect {});
    let Ok(tokens) = tokens(sql, &grammar) else {
        return false;
    };
    let visible: Vec<&Token> = tokens
        .iter()
        .map(|token| &token.token)
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .chain([&Token::EOF])
        .collect();
    visible.windows(2).any(|pair| match pair {
        [Token::Word(word), Token::LParen] if word.quote_style.is_none() => {
            functions::is_clickhouse(&word.value) && !known(&word.value.to_ascii_lowercase())
        }
        [Token::Word(word), _] if word.quote_style.is_none() => word.keyword == Keyword::PREWHERE,
        [Token::Word(word), _] => word.quote_style == Some('`'),
        [Token::DoubleEq | Token::Question, _] => true,
        _ => false,
    })
}

/// Puts the engine's forms in the place of ClickHouse's.
struct Rewriter;

impl VisitorMut for Rewriter {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        flow(refuse_clauses(query))
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        flow(rewrite_select(select))
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let taken = std::mem::replace(expr, Expr::Value(Value::Null.into()));
        match rewrite(taken) {
            Ok(rewritten) => {
                *expr = rewritten;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn flow(result: Result<()>) -> ControlFlow<Error> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

fn refused(what: &str, instead: &str) -> Error {
    Error::model(format!("`{what}` of ClickHouse is not answered: {instead}"))
}

fn refuse_clauses(query: &Query) -> Result<()> {
    if query.settings.is_some() {
        return Err(refused("SETTINGS", "leave it out"));
    }
    if query.format_clause.is_some() {
        return Err(refused("FORMAT", "leave it out"));
    }
    if let Some(LimitClause::LimitOffset { limit_by, .. }) = &query.limit_clause
        && !limit_by.is_empty()
    {
        return Err(refused("LIMIT BY", "number the rows with row_number() and filter them"));
    }
    if let Some(order) = &query.order_by {
        let fills = order.interpolate.is_some()
            || matches!(&order.kind, datafusion::sql::sqlparser::ast::OrderByKind::Expressions(all) if all.iter().any(|one| one.with_fill.is_some()));
        if fills {
            return Err(refused("WITH FILL", "clients fill gaps themselves"));
        }
    }
    Ok(())
}

fn rewrite_select(select: &mut Select) -> Result<()> {
    for table in &select.from {
        for join in &table.joins {
            let array = matches!(
                join.join_operator,
                JoinOperator::ArrayJoin | JoinOperator::LeftArrayJoin | JoinOperator::InnerArrayJoin
            );
            if array {
                return Err(refused("ARRAY JOIN", "select arrayJoin(…) in a subquery"));
            }
            if matches!(join.join_operator, JoinOperator::AsOf { .. }) {
                return Err(refused("ASOF JOIN", "join on the nearest row with a window function"));
            }
        }
        let functions = std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation));
        for relation in functions {
            if let TableFactor::Table { sample: Some(_), .. } = relation {
                return Err(refused("SAMPLE", "leave it out"));
            }
        }
    }
    if let GroupByExpr::Expressions(_, modifiers) | GroupByExpr::All(modifiers) = &select.group_by
        && !modifiers.is_empty()
    {
        return Err(refused("WITH TOTALS, ROLLUP and CUBE", "leave it out"));
    }
    if matches!(&select.distinct, Some(Distinct::On(_))) {
        return Err(refused(
            "DISTINCT ON",
            "number the rows with row_number() and filter them",
        ));
    }
    aliases::expand(select)?;
    let conditions = [select.prewhere.take(), select.selection.take()];
    select.selection = conditions.into_iter().flatten().map(build::truth).reduce(build::and);
    select.having = select.having.take().map(build::truth);
    for item in &mut select.projection {
        name(item);
    }
    Ok(())
}

/// Gives an unnamed expression the name that ClickHouse gives it: its text.
fn name(item: &mut SelectItem) {
    let SelectItem::UnnamedExpr(expr) = item else {
        return;
    };
    if matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
        return;
    }
    let alias = build::quoted(&expr.to_string());
    let expr = std::mem::replace(expr, Expr::Value(Value::Null.into()));
    *item = SelectItem::ExprWithAlias { expr, alias };
}

/// One node whose children are rewritten.
fn rewrite(expr: Expr) -> Result<Expr> {
    match expr {
        Expr::Function(function) if is_internal(&function) => Ok(Expr::Function(function)),
        Expr::Function(function) if is_engines(&function) => Ok(engines(function)),
        Expr::Function(function) => functions::rewrite(Call::new(function)?),
        Expr::Cast {
            kind, expr, data_type, ..
        } => types::cast(*expr, &data_type, matches!(kind, CastKind::TryCast)),
        Expr::Interval(interval) => interval_of(interval),
        Expr::InList { expr, list, negated } => in_list(*expr, list, negated),
        Expr::CompoundFieldAccess { root, access_chain } => access(*root, access_chain),
        Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr,
        } => Ok(build::not(build::truth(*expr))),
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } if !matches!(*expr, Expr::Value(_)) => Ok(build::function("ch_negate", vec![*expr])),
        Expr::Case {
            operand: None,
            mut conditions,
            else_result,
            case_token,
            end_token,
        } => {
            for when in &mut conditions {
                let taken = std::mem::replace(&mut when.condition, Expr::Value(Value::Null.into()));
                when.condition = build::truth(taken);
            }
            Ok(Expr::Case {
                operand: None,
                conditions,
                else_result,
                case_token,
                end_token,
            })
        }
        Expr::Like {
            negated,
            any: false,
            expr,
            pattern,
            escape_char: None,
        } => Ok(build::maybe_not(
            negated,
            build::function("ch_like", vec![*expr, *pattern]),
        )),
        Expr::ILike {
            negated,
            any: false,
            expr,
            pattern,
            escape_char: None,
        } => Ok(build::maybe_not(
            negated,
            build::function("ch_ilike", vec![*expr, *pattern]),
        )),
        Expr::Array(Array { elem, .. }) if elem.is_empty() => Ok(build::function("make_array", Vec::new())),
        Expr::TypedString(typed) => {
            let text = typed.value.into_string().unwrap_or_default();
            types::cast(build::text(&text), &typed.data_type, false)
        }
        other => spelled(other),
    }
}

/// Functions that the grammar spells in a way of their own: `SUBSTRING(x FROM 1 FOR 2)`.
fn spelled(expr: Expr) -> Result<Expr> {
    let (name, args) = match expr {
        Expr::Substring {
            expr,
            substring_from,
            substring_for,
            ..
        } => {
            let parts = [Some(*expr), substring_from.map(|e| *e), substring_for.map(|e| *e)];
            ("substring", parts.into_iter().flatten().collect())
        }
        Expr::Position { expr, r#in } => ("position", vec![*r#in, *expr]),
        Expr::Extract { field, expr, .. } => return extract(&field, *expr),
        Expr::Trim {
            expr,
            trim_where,
            trim_what,
            trim_characters,
        } => {
            let what = trim_what
                .map(|what| *what)
                .or_else(|| trim_characters.and_then(|mut all| all.pop()));
            let name = match trim_where {
                Some(TrimWhereField::Leading) => "trimLeft",
                Some(TrimWhereField::Trailing) => "trimRight",
                _ => "trimBoth",
            };
            (name, std::iter::once(*expr).chain(what).collect())
        }
        Expr::Ceil { expr, field } => ("ceil", rounded(*expr, field)),
        Expr::Floor { expr, field } => ("floor", rounded(*expr, field)),
        other => return Ok(other),
    };
    functions::rewrite(Call::plain(name, args))
}

/// What `ceil` and `floor` take: the value, and the digits.
fn rounded(expr: Expr, field: CeilFloorKind) -> Vec<Expr> {
    let digits = match field {
        CeilFloorKind::Scale(digits) => Some(Expr::Value(digits)),
        CeilFloorKind::DateTimeField(_) => None,
    };
    std::iter::once(expr).chain(digits).collect()
}

/// The bare name of a call, in small letters.
fn bare_name(function: &Function) -> Option<String> {
    match function.name.0.as_slice() {
        [part] => part
            .as_ident()
            .filter(|name| name.quote_style.is_none())
            .map(|name| name.value.to_ascii_lowercase()),
        _ => None,
    }
}

/// Functions that ClickHouse does not have and the engine does: models of both origins are mixed.
fn is_engines(function: &Function) -> bool {
    bare_name(function).is_some_and(|name| {
        !functions::is_clickhouse(&name) && functions::find(&name).is_none() && super::is_known(&name)
    })
}

fn engines(mut function: Function) -> Expr {
    if let Some(name) = bare_name(&function) {
        function.name = ObjectName::from(vec![build::quoted(&name)]);
    }
    Expr::Function(function)
}

/// Calls that this rewriting itself made, seen again because they replaced a node further down.
fn is_internal(function: &Function) -> bool {
    function.name.0.len() == 1
        && function.name.0[0]
            .as_ident()
            .is_some_and(|ident| ident.quote_style == Some('"'))
        && matches!(function.parameters, FunctionArguments::None)
}

/// `INTERVAL 1 DAY` and `INTERVAL '1 day'` stay as they are; of anything but a literal, a function makes the interval.
fn interval_of(interval: Interval) -> Result<Expr> {
    let literal = match interval.value.as_ref() {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => Some(number.clone()),
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    };
    let unit = interval.leading_field.as_ref().map(unit_name);
    match (literal, unit) {
        (Some(literal), Some(unit)) => {
            let (count, unit) = match (unit.as_str(), literal.trim().parse::<i64>()) {
                ("quarter", Ok(count)) => (count.saturating_mul(3).to_string(), "month"),
                (unit, _) => (literal, unit),
            };
            Ok(Expr::Interval(Interval {
                value: Box::new(build::text(&format!("{count} {unit}"))),
                leading_field: None,
                ..interval
            }))
        }
        (Some(_), None) => Ok(Expr::Interval(interval)),
        (None, Some(unit)) => Ok(build::function(
            "ch_interval",
            vec![build::text(&unit), *interval.value],
        )),
        (None, None) => Err(Error::model(format!("`{interval}` has no unit"))),
    }
}

/// The unit in lower case and singular.
fn unit_name(field: &DateTimeField) -> String {
    field.to_string().to_ascii_lowercase().trim_end_matches('s').to_owned()
}

fn extract(field: &DateTimeField, expr: Expr) -> Result<Expr> {
    let name = match unit_name(field).as_str() {
        "year" => "toYear",
        "quarter" => "toQuarter",
        "month" => "toMonth",
        "week" => "toISOWeek",
        "day" => "toDayOfMonth",
        "hour" => "toHour",
        "minute" => "toMinute",
        "second" => "toSecond",
        other => return Err(Error::model(format!("EXTRACT knows no `{other}`"))),
    };
    functions::rewrite(Call::plain(name, vec![expr]))
}

/// `(a, b) IN ((1, 2), …)` is a choice of conjunctions.
fn in_list(expr: Expr, list: Vec<Expr>, negated: bool) -> Result<Expr> {
    let list = match list.as_slice() {
        // `x IN ([1, 2])` and `x IN [1, 2]`.
        [Expr::Array(Array { elem, .. })] => elem.clone(),
        _ => list,
    };
    let Expr::Tuple(columns) = &expr else {
        return Ok(Expr::InList {
            expr: Box::new(expr),
            list,
            negated,
        });
    };
    let list = match list.first() {
        Some(Expr::Tuple(_)) => list,
        // `(a, b) IN (1, 2)` is one tuple.
        _ => vec![Expr::Tuple(list)],
    };
    let mut choices = Vec::with_capacity(list.len());
    for tuple in list {
        let Expr::Tuple(values) = tuple else {
            return Err(Error::model(format!("`{tuple}` is no tuple")));
        };
        if values.len() != columns.len() {
            return Err(Error::model(format!(
                "tuples of {} and {} values are compared",
                columns.len(),
                values.len()
            )));
        }
        let equal = columns
            .iter()
            .zip(values)
            .map(|(column, value)| build::binary(column.clone(), BinaryOperator::Eq, value));
        choices.extend(equal.reduce(build::and));
    }
    let any = choices
        .into_iter()
        .reduce(build::or)
        .unwrap_or_else(|| build::boolean(false));
    Ok(build::maybe_not(negated, any))
}

/// `array[n]`; fields of maps and tuples are not answered.
fn access(root: Expr, chain: Vec<AccessExpr>) -> Result<Expr> {
    chain.into_iter().try_fold(root, |root, link| match link {
        AccessExpr::Subscript(Subscript::Index { index }) => Ok(build::function("ch_arrayElement", vec![root, index])),
        other => Err(refused(&other.to_string(), "only `array[index]` is")),
    })
}

#[cfg(test)]
mod tests;
