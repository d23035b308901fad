//! Which members a query names, directly and through the SQL of others.

use crate::error::Result;
use crate::model::{Cube, Member, Model, MultiStage, Piece};
use crate::query::{Filter, Query, params};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A cube's name and a member's.
pub type MemberId = (String, String);

/// The members a query names.
#[derive(Debug, Default)]
pub struct Named {
    /// The members of each cube; none for a cube that is only mentioned.
    pub cubes: BTreeMap<String, BTreeSet<String>>,
    /// Cubes that are asked through a view.
    pub by_view: BTreeSet<String>,
    /// What each member refers to.
    edges: HashMap<MemberId, Vec<MemberId>>,
}

impl Named {
    /// Whether the member `path` is one of `wanted` or is computed from one.
    pub fn reaches(&self, path: &str, wanted: &BTreeSet<MemberId>) -> bool {
        self.walk(path, |_| true).iter().any(|member| wanted.contains(*member))
    }

    /// The member `path` and, when it is a view's, the one that it shows, which comes last.
    pub fn shown(&self, path: &str, model: &Model) -> Vec<MemberId> {
        let is_view = |id: &MemberId| model.cubes.get(&id.0).is_some_and(|cube| cube.view().is_some());
        let found = self.walk(path, is_view);
        found.into_iter().cloned().collect()
    }

    /// The members reached from `path` through those that `further` lets pass.
    fn walk(&self, path: &str, further: impl Fn(&MemberId) -> bool) -> Vec<&MemberId> {
        let Some((cube, member)) = path.split_once('.') else {
            return Vec::new();
        };
        let start = self.edges.get_key_value(&(cube.to_owned(), member.to_owned()));
        let mut found: Vec<&MemberId> = start.map(|(id, _)| id).into_iter().collect();
        let mut next = 0;
        while let Some(id) = found.get(next).copied() {
            next += 1;
            if !further(id) {
                continue;
            }
            for reached in self.edges.get(id).into_iter().flatten() {
                if !found.contains(&reached) {
                    found.push(reached);
                }
            }
        }
        found
    }
}

/// The members that stand in `query` itself.
pub fn paths(query: &Query) -> Vec<&str> {
    let mut paths: Vec<&str> = Vec::new();
    paths.extend(query.measures.iter().map(String::as_str));
    paths.extend(query.dimensions.iter().map(String::as_str));
    paths.extend(query.segments.iter().map(String::as_str));
    paths.extend(query.time_dimensions.iter().map(|time| time.dimension.as_str()));
    let mut filters: Vec<&Filter> = query.filters.iter().collect();
    while let Some(filter) = filters.pop() {
        match filter {
            Filter::And(inner) | Filter::Or(inner) => filters.extend(inner),
            Filter::Member { member, .. } => paths.push(member),
        }
    }
    paths
}

/// All members that `query` names.
///
/// # Errors
/// `Invalid` for the first that does not exist.
pub fn of_query(model: &Model, query: &Query) -> Result<Named> {
    let mut named = Named::default();
    let mut open: Vec<MemberId> = Vec::new();
    for path in paths(query) {
        model.member(path)?;
        let (cube, member) = path.split_once('.').unwrap_or((path, ""));
        open.push((cube.to_owned(), member.to_owned()));
    }
    while let Some(id) = open.pop() {
        if named.edges.contains_key(&id) {
            continue;
        }
        let Some(cube) = model.cubes.get(&id.0) else { continue };
        let Some(member) = cube.member(&id.1) else {
            // A cube that is mentioned, or one of its columns.
            named.cubes.entry(id.0.clone()).or_default();
            continue;
        };
        let members = named.cubes.entry(id.0.clone()).or_default();
        if is_own(member) {
            members.insert(id.1.clone());
        }
        if cube.view().is_some() {
            named.by_view.extend(shown_cubes(cube));
        }
        let reached = references(model, cube, member);
        open.extend(reached.iter().cloned());
        named.edges.insert(id, reached);
    }
    Ok(named)
}

/// Whether the member stands in the model. Those that a query brings itself stand in no file: what they are made of is
/// what counts.
fn is_own(member: Member<'_>) -> bool {
    let location = match member {
        Member::Measure(measure) => &measure.location,
        Member::Dimension(dimension) => &dimension.location,
        Member::Segment(segment) => &segment.location,
    };
    !location.file.is_empty() || location.line != 0
}

/// The cubes that the members of a view come from.
fn shown_cubes(view: &Cube) -> impl Iterator<Item = String> {
    let measures = view.measures.iter().filter_map(|m| m.origin.as_ref());
    let dimensions = view.dimensions.iter().filter_map(|d| d.origin.as_ref());
    let segments = view.segments.iter().filter_map(|s| s.origin.as_ref());
    let origins = measures.chain(dimensions).chain(segments);
    origins.map(|origin| origin.cube().to_owned())
}

/// What the SQL of a member refers to; for a view's member the member that it shows.
fn references(model: &Model, cube: &Cube, member: Member<'_>) -> Vec<MemberId> {
    if let Some(origin) = member.origin() {
        return vec![(origin.cube().to_owned(), origin.member.clone())];
    }
    let templates = member.templates();
    let pieces = templates.into_iter().flat_map(|template| &template.pieces);
    let mut reached: Vec<MemberId> = pieces.filter_map(|piece| reference(model, cube, piece)).collect();
    if let Member::Measure(measure) = member {
        let names = measure.multi_stage.iter().flat_map(MultiStage::inner_members);
        let owned = |name: &str| {
            let mut path = name.splitn(3, '.').map(str::to_owned);
            Some((path.next()?, path.next()?))
        };
        reached.extend(names.filter_map(owned));
    }
    reached
}

fn reference(model: &Model, cube: &Cube, piece: &Piece) -> Option<MemberId> {
    match piece {
        Piece::Text(_) | Piece::Cube => None,
        Piece::Member(name) => Some((cube.name.clone(), name.clone())),
        Piece::OtherMember(other, name) => Some((other.clone(), name.clone())),
        Piece::OtherCube(other) => Some((other.clone(), String::new())),
        Piece::Context(text) if params::is_reference(text) => None,
        Piece::Context(text) => {
            // `a.b.member`, `a.b` or `a.sql()`: the last name that is a cube counts, with what follows it.
            let names: Vec<&str> = text.split(['.', '(', ')']).map(str::trim).collect();
            let at = names.iter().rposition(|name| model.cubes.contains_key(*name))?;
            let member = names.get(at + 1).copied().unwrap_or_default();
            Some(((*names.get(at)?).to_owned(), member.to_owned()))
        }
    }
}
