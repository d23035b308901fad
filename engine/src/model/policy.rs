//! Access policies: who may see which members and which rows of a cube or a view.
//!
//! Policies are pure functions of the request's security context. What follows from them for a query is decided in
//! `query/policy.rs`.

use super::expression::Expression;
use super::{Cube, Location, SqlTemplate};
use serde_json::Value;

/// Who asks, as policies see it.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// Claims of the verified token.
    pub context: &'a Value,
    /// Groups the asker belongs to.
    pub groups: &'a [String],
    /// Roles the asker has.
    pub roles: &'a [String],
}

/// Whom a policy concerns.
#[derive(Debug, Clone, PartialEq)]
pub enum Audience {
    /// Members of one of these groups; `*` is everybody.
    Groups(Vec<String>),
    /// Those with this role; `*` is everybody. Cube before 1.7.
    Role(String),
}

/// A choice among the members of a cube.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// `*`.
    All,
    /// These names.
    Names(Vec<String>),
}

impl Choice {
    /// Whether `member` is chosen.
    pub fn has(&self, member: &str) -> bool {
        match self {
            Choice::All => true,
            Choice::Names(names) => names.iter().any(|name| name == member),
        }
    }
}

/// Which members a policy grants, or grants masked.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberRule {
    /// These …
    pub includes: Choice,
    /// … without these.
    pub excludes: Choice,
}

impl MemberRule {
    /// Whether the rule covers `member`, a name without the cube's.
    pub fn covers(&self, member: &str) -> bool {
        self.includes.has(member) && !self.excludes.has(member)
    }
}

/// A condition of a policy on rows.
#[derive(Debug, Clone, PartialEq)]
pub enum RowFilter {
    /// All hold.
    And(Vec<RowFilter>),
    /// One holds.
    Or(Vec<RowFilter>),
    /// A comparison of one member of the cube.
    Member {
        /// Its name without the cube's.
        member: String,
        /// Name of the operator, as in a query.
        operator: String,
        /// Values, or expressions over the security context that give one value or a list.
        values: Vec<Expression>,
    },
}

/// Which rows a policy grants.
#[derive(Debug, Clone, PartialEq)]
pub enum RowLevel {
    /// All.
    AllowAll,
    /// Those for which all of these hold.
    Filters(Vec<RowFilter>),
}

/// An element of `access_policy`.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessPolicy {
    /// Whom it concerns.
    pub audience: Audience,
    /// What must hold for it to concern them, all of it.
    pub conditions: Vec<Expression>,
    /// The members it grants; all when absent.
    pub member_level: Option<MemberRule>,
    /// The members it grants masked when it does not grant them otherwise.
    pub member_masking: Option<MemberRule>,
    /// The rows it grants; all when absent.
    pub row_level: Option<RowLevel>,
    /// Where it was written.
    pub location: Location,
}

impl AccessPolicy {
    /// Whether it concerns `asker`.
    ///
    /// # Errors
    /// Cube's text when a condition gives something else than true or false.
    pub fn applies(&self, asker: &Asker<'_>) -> Result<bool, String> {
        let among = |names: &[String], own: &[String]| names.iter().any(|name| name == "*" || own.contains(name));
        let concerned = match &self.audience {
            Audience::Groups(groups) => among(groups, asker.groups),
            Audience::Role(role) => among(std::slice::from_ref(role), asker.roles),
        };
        if !concerned {
            return Ok(false);
        }
        for condition in &self.conditions {
            if !condition.holds(asker.context)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The condition on rows; `None` when all rows are granted.
    pub fn row_filters(&self) -> Option<&[RowFilter]> {
        match &self.row_level {
            Some(RowLevel::Filters(filters)) if !filters.is_empty() => Some(filters),
            _ => None,
        }
    }

    /// Whether it grants `member` as it is.
    pub fn grants_in_full(&self, member: &str) -> bool {
        self.member_level.as_ref().is_none_or(|rule| rule.covers(member))
    }

    /// Whether it lets `member` be asked, masked or not.
    pub fn grants(&self, member: &str) -> bool {
        self.grants_in_full(member) || self.grants_masked(member)
    }

    /// Whether it grants `member` masked.
    pub fn grants_masked(&self, member: &str) -> bool {
        self.member_masking.as_ref().is_some_and(|rule| rule.covers(member))
    }
}

/// Whether `asker` may know that the cube has `member`: some policy that concerns them grants it. A cube without policies
/// hides nothing.
pub fn visible(cube: &Cube, member: &str, asker: &Asker<'_>) -> bool {
    // A condition that fails grants nothing.
    let grants = |policy: &AccessPolicy| policy.applies(asker).unwrap_or(false) && policy.grants(member);
    cube.access_policy.is_empty() || cube.access_policy.iter().any(grants)
}

/// What is shown in the place of a masked member.
#[derive(Debug, Clone, PartialEq)]
pub enum Mask {
    /// A number, a truth value or a text.
    Constant(serde_json::Value),
    /// An expression on the cube's rows.
    Sql(SqlTemplate),
}
