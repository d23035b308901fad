//! Queries over a funnel: `count` by `step`, `step_name` and `date`.
//!
//! The plan is a straight line: the funnel's events → one row per visitor (level and entry, by the funnel aggregate) →
//! visitors per level and date → one row per step and date, zeros included → the query's own conditions and columns.
//!
//! **Dates.** Under `ordered` and `strict` a condition on `date` says when a visitor may *enter*; later steps may follow
//! after the range, up to the window. Under the GitLab rules it says which *events* are seen, as GitLab's SQL did.
//!
//! **Without `step`** the count is of the visitors who reached any of the steps that the conditions leave, so that no
//! visitor counts twice.

mod condition;

use super::plan::{bucket, named};
use super::resolve::Resolved;
use super::tables;
use crate::clock::SECOND_MICROS;
use crate::error::{Error, Result};
use crate::event::Column as EventColumn;
use crate::model::{CubeSource, Funnel, FunnelRule, FunnelStep};
use condition::Conditions;
use datafusion::common::ScalarValue;
use datafusion::execution::FunctionRegistry;
use datafusion::functions::core::expr_fn::{coalesce, get_field};
use datafusion::functions_aggregate::expr_fn::{count, max, sum};
use datafusion::logical_expr::{Case, Expr, LogicalPlanBuilder, cast, lit, when};

/// Name of the funnel aggregate; `exec` registers it.
pub const FUNCTION: &str = "funnel";
/// Field of the funnel aggregate's result: the furthest step reached, 0 for none.
pub const LEVEL: &str = "level";
/// Field of the funnel aggregate's result: the instant of step 1 of the chain that counts.
pub const ENTRY: &str = "entry";

/// Bit of a step mask: the event matches step 1, but the query's dates do not let it begin a chain.
pub const NO_ENTRY: u32 = 1 << 31;

/// The event type that a step's `pageview` means.
const PAGE_VIEW: &str = "page";

const STEPS: &str = "steps";
const REACH: &str = "reach";
const VISITORS: &str = "visitors";
const STEP: &str = "step";
const STEP_NAME: &str = "step_name";
const DATE: &str = "date";
const COUNT: &str = "count";

/// The grouped rows of a query over `funnel`, with the columns of [`Resolved::columns`], before order and limit.
///
/// # Errors
/// `Invalid` for conditions that a funnel cannot answer, `Model` for a funnel with too many steps.
pub fn plan(resolved: &Resolved<'_>, functions: &dyn FunctionRegistry) -> Result<LogicalPlanBuilder> {
    let CubeSource::Funnel(funnel) = &resolved.cube.source else {
        return Err(Error::internal(format!("cube `{}` is no funnel", resolved.cube.name)));
    };
    let conditions = Conditions::of(resolved)?;
    let dates = dates(resolved, functions)?;
    let visitors = visitors(funnel, &conditions, functions)?;
    let levels = per_level(visitors, funnel.rule, &dates)?;
    let steps = per_step(levels, funnel, &dates)?;
    answer(steps, resolved, funnel, &conditions, &dates)
}

/// A column that dates the entry.
struct DateColumn {
    /// The column's key in the answer.
    key: String,
    /// Its name inside the plan.
    name: String,
    /// Its value, from [`ENTRY`].
    expr: Expr,
}

fn dates(resolved: &Resolved<'_>, functions: &dyn FunctionRegistry) -> Result<Vec<DateColumn>> {
    let raw = resolved
        .dimensions
        .iter()
        .filter(|selected| selected.dimension.name == DATE);
    let mut found: Vec<(String, Expr)> = raw.map(|selected| (selected.path.to_owned(), named(ENTRY))).collect();
    for time in &resolved.times {
        if let Some(granularity) = &time.granularity {
            found.push((
                time.key.clone(),
                bucket(named(ENTRY), granularity, resolved.query.timezone, functions)?,
            ));
        }
    }
    let numbered = found.into_iter().enumerate();
    let column = |(i, (key, expr))| DateColumn {
        key,
        name: format!("date {i}"),
        expr,
    };
    Ok(numbered.map(column).collect())
}

