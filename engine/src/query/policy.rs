//! What access policies make of a query: the rows it may see, the members it may not, and those it sees masked.
//!
//! The rules are those of Cube 1.7. A member is granted when any policy that concerns the asker grants it. Rows are
//! resolved for each member and then intersected: a member's rows are those of any policy that grants it, the query's
//! are those of all its members. A view shields the member rules of the cubes below it; their row rules hold. Nothing
//! that is granted is taken from a cube that has no policy that concerns the asker.
//!
//! [`guard`] writes the rules into the query, as filters like those of a client, so that whatever plans the query keeps
//! them. [`rows`] puts them over the scans that these filters do not reach, such as those of a cube that is only joined
//! through. [`proof`] looks at the finished plan.

pub mod masks;
pub mod proof;
mod references;
pub mod rows;

use super::filter::Comparison;
use super::{Filter, Operator, Query, date_range, resolve};
use crate::clock::DAY_MICROS;
use crate::error::{Error, Result};
use crate::model::{AccessPolicy, Asker, Cube, Mask, Member, Model, RowFilter};
use references::{MemberId, Named};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

#[cfg(test)]
mod tests;

/// A condition on rows that may be decided already.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// Every row.
    All,
    /// No row.
    None,
    /// The rows for which it holds.
    If(Filter),
}

impl Rule {
    /// The rows of all of `rules`.
    fn and(rules: impl IntoIterator<Item = Rule>) -> Rule {
        let mut filters = Vec::new();
        for rule in rules {
            match rule {
                Rule::All => {}
                Rule::None => return Rule::None,
                Rule::If(filter) if filters.contains(&filter) => {}
                Rule::If(filter) => filters.push(filter),
            }
        }
        match (filters.len(), filters.pop()) {
            (_, None) => Rule::All,
            (1, Some(only)) => Rule::If(only),
            (_, Some(last)) => {
                filters.push(last);
                Rule::If(Filter::And(filters))
            }
        }
    }

    /// The rows of any of `rules`.
    fn or(rules: impl IntoIterator<Item = Rule>) -> Rule {
        let mut filters = Vec::new();
        for rule in rules {
            match rule {
                Rule::All => return Rule::All,
                Rule::None => {}
                Rule::If(filter) if filters.contains(&filter) => {}
                Rule::If(filter) => filters.push(filter),
            }
        }
        match (filters.len(), filters.pop()) {
            (_, None) => Rule::None,
            (1, Some(only)) => Rule::If(only),
            (_, Some(last)) => {
                filters.push(last);
                Rule::If(Filter::Or(filters))
            }
        }
    }
}

/// A query as policies let it be asked.
#[derive(Debug)]
pub struct Guarded<'a> {
    /// The query without masked members and with the conditions of policies.
    pub query: Cow<'a, Query>,
    /// Whether some member is granted by no policy: the query has no rows then.
    pub denied: bool,
    /// Columns in the order of the answer with those that show a constant; `None` when none does.
    pub shown: Option<Vec<Shown>>,
    /// Dimensions whose expression shows a mask.
    pub masked: Vec<Masked>,
    /// The rows that each cube with policies shows to this query.
    pub rules: BTreeMap<String, Rule>,
}

/// A dimension that shows a mask.
#[derive(Debug, Clone, PartialEq)]
pub struct Masked {
    /// Its cube.
    pub cube: String,
    /// Its name.
    pub dimension: String,
    /// Members of views that show it.
    pub shown_as: Vec<(String, String)>,
    /// What is shown.
    pub mask: Option<Mask>,
    /// The rows whose values are shown nevertheless.
    pub unless: Option<Filter>,
}

/// A column of the answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Shown {
    /// As it was computed.
    Computed(String),
    /// A constant in its place.
    Mask(String, Value),
}

/// Who asks `query`.
pub fn asker(query: &Query) -> Asker<'_> {
    Asker {
        context: &query.security_context,
        groups: &query.groups,
        roles: &query.roles,
    }
}

