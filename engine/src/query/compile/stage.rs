//! The SQL of measures that are computed from other measures' answers, compiled once: expressions over columns that are named
//! as the members they stand for.

use super::{Compiled, Defect, found};
use crate::error::{Error, Result};
use crate::model::{Cube, CubeSource, DimensionType, Measure, MeasureType, Member, Model, Piece, SqlTemplate};
use crate::query::sql;
use arrow::datatypes::{DataType, Field, TimeUnit as ArrowUnit};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A member that a measure's SQL refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// `Cube.member`, which is also the name of its column.
    pub path: String,
    /// The cube.
    pub cube: String,
    /// The member.
    pub member: String,
}

/// The compiled SQL of a measure that is computed from other measures' answers.
#[derive(Debug, Clone, Default)]
pub struct Outline {
    /// Its value.
    pub sql: Option<Expr>,
    /// The conditions that an answer must meet to be counted.
    pub filters: Vec<Expr>,
    /// The order of a rank, each with whether it descends.
    pub order: Vec<(Expr, bool)>,
    /// The members it refers to, each once.
    pub members: Vec<Reference>,
}

impl Outline {
    /// `expr` with what `meaning` gives in the place of each reference.
    ///
    /// # Errors
    /// What `meaning` gives.
    pub fn filled(&self, expr: Expr, meaning: impl Fn(&Reference) -> Result<Expr>) -> Result<Expr> {
        let filled = expr.transform_down(|expr| {
            let Expr::Column(column) = &expr else {
                return Ok(Transformed::no(expr));
            };
            let known = self.members.iter().find(|reference| reference.path == column.name);
            match known.filter(|_| column.relation.is_none()) {
                Some(reference) => {
                    let meaning = meaning(reference).map_err(|error| DataFusionError::External(error.into()))?;
                    Ok(Transformed::new(meaning, true, TreeNodeRecursion::Jump))
                }
                None => Ok(Transformed::no(expr)),
            }
        });
        Ok(filled.map_err(sql::model_error)?.data)
    }
}

/// The outlines of a model's measures, by cube and name.
#[derive(Debug, Clone, Default)]
pub struct Outlines(HashMap<(String, String), Compiled<Outline>>);

impl Outlines {
    /// Compiles the SQL of every multi-stage measure and of every measure that is calculated from staged ones.
    pub(super) fn new(model: &Model) -> Self {
        let staged = staged(model);
        let mut all = HashMap::new();
        for cube in answered(model) {
            for measure in cube.measures.iter().filter(|measure| measure.origin.is_none()) {
                let key = (cube.name.clone(), measure.name.clone());
                let computed = measure.multi_stage.is_some() || (staged.contains(&key) && !measure.is_staged());
                if computed && measure.unsupported.is_none() {
                    let outline = outline(model, cube, measure).map_err(Defect::at(&measure.location));
                    all.insert(key, outline);
                }
            }
        }
        Self(all)
    }

    /// The outline of a measure that has one.
    pub(super) fn get(&self, cube: &str, measure: &str) -> Option<Result<&Outline>> {
        let found_one = self.0.get(&(cube.to_owned(), measure.to_owned()))?;
        Some(found(Some(found_one), measure))
    }

    /// Whether a measure has an outline.
    pub(super) fn has(&self, cube: &str, measure: &str) -> bool {
        self.0.contains_key(&(cube.to_owned(), measure.to_owned()))
    }

    /// Every outline that is wrong, with its cube's name.
    pub(super) fn defects(&self) -> impl Iterator<Item = (&str, &Defect)> {
        let all = self.0.iter();
        all.filter_map(|((cube, _), outline)| Some((cube.as_str(), outline.as_ref().err()?)))
    }
}

fn answered(model: &Model) -> impl Iterator<Item = &Arc<Cube>> {
    model
        .cubes
        .values()
        .filter(|cube| !matches!(cube.source, CubeSource::Funnel(_)))
}