/// One row per visitor with [`LEVEL`] and [`ENTRY`].
fn visitors(funnel: &Funnel, conditions: &Conditions, functions: &dyn FunctionRegistry) -> Result<LogicalPlanBuilder> {
    let (events, mask) = match funnel.rule {
        FunnelRule::Ordered | FunnelRule::Strict => entered(funnel, conditions)?,
        FunnelRule::Gitlab | FunnelRule::GitlabG2 => {
            let events = tables::scan(tables::EVENTS)?;
            let events = match &conditions.date {
                Some(date) => events.filter(date.clone())?,
                None => events,
            };
            (events, mask(funnel, None)?)
        }
    };
    let (visitor, ts) = (EventColumn::VisitorId.name(), EventColumn::Ts.name());
    let steps = i64::try_from(funnel.steps.len()).unwrap_or(i64::MAX);
    let constants = [
        lit(rule_name(funnel.rule)),
        lit(i64::from(funnel.seconds_to_convert)),
        lit(steps),
    ];
    let arguments = constants.into_iter().chain([named(ts), named(STEPS)]).collect();
    let reach = functions.udaf(FUNCTION)?.call(arguments).alias(REACH);
    let field = |field: &str| get_field(named(REACH), field).alias(field);
    Ok(events
        .project([named(visitor), named(ts), mask.alias(STEPS)])?
        .aggregate([named(visitor)], [reach])?
        .project([field(LEVEL), field(ENTRY)])?)
}

fn rule_name(rule: FunnelRule) -> &'static str {
    let found = FunnelRule::ALL.iter().find(|(_, one)| *one == rule);
    found.map_or("ordered", |(name, _)| name)
}

/// The page views that matter, and the step mask in which only entries that the conditions allow begin a chain.
fn entered(funnel: &Funnel, conditions: &Conditions) -> Result<(LogicalPlanBuilder, Expr)> {
    let mut wanted = named(EventColumn::EventType.name()).eq(lit(PAGE_VIEW));
    if funnel.rule == FunnelRule::Ordered {
        let targets = targets(funnel).into_iter().map(|(target, _)| lit(target)).collect();
        wanted = wanted.and(named(EventColumn::PagePath.name()).in_list(targets, false));
    }
    let window = i64::from(funnel.seconds_to_convert).saturating_mul(SECOND_MICROS);
    if let Some(bound) = conditions.bound(window) {
        wanted = wanted.and(bound);
    }
    let events = tables::scan(tables::EVENTS)?.filter(wanted)?;
    Ok((events, mask(funnel, conditions.date.as_ref())?))
}

/// Every target once, with the bits of the steps it serves.
fn targets(funnel: &Funnel) -> Vec<(&str, u32)> {
    let mut targets: Vec<(&str, u32)> = Vec::new();
    for (step, FunnelStep { target, .. }) in funnel.steps.iter().enumerate() {
        let bit = u32::try_from(step)
            .ok()
            .and_then(|step| 1_u32.checked_shl(step))
            .unwrap_or(0);
        match targets.iter_mut().find(|(known, _)| known == target) {
            Some((_, mask)) => *mask |= bit,
            None => targets.push((target, bit)),
        }
    }
    targets
}

/// The steps that an event matches, as bits. Where `entry` does not hold, step 1 is marked [`NO_ENTRY`].
fn mask(funnel: &Funnel, entry: Option<&Expr>) -> Result<Expr> {
    let targets = targets(funnel);
    let masks = |change: fn(u32) -> u32| {
        let path = Box::new(named(EventColumn::PagePath.name()));
        let arm = |(target, mask): &(&str, u32)| {
            let mask = lit(change(*mask).cast_signed());
            (Box::new(lit(*target)), Box::new(mask))
        };
        Expr::Case(Case::new(
            Some(path),
            targets.iter().map(arm).collect(),
            Some(Box::new(lit(0_i32))),
        ))
    };
    let barred = |mask: u32| if mask & 1 == 0 { mask } else { (mask & !1) | NO_ENTRY };
    Ok(match entry {
        Some(entry) => when(entry.clone(), masks(|mask| mask)).otherwise(masks(barred))?,
        None => masks(|mask| mask),
    })
}

/// Visitors of each level and date: [`LEVEL`], the dates, [`VISITORS`].
fn per_level(visitors: LogicalPlanBuilder, rule: FunnelRule, dates: &[DateColumn]) -> Result<LogicalPlanBuilder> {
    let visitors = match rule {
        FunnelRule::GitlabG2 => visitors,
        _ => visitors.filter(named(LEVEL).gt_eq(lit(1_u8)))?,
    };
    let mut groups = vec![named(LEVEL)];
    groups.extend(dates.iter().map(|date| date.expr.clone().alias(&date.name)));
    Ok(visitors.aggregate(groups, [count(lit(1_i64)).alias(VISITORS)])?)
}