/// Applies the policies of all cubes that `query` names.
///
/// # Errors
/// `Invalid` for members that do not exist, for a filter on a masked member, and for a policy whose condition or values
/// cannot be used.
pub fn guard<'a>(model: &Model, query: &'a Query) -> Result<Guarded<'a>> {
    let mut guarded = Guarded {
        query: Cow::Borrowed(query),
        denied: false,
        shown: None,
        masked: Vec::new(),
        rules: BTreeMap::new(),
    };
    if model.cubes.values().all(|cube| cube.access_policy.is_empty()) {
        return Ok(guarded);
    }
    let named = references::of_query(model, query)?;
    let mut masked: BTreeMap<MemberId, Option<Filter>> = BTreeMap::new();
    for (name, members) in &named.cubes {
        let Some(cube) = model.cubes.get(name).filter(|cube| !cube.access_policy.is_empty()) else {
            continue;
        };
        let by_view = named.by_view.contains(name);
        let policies = applicable(cube, query)?;
        let rule = cube_rule(cube, &policies, members, by_view, query)?;
        guarded.denied |= rule == Rule::None;
        guarded.rules.insert(name.clone(), rule);
        for member in members {
            if is_masked(&policies, member) {
                masked.insert((name.clone(), member.clone()), unless(cube, &policies, member, query)?);
            }
        }
    }
    let filters: Vec<Filter> = guarded
        .rules
        .values()
        .filter_map(|rule| match rule {
            Rule::If(filter) => Some(filter.clone()),
            Rule::All | Rule::None => None,
        })
        .collect();
    if !filters.is_empty() {
        guarded.query.to_mut().filters.extend(filters);
    }
    if !masked.is_empty() {
        mask(model, query, &named, &masked, &mut guarded)?;
    }
    Ok(guarded)
}

/// Whether the rules for `query` are others at another time, because a policy has a relative date such as `last week`.
///
/// # Errors
/// As [`guard`].
pub fn reads_clock(model: &Model, query: &Query) -> Result<bool> {
    let rules = guard(model, query)?.rules;
    if rules.is_empty() {
        return Ok(false);
    }
    let much_later = Query {
        now: query.now.saturating_add(1_000 * DAY_MICROS),
        ..query.clone()
    };
    Ok(rules != guard(model, &much_later)?.rules)
}

/// The rows that `cube` shows when none of its members is named: it is only joined through.
///
/// # Errors
/// `Invalid` for a policy whose condition or values cannot be used.
pub fn rule_of_unnamed(cube: &Cube, query: &Query) -> Result<Rule> {
    if cube.access_policy.is_empty() {
        return Ok(Rule::All);
    }
    any_rows(cube, &applicable(cube, query)?, query)
}

/// The policies that concern the asker.
fn applicable<'c>(cube: &'c Cube, query: &Query) -> Result<Vec<&'c AccessPolicy>> {
    let asker = asker(query);
    let mut policies = Vec::new();
    for policy in &cube.access_policy {
        if policy.applies(&asker).map_err(Error::invalid)? {
            policies.push(policy);
        }
    }
    Ok(policies)
}

fn cube_rule(
    cube: &Cube,
    policies: &[&AccessPolicy],
    members: &BTreeSet<String>,
    by_view: bool,
    query: &Query,
) -> Result<Rule> {
    if members.is_empty() {
        return any_rows(cube, policies, query);
    }
    let mut rules = Vec::with_capacity(members.len());
    for member in members {
        let granting = policies
            .iter()
            .copied()
            .filter(|policy| by_view || policy.grants(member));
        let granting: Vec<&AccessPolicy> = granting.collect();
        rules.push(any_rows(cube, &granting, query)?);
    }
    Ok(Rule::and(rules))
}

/// The rows of any of `policies`.
fn any_rows(cube: &Cube, policies: &[&AccessPolicy], query: &Query) -> Result<Rule> {
    let rules: Result<Vec<Rule>> = policies
        .iter()
        .map(|policy| match policy.row_filters() {
            None => Ok(Rule::All),
            Some(filters) => {
                let rules: Result<Vec<Rule>> = filters.iter().map(|filter| lowered(cube, filter, query)).collect();
                rules.map(Rule::and)
            }
        })
        .collect();
    rules.map(Rule::or)
}

