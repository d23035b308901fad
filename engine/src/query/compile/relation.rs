//! The rows of a cube as a plan.

use crate::error::{Error, Result};
use crate::model::{Cube, CubeSource, Dialect, Piece, SqlTemplate};
use crate::query::{params, sql, tables};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};

/// The cube's rows, under the cube's name so that `{CUBE}.column` finds them.
pub(super) fn relation(cube: &Cube, dialect: Dialect) -> Result<LogicalPlan> {
    let plan = match &cube.source {
        CubeSource::Table(name) => tables::scan(table_name(name)?)?.build()?,
        CubeSource::Sql(template) => sql::query_in(dialect, &cube_sql(cube, template)?)?,
        CubeSource::Funnel(_) | CubeSource::View(_) => return Err(Error::internal("funnels and views have no SQL")),
    };
    let name = datafusion::common::TableReference::bare(cube.name.as_str());
    let plan = tables::tagged(plan, &cube.name)?;
    Ok(LogicalPlanBuilder::from(plan).alias(name)?.build()?)
}

/// The table that `sql_table` names: quotes and a `public.` are allowed.
fn table_name(written: &str) -> Result<&str> {
    let name = written.trim();
    let (schema, table) = name.rsplit_once('.').unwrap_or(("public", name));
    match schema.trim_matches('"') {
        "public" => Ok(table.trim_matches('"')),
        _ => Err(Error::model(format!(
            "table `{written}` does not exist: SQL can read `{}`",
            tables::ALL.join("` and `")
        ))),
    }
}

/// The text of a cube's `sql` with `FILTER_PARAMS` in their marker's form.
fn cube_sql(cube: &Cube, template: &SqlTemplate) -> Result<String> {
    let mut text = String::with_capacity(template.source.len());
    for piece in params::pieces(template).iter() {
        match piece {
            Piece::Text(part) => text.push_str(part),
            Piece::Context(reference) if params::is_reference(reference) => {
                let expand = |template: &SqlTemplate| cube_sql(cube, template);
                text.push_str(&request_reference(reference, cube, &expand)?);
            }
            Piece::Context(reference) => return Err(not_in_cube_sql(reference)),
            Piece::Cube => return Err(Error::model("`{CUBE}` has no meaning in the `sql` of the cube itself")),
            Piece::Member(name) | Piece::OtherCube(name) => return Err(not_in_cube_sql(name)),
            Piece::OtherMember(other, name) => return Err(not_in_cube_sql(&format!("{other}.{name}"))),
        }
    }
    Ok(text.trim().trim_end_matches(';').to_owned())
}

/// The SQL of a reference to the request, written in `cube`.
pub(super) fn request_reference(
    reference: &str,
    cube: &Cube,
    expand: &dyn Fn(&SqlTemplate) -> Result<String>,
) -> Result<String> {
    let kind_of = |named: &str, member: &str| {
        let dimension = (named == cube.name).then(|| cube.dimension(member)).flatten();
        dimension.map(|dimension| dimension.kind)
    };
    let around = params::Surroundings {
        cube: &cube.name,
        kind_of: &kind_of,
        expand,
    };
    params::render(reference, &around)
}

fn not_in_cube_sql(name: &str) -> Error {
    Error::invalid(format!("`{{{name}}}` is not answered in the `sql` of a cube"))
}