/// The number and name of every row of the answer. GitLab's first rule has a row for those who reached no step.
fn steps(funnel: &Funnel) -> Vec<(u8, Option<&str>)> {
    let none = (funnel.rule == FunnelRule::GitlabG2).then_some((0, None));
    let named = (1_u8..)
        .zip(&funnel.steps)
        .map(|(number, step)| (number, Some(step.name.as_str())));
    none.into_iter().chain(named).collect()
}

/// [`STEP`], [`STEP_NAME`], the dates, [`COUNT`]: every step for every date, and once when there are no dates.
fn per_step(levels: LogicalPlanBuilder, funnel: &Funnel, dates: &[DateColumn]) -> Result<LogicalPlanBuilder> {
    let steps = steps(funnel);
    let column = |step: u8| format!("step {step}");
    let counted = |step: u8| {
        let reached = match funnel.rule {
            FunnelRule::GitlabG2 => named(LEVEL).eq(lit(step)),
            _ => named(LEVEL).gt_eq(lit(step)),
        };
        Ok(sum(when(reached, named(VISITORS)).otherwise(lit(0_i64))?).alias(column(step)))
    };
    let counted: Result<Vec<Expr>> = steps.iter().map(|(step, _)| counted(*step)).collect();
    let groups: Vec<Expr> = dates.iter().map(|date| named(&date.name)).collect();
    let per_date = levels.aggregate(groups.clone(), counted?)?;

    let rows = steps
        .iter()
        .map(|(step, title)| vec![lit(i64::from(*step)), lit(ScalarValue::Utf8(title.map(str::to_owned)))]);
    let all_steps = LogicalPlanBuilder::values(rows.collect())?
        .project([named("column1").alias(STEP), named("column2").alias(STEP_NAME)])?;

    let arm = |step: u8| (Box::new(lit(i64::from(step))), Box::new(named(column(step))));
    let arms = steps.iter().map(|(step, _)| arm(*step)).collect();
    let own = Expr::Case(Case::new(Some(Box::new(named(STEP))), arms, None));
    let mut columns = vec![named(STEP), named(STEP_NAME)];
    columns.extend(groups);
    columns.push(coalesce(vec![own, lit(0_i64)]).alias(COUNT));
    Ok(per_date.cross_join(all_steps.build()?)?.project(columns)?)
}

/// The query's conditions and columns over the rows of [`per_step`].
fn answer(
    steps: LogicalPlanBuilder,
    resolved: &Resolved<'_>,
    funnel: &Funnel,
    conditions: &Conditions,
    dates: &[DateColumn],
) -> Result<LogicalPlanBuilder> {
    let mut rows = match &conditions.step {
        Some(condition) => steps.filter(condition.clone())?,
        None => steps,
    };
    let selected = |own: &str| {
        resolved
            .dimensions
            .iter()
            .any(|selected| selected.dimension.name == own)
    };
    let own = [STEP, STEP_NAME].into_iter().filter(|own| selected(own));
    let groups: Vec<Expr> = own
        .map(named)
        .chain(dates.iter().map(|date| named(&date.name)))
        .collect();
    if !selected(STEP) {
        let visitors = match funnel.rule {
            FunnelRule::GitlabG2 => cast(sum(named(COUNT)), arrow::datatypes::DataType::Int64),
            _ => max(named(COUNT)),
        };
        let counted = "counted";
        rows = rows.aggregate(groups.clone(), [visitors.alias(counted)])?;
        let mut columns = groups;
        columns.push(coalesce(vec![named(counted), lit(0_i64)]).alias(COUNT));
        rows = rows.project(columns)?;
    }
    if let Some(condition) = &conditions.count {
        rows = rows.filter(condition.clone())?;
    }
    let mut columns = Vec::new();
    for selected in &resolved.dimensions {
        let column = match selected.dimension.name.as_str() {
            own @ (STEP | STEP_NAME) => named(own),
            _ => date_column(dates, selected.path)?,
        };
        columns.push(column.alias(selected.path));
    }
    for time in resolved.buckets() {
        columns.push(date_column(dates, &time.key)?.alias(&time.key));
    }
    columns.extend(resolved.measures.iter().map(|measure| named(COUNT).alias(measure.path)));
    Ok(rows.project(columns)?)
}

fn date_column(dates: &[DateColumn], key: &str) -> Result<Expr> {
    let found = dates.iter().find(|date| date.key == key);
    let found = found.ok_or_else(|| Error::internal(format!("a funnel has no column `{key}`")))?;
    Ok(named(&found.name))
}

#[cfg(test)]
mod tests;