/// A policy's filter with its values looked up. Recursion is bounded by the reader of models.
fn lowered(cube: &Cube, filter: &RowFilter, query: &Query) -> Result<Rule> {
    let inner =
        |inner: &[RowFilter]| -> Result<Vec<Rule>> { inner.iter().map(|one| lowered(cube, one, query)).collect() };
    let (member, operator, values) = match filter {
        RowFilter::And(filters) => return inner(filters).map(Rule::and),
        RowFilter::Or(filters) => return inner(filters).map(Rule::or),
        RowFilter::Member {
            member,
            operator,
            values,
        } => (member, operator, values),
    };
    let path = format!("{}.{member}", cube.name);
    let operator = operator_of(operator).ok_or_else(|| {
        Error::invalid(format!(
            "the access policy of `{}` has an unknown operator `{operator}`",
            cube.name
        ))
    })?;
    let mut given: Vec<Option<String>> = Vec::new();
    let mut absent = false;
    for value in values {
        match value.value(&query.security_context) {
            Value::Null => absent = true,
            Value::Array(items) => {
                for item in &items {
                    given.push(Some(text(item, &path)?));
                }
            }
            one => given.push(Some(text(&one, &path)?)),
        }
    }
    if operator.needs_values() {
        let row = operator.row();
        match (given.is_empty(), absent) {
            // A claim that is not there grants nothing, also where it would only exclude.
            (true, true) => return Ok(Rule::None),
            (_, true) if row.negated => return Ok(Rule::None),
            // A claim that is there and empty: nothing equals it, and nothing is excluded by it.
            (true, false) if row.negated => return Ok(Rule::All),
            (true, false) => return Ok(Rule::None),
            (false, _) => {}
        }
        if row.comparison == Comparison::Date {
            let resolved = date_range::resolve_filter(operator, &given, query.now, query.timezone)?;
            given = resolved.into_iter().map(Some).collect();
        }
    }
    Ok(Rule::If(Filter::Member {
        member: path,
        operator,
        values: given,
    }))
}

/// Cube's policies have two more names for equality.
fn operator_of(name: &str) -> Option<Operator> {
    match name {
        "in" => Some(Operator::Equals),
        "notIn" => Some(Operator::NotEquals),
        other => Operator::from_name(other),
    }
}

fn text(value: &Value, path: &str) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(Error::invalid(format!(
            "the access policy on '{path}' compares with a claim that is no text, number or truth value"
        ))),
    }
}

/// Whether `member` is shown masked: some policy grants it masked, and none as it is on all rows.
fn is_masked(policies: &[&AccessPolicy], member: &str) -> bool {
    let in_full = |policy: &&AccessPolicy| policy.grants_in_full(member) && policy.row_filters().is_none();
    policies.iter().any(|policy| policy.grants_masked(member)) && !policies.iter().any(in_full)
}

/// The rows on which some policy grants a masked `member` as it is.
fn unless(cube: &Cube, policies: &[&AccessPolicy], member: &str, query: &Query) -> Result<Option<Filter>> {
    let in_full = policies.iter().copied().filter(|policy| policy.grants_in_full(member));
    let in_full: Vec<&AccessPolicy> = in_full.collect();
    Ok(match any_rows(cube, &in_full, query)? {
        Rule::If(filter) => Some(filter),
        Rule::All | Rule::None => None,
    })
}

/// What becomes of a masked member's column.
enum Fate {
    Untouched,
    /// The dimension of this id computes its mask.
    Expression(MemberId),
    /// A constant.
    Constant(Value),
}