/// The measures that are computed over windows or in stages, or refer to such ones. Calculated measures only: others refer
/// to no measures.
fn staged(model: &Model) -> HashSet<(String, String)> {
    let mut staged: HashSet<(String, String)> = HashSet::new();
    loop {
        let before = staged.len();
        for cube in answered(model) {
            for measure in cube.measures.iter().filter(|measure| measure.origin.is_none()) {
                let refers = || {
                    let sql = measure.sql.iter().flat_map(|sql| &sql.pieces);
                    let mut named = sql.filter_map(|piece| named(cube, piece));
                    measure.kind.row().calculated && named.any(|key| staged.contains(&key))
                };
                if measure.is_staged() || refers() {
                    staged.insert((cube.name.clone(), measure.name.clone()));
                }
            }
        }
        if staged.len() == before {
            return staged;
        }
    }
}

/// The cube and the member that a piece of SQL names.
fn named(cube: &Cube, piece: &Piece) -> Option<(String, String)> {
    match piece {
        Piece::Member(name) => Some((cube.name.clone(), name.clone())),
        Piece::OtherMember(other, name) => Some((other.clone(), name.clone())),
        _ => None,
    }
}

fn outline(model: &Model, cube: &Cube, measure: &Measure) -> Result<Outline> {
    let mut outline = Outline::default();
    let mut fields: Vec<Field> = Vec::new();
    let mut compiled = |template: &SqlTemplate, outline: &mut Outline| -> Result<Expr> {
        let text = text(model, cube, template, outline, &mut fields)?;
        let columns = fields.iter().map(|field| (None, Arc::new(field.clone()))).collect();
        let schema = DFSchema::new_with_metadata(columns, HashMap::new()).map_err(sql::model_error)?;
        sql::expression_in(sql::dialect_of_cube(cube), &text, &schema)
    };
    if let Some(template) = &measure.sql {
        outline.sql = Some(compiled(template, &mut outline)?);
    }
    for template in &measure.filters {
        let filter = compiled(template, &mut outline)?;
        outline.filters.push(filter);
    }
    for order in measure.multi_stage.iter().flat_map(|stage| &stage.order_by) {
        let sql = compiled(&order.sql, &mut outline)?;
        outline.order.push((sql, order.desc));
    }
    Ok(outline)
}

/// The text of a template with a column for each reference; the columns are added to `fields`.
fn text(
    model: &Model,
    cube: &Cube,
    template: &SqlTemplate,
    outline: &mut Outline,
    fields: &mut Vec<Field>,
) -> Result<String> {
    let mut text = String::with_capacity(template.source.len());
    for piece in &template.pieces {
        if let Piece::Text(part) = piece {
            text.push_str(part);
            continue;
        }
        let (owner, member) = named(cube, piece).ok_or_else(|| {
            Error::model(format!(
                "`{}`: a measure that is computed from others can refer to members only",
                template.source
            ))
        })?;
        let path = format!("{owner}.{member}");
        let (_, found) = model.member(&path)?;
        if !fields.iter().any(|field| *field.name() == path) {
            fields.push(Field::new(path.as_str(), placeholder(&found), true));
            outline.members.push(Reference {
                path: path.clone(),
                cube: owner,
                member,
            });
        }
        text.push_str(&format!("\"{}\"", path.replace('"', "\"\"")));
    }
    Ok(text)
}

/// The type of a column that stands for a member, as far as its own says.
fn placeholder(member: &Member<'_>) -> DataType {
    let instant = DataType::Timestamp(ArrowUnit::Microsecond, None);
    match member {
        Member::Measure(measure) => match measure.kind {
            MeasureType::String => DataType::Utf8,
            MeasureType::Boolean => DataType::Boolean,
            MeasureType::Time => instant,
            _ => DataType::Float64,
        },
        Member::Dimension(dimension) => match dimension.kind {
            DimensionType::Number => DataType::Float64,
            DimensionType::Boolean => DataType::Boolean,
            DimensionType::Time => instant,
            _ => DataType::Utf8,
        },
        Member::Segment(_) => DataType::Boolean,
    }
}
