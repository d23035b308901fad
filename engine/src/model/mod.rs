//! The semantic model: cubes with measures, dimensions and segments, and funnels. Pure: no IO, no query engine.
//!
//! `yaml` holds the shapes of the files, `read` turns a file into cubes, `validate` joins the files into a [`Model`]; both
//! report every error with its file and line. [`catalog`] watches the folder and keeps the last good version.

pub mod catalog;
pub mod cube;
pub mod dimension;
pub mod expression;
pub mod format;
pub mod funnel;
pub mod granularity;
pub mod hierarchy;
mod jinja;
pub mod join;
pub mod measure;
pub mod policy;
pub mod problem;
mod read;
pub mod refresh;
pub mod rollup;
pub mod segment;
pub mod stage;
pub mod template;
pub mod title;
mod validate;
pub mod view;
mod yaml;

pub use catalog::{Builtin, Catalog, CatalogOptions};
pub use cube::{Cube, CubeSource, Dialect, Location};
pub use dimension::{CaseLabel, Dimension, DimensionSql, DimensionType, Link, LinkTarget, SortOrder};
pub use expression::Expression;
pub use funnel::{Funnel, FunnelRule, FunnelStep};
pub use granularity::{Granularity, Interval, TimeUnit};
pub use hierarchy::Hierarchy;
pub use join::{Join, Relationship};
pub use measure::{Measure, MeasureType};
pub use policy::{AccessPolicy, Asker, Audience, Choice, Mask, MemberRule, RowFilter, RowLevel};
pub use problem::{Problem, Severity};
pub use refresh::RefreshKey;
pub use rollup::{PreAggregation, RollupIndex, RollupKind, RollupTime};
pub use segment::Segment;
pub use stage::{
    Grain, MultiStage, RollingWindow, ShiftDirection, StageCondition, StageFilter, StageOrder, TimeShift, WindowBound,
    WindowOffset,
};
pub use template::{Piece, SqlTemplate};
pub use view::{DefaultFilter, Folder, FolderItem, Origin, View, ViewGroup, ViewGroupItem};

use crate::error::{Error, Result};
use indexmap::IndexMap;
use std::sync::Arc;

/// A member found by its full name.
#[derive(Debug, Clone, Copy)]
pub enum Member<'a> {
    /// A measure.
    Measure(&'a Measure),
    /// A dimension.
    Dimension(&'a Dimension),
    /// A segment.
    Segment(&'a Segment),
}

impl<'a> Member<'a> {
    /// Its name within the cube.
    pub fn name(&self) -> &'a str {
        match self {
            Member::Measure(measure) => &measure.name,
            Member::Dimension(dimension) => &dimension.name,
            Member::Segment(segment) => &segment.name,
        }
    }

    /// The member that it shows, in views.
    pub fn origin(&self) -> Option<&'a Origin> {
        match self {
            Member::Measure(measure) => measure.origin.as_ref(),
            Member::Dimension(dimension) => dimension.origin.as_ref(),
            Member::Segment(segment) => segment.origin.as_ref(),
        }
    }

    /// Every SQL that it is written with, in the order of the file.
    pub(crate) fn templates(&self) -> Vec<&'a SqlTemplate> {
        match self {
            Member::Measure(measure) => measure.templates().collect(),
            Member::Dimension(dimension) => dimension.sql.templates(),
            Member::Segment(segment) => vec![&segment.sql],
        }
    }
}

/// All cubes that one project can query, in the order of their files. Immutable; a reload makes a new one.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// Cubes by name, aliases included (an alias is a whole cube whose [`Cube::alias_of`] names the original).
    pub cubes: IndexMap<String, Arc<Cube>>,
    /// Groups of views, in the order of their files.
    pub view_groups: Vec<ViewGroup>,
    /// Changes whenever anything in the model changes; part of cache keys.
    pub version: String,
}

impl Model {
    /// The cube of this name.
    ///
    /// # Errors
    /// `Invalid` with Cube's wording when there is none; `path` is the member path the caller wrote.
    pub fn cube(&self, name: &str, path: &str) -> Result<&Arc<Cube>> {
        self.cubes
            .get(name)
            .ok_or_else(|| Error::invalid(format!("Cube '{name}' not found for path '{path}'")))
    }

    /// Splits `Cube.member` and finds both.
    ///
    /// # Errors
    /// `Invalid` with Cube's wording when the cube or the member is unknown.
    pub fn member<'a>(&'a self, path: &str) -> Result<(&'a Arc<Cube>, Member<'a>)> {
        let (cube_name, member_name) = path
            .split_once('.')
            .ok_or_else(|| Error::invalid(format!("`{path}` is no member: write `Cube.member`")))?;
        let cube = self.cube(cube_name, path)?;
        let member = cube
            .member(member_name)
            .ok_or_else(|| Error::invalid(format!("'{member_name}' not found for path '{path}'")))?;
        Ok((cube, member))
    }
}