/// Decides for every masked member of the query how its mask is shown. A dimension's mask stands in its expression, so
/// that rows are grouped and filtered by what is shown. A measure, and whatever is computed from a masked member, shows a
/// constant and is not computed.
fn mask(
    model: &Model,
    query: &Query,
    named: &Named,
    masked: &BTreeMap<MemberId, Option<Filter>>,
    guarded: &mut Guarded<'_>,
) -> Result<()> {
    let ids: BTreeSet<MemberId> = masked.keys().cloned().collect();
    let fate = |path: &str| -> Fate {
        if !named.reaches(path, &ids) {
            return Fate::Untouched;
        }
        let chain = named.shown(path, model);
        let owner = chain.last().filter(|_| chain.iter().any(|id| ids.contains(id)));
        let plain = |id: &MemberId| {
            let dimension = model.cubes.get(&id.0).and_then(|cube| cube.dimension(&id.1));
            dimension.is_some_and(|dimension| !dimension.sub_query)
        };
        match owner {
            Some(owner) if plain(owner) => Fate::Expression(owner.clone()),
            _ => Fate::Constant(mask_of(model, &chain)),
        }
    };
    refuse_conditions(query, |path| matches!(fate(path), Fate::Constant(_)))?;
    let mut columns = Vec::new();
    for column in resolve::resolve(model, query)?.columns() {
        // A bucket's key is the dimension's path and the granularity.
        let end = column.match_indices('.').nth(1).map_or(column.len(), |(at, _)| at);
        columns.push(match fate(column.get(..end).unwrap_or(&column)) {
            Fate::Constant(value) => Shown::Mask(column, value),
            Fate::Untouched | Fate::Expression(_) => Shown::Computed(column),
        });
    }
    for path in references::paths(query) {
        let Fate::Expression((cube, dimension)) = fate(path) else {
            continue;
        };
        let known = |known: &&mut Masked| known.cube == cube && known.dimension == dimension;
        if let Some(known) = guarded.masked.iter_mut().find(known) {
            known.shown_as.extend(named.shown(path, model));
            continue;
        }
        let chain = named.shown(path, model);
        guarded.masked.push(Masked {
            mask: chain.iter().find_map(|id| declared_mask(model, id)).cloned(),
            // Of a view's mask and its cube's the stricter one: rows must be granted by both.
            unless: match chain
                .iter()
                .filter_map(|id| masked.get(id))
                .collect::<Vec<_>>()
                .as_slice()
            {
                [Some(filter)] => Some(filter.clone()),
                _ => None,
            },
            shown_as: chain,
            cube,
            dimension,
        });
    }
    if columns.iter().any(|column| matches!(column, Shown::Mask(..))) {
        let constant = |path: &str| matches!(fate(path), Fate::Constant(_));
        let query = guarded.query.to_mut();
        query.measures.retain(|path| !constant(path));
        query.dimensions.retain(|path| !constant(path));
        query.time_dimensions.retain(|time| !constant(&time.dimension));
        guarded.shown = Some(columns);
    }
    Ok(())
}

/// Refuses to select rows or groups by something that shows a constant.
fn refuse_conditions(query: &Query, constant: impl Fn(&str) -> bool) -> Result<()> {
    let mut filters: Vec<&Filter> = query.filters.iter().collect();
    let mut paths: Vec<&str> = query.segments.iter().map(String::as_str).collect();
    let ranged = query.time_dimensions.iter().filter(|time| time.date_range.is_some());
    paths.extend(ranged.map(|time| time.dimension.as_str()));
    while let Some(filter) = filters.pop() {
        match filter {
            Filter::And(inner) | Filter::Or(inner) => filters.extend(inner),
            Filter::Member { member, .. } => paths.push(member),
        }
    }
    match paths.into_iter().find(|path| constant(path)) {
        Some(path) => Err(Error::invalid(format!(
            "'{path}' is masked for you: it can be selected, but not used in filters, segments and date ranges"
        ))),
        None => Ok(()),
    }
}

fn declared_mask<'m>(model: &'m Model, id: &MemberId) -> Option<&'m Mask> {
    match model.cubes.get(&id.0)?.member(&id.1)? {
        Member::Measure(measure) => measure.mask.as_ref(),
        Member::Dimension(dimension) => dimension.mask.as_ref(),
        Member::Segment(_) => None,
    }
}

/// The constant that a member shows; null when there is none.
fn mask_of(model: &Model, chain: &[MemberId]) -> Value {
    match chain.iter().find_map(|id| declared_mask(model, id)) {
        Some(Mask::Constant(value)) => value.clone(),
        Some(Mask::Sql(_)) | None => Value::Null,
    }
}
