//! The names in access policies: members of the cube or view itself, and none but those.

use super::super::policy::{AccessPolicy, Choice, RowFilter, RowLevel};
use super::super::{Location, Mask};

/// Takes the cube's own name off the members that policies name, and reports members that it does not have. A policy that
/// names a member wrongly would grant something else than its author meant.
pub(super) fn resolve(
    policies: &mut [AccessPolicy],
    own: &str,
    has_member: impl Fn(&str) -> bool,
    error: &mut impl FnMut(&Location, String),
) {
    for policy in policies {
        let location = policy.location.clone();
        let mut check = |name: &mut String, what: &str| {
            if let Some((cube, member)) = name.split_once('.') {
                if cube != own && cube != "CUBE" {
                    let message = format!(
                        "Paths aren't allowed in the accessPolicy policy but '{name}' provided as {what} for {own}"
                    );
                    return error(&location, message);
                }
                *name = member.to_owned();
            }
            if !has_member(name) {
                error(
                    &location,
                    format!("{name} is not defined, but is {what} of accessPolicy"),
                );
            }
        };
        let rules = [
            (&mut policy.member_level, "an includes member", "an excludes member"),
            (
                &mut policy.member_masking,
                "a masking includes member",
                "a masking excludes member",
            ),
        ];
        for (rule, includes, excludes) in rules {
            let Some(rule) = rule else { continue };
            for (choice, what) in [(&mut rule.includes, includes), (&mut rule.excludes, excludes)] {
                if let Choice::Names(names) = choice {
                    names.iter_mut().for_each(|name| check(name, what));
                }
            }
        }
        if let Some(RowLevel::Filters(filters)) = &mut policy.row_level {
            each_member(filters, &mut |name| check(name, "a filter member reference"));
        }
    }
}

/// Recursion is bounded by the reader.
fn each_member(filters: &mut [RowFilter], each: &mut impl FnMut(&mut String)) {
    for filter in filters {
        match filter {
            RowFilter::And(inner) | RowFilter::Or(inner) => each_member(inner, each),
            RowFilter::Member { member, .. } => each(member),
        }
    }
}

/// Refuses a measure's mask that is computed from rows: a masked measure is not computed at all.
pub(super) fn check_measure_mask(
    mask: Option<&Mask>,
    name: &str,
    location: &Location,
    error: &mut impl FnMut(&Location, String),
) {
    if let Some(Mask::Sql(_)) = mask {
        let message = format!("(measures.{name}.mask) `sql` is not answered for measures: write a constant");
        error(location, message);
    }
}
