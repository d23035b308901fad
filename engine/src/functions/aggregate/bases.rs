//! The aggregates without combinators.

use super::{Aggregation, Empty};
use crate::error::{Error, Result};
use crate::functions::build;
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, NullTreatment, OrderByExpr, OrderByOptions};

/// The aggregate that gathers values, and gives an empty list of none.
const LIST: &str = "ch_array_agg_or_default";

/// `count()`, `count(x)`, `count(DISTINCT x, …)`.
pub fn count(mut aggregation: Aggregation) -> Result<Expr> {
    if aggregation.distinct {
        return distinct(aggregation);
    }
    aggregation.count(0, 1)?;
    let args = match aggregation.args.pop() {
        Some(arg) => vec![arg],
        None => vec![build::number(1)],
    };
    let count = aggregation.call("count", args).build();
    Ok(match aggregation.empty {
        Empty::Null => build::function("nullif", vec![count, build::number(0)]),
        Empty::Typed => count,
    })
}

/// `uniq`, `uniqExact` and their like: all of them exact here.
pub fn uniq(aggregation: Aggregation) -> Result<Expr> {
    distinct(aggregation)
}

fn distinct(mut aggregation: Aggregation) -> Result<Expr> {
    aggregation.count(1, usize::MAX)?;
    aggregation.distinct = true;
    let args = match aggregation.args.as_slice() {
        [Expr::Tuple(parts)] => parts.clone(),
        [_] => return Ok(aggregation.call("count", aggregation.args.clone()).build()),
        args => {
            // Of several arguments, but not of a tuple, none may be NULL.
            let known = args.iter().cloned().map(build::is_not_null).reduce(build::and);
            let args = args.to_vec();
            known.into_iter().for_each(|known| aggregation.restrict(known));
            args
        }
    };
    let tuple = build::function("struct", args);
    Ok(aggregation.call("count", vec![tuple]).build())
}

/// An aggregate of the engine of one argument, under the engine's name.
fn plain(aggregation: Aggregation, name: &str) -> Result<Expr> {
    aggregation.count(1, 1)?;
    let args = aggregation.args.clone();
    Ok(aggregation.call(&aggregation.filled(name), args).build())
}

macro_rules! plain {
    ($($(#[$doc:meta])* $function:ident $name:literal;)*) => {$(
        $(#[$doc])*
        pub fn $function(aggregation: Aggregation) -> Result<Expr> {
            plain(aggregation, $name)
        }
    )*};
}

plain! {
    /// `sum`.
    sum "sum";
    /// `avg`.
    avg "avg";
    /// `min`.
    min "min";
    /// `max`.
    max "max";
    /// `stddevPop`.
    stddev_pop "stddev_pop";
    /// `stddevSamp`.
    stddev_samp "stddev";
    /// `varPop`.
    var_pop "var_pop";
    /// `varSamp`.
    var_samp "var";
    /// `groupBitAnd`.
    bit_and "bit_and";
    /// `groupBitOr`.
    bit_or "bit_or";
    /// `groupBitXor`.
    bit_xor "bit_xor";
}

fn of_pairs(aggregation: Aggregation, name: &str) -> Result<Expr> {
    aggregation.count(2, 2)?;
    let args = aggregation.args.clone();
    Ok(aggregation.call(&aggregation.filled(name), args).build())
}

/// `corr`.
pub fn corr(aggregation: Aggregation) -> Result<Expr> {
    of_pairs(aggregation, "corr")
}

/// `covarPop`.
pub fn covar_pop(aggregation: Aggregation) -> Result<Expr> {
    of_pairs(aggregation, "covar_pop")
}

/// `covarSamp`.
pub fn covar_samp(aggregation: Aggregation) -> Result<Expr> {
    of_pairs(aggregation, "covar_samp")
}

/// `avgWeighted(x, weight)`.
pub fn avg_weighted(aggregation: Aggregation) -> Result<Expr> {
    aggregation.count(2, 2)?;
    let (value, weight) = (aggregation.args[0].clone(), aggregation.args[1].clone());
    let mut known = aggregation.clone();
    known.restrict(build::and(
        build::is_not_null(value.clone()),
        build::is_not_null(weight.clone()),
    ));
    let product = build::binary(value, BinaryOperator::Multiply, weight.clone());
    let (all, weights) = (
        known.call("sum", vec![product]).build(),
        known.call("sum", vec![weight]).build(),
    );
    Ok(build::nested(build::binary(all, BinaryOperator::Divide, weights)))
}

/// `any(x)`: the first that is not NULL.
pub fn any(aggregation: Aggregation) -> Result<Expr> {
    one(aggregation, "first_value")
}

/// `anyLast(x)`.
pub fn any_last(aggregation: Aggregation) -> Result<Expr> {
    one(aggregation, "last_value")
}

fn one(mut aggregation: Aggregation, name: &str) -> Result<Expr> {
    aggregation.count(1, 1)?;
    let arg = aggregation.args.remove(0);
    let mut call = aggregation.call(&aggregation.filled(name), vec![arg]);
    call.null_treatment = Some(NullTreatment::IgnoreNulls);
    Ok(call.build())
}

/// `argMin(x, by)`.
pub fn arg_min(aggregation: Aggregation) -> Result<Expr> {
    extreme(aggregation, true)
}

/// `argMax(x, by)`.
pub fn arg_max(aggregation: Aggregation) -> Result<Expr> {
    extreme(aggregation, false)
}

/// The first by an order; rows where either is NULL do not count.
fn extreme(mut aggregation: Aggregation, ascending: bool) -> Result<Expr> {
    aggregation.count(2, 2)?;
    let (value, by) = (aggregation.args[0].clone(), aggregation.args[1].clone());
    aggregation.restrict(build::and(
        build::is_not_null(value.clone()),
        build::is_not_null(by.clone()),
    ));
    let mut call = aggregation.call(&aggregation.filled("first_value"), vec![value]);
    call.order_by = vec![OrderByExpr {
        expr: by,
        options: OrderByOptions {
            asc: Some(ascending),
            nulls_first: Some(false),
        },
        with_fill: None,
    }];
    Ok(call.build())
}

/// The level of a quantile: its parameter, or a half.
fn levels(aggregation: &Aggregation) -> Result<Vec<Expr>> {
    let levels = match aggregation.params.as_slice() {
        [] => vec![Expr::Value(
            datafusion::sql::sqlparser::ast::Value::Number("0.5".to_owned(), false).into(),
        )],
        given => given.to_vec(),
    };
    for level in &levels {
        let number = level.to_string().parse::<f64>();
        if !number.is_ok_and(|number| (0.0..=1.0).contains(&number)) {
            return Err(Error::model(format!(
                "`{}`: `{level}` is no level between 0 and 1",
                aggregation.name
            )));
        }
    }
    Ok(levels)
}

fn quantile_at(aggregation: &Aggregation, level: Expr, list: &str) -> Expr {
    let mut floats = aggregation.clone();
    floats.args = vec![build::function("ch_toFloat64", vec![aggregation.args[0].clone()])];
    let all = gathered(&floats, list);
    build::function("ch_listElement", vec![all, level, build::text("quantile")])
}

/// `quantile(level)(x)` and `median(x)`: by interpolation, over all values.
pub fn quantile(aggregation: Aggregation) -> Result<Expr> {
    // The determinator of `quantileDeterministic` chooses a sample, and there is none.
    aggregation.count(
        1,
        if aggregation.base == "quantileDeterministic" {
            2
        } else {
            1
        },
    )?;
    let mut levels = levels(&aggregation)?;
    let level = levels.swap_remove(0);
    Ok(quantile_at(&aggregation, level, &aggregation.filled("array_agg")))
}

/// `quantiles(level, …)(x)`: a list.
pub fn quantiles(aggregation: Aggregation) -> Result<Expr> {
    aggregation.count(1, 1)?;
    let all = levels(&aggregation)?
        .into_iter()
        .map(|level| quantile_at(&aggregation, level, LIST));
    Ok(build::function("make_array", all.collect()))
}

/// `quantileExact(level)(x)`: one of the values.
pub fn quantile_exact(aggregation: Aggregation) -> Result<Expr> {
    aggregation.count(1, 1)?;
    let level = levels(&aggregation)?.swap_remove(0);
    let all = gathered(&aggregation, &aggregation.filled("array_agg"));
    let how = build::text(aggregation.base);
    Ok(build::function("ch_listElement", vec![all, level, how]))
}

/// `quantilesExact(level, …)(x)`.
pub fn quantiles_exact(aggregation: Aggregation) -> Result<Expr> {
    aggregation.count(1, 1)?;
    let all = gathered(&aggregation, LIST);
    let how = build::text("quantileExact");
    let each = levels(&aggregation)?.into_iter();
    let each = each.map(|level| build::function("ch_listElement", vec![all.clone(), level, how.clone()]));
    Ok(build::function("make_array", each.collect()))
}

/// The values that are not NULL, as a list.
fn gathered(aggregation: &Aggregation, name: &str) -> Expr {
    let mut known = aggregation.clone();
    let value = known.args[0].clone();
    known.restrict(build::is_not_null(value.clone()));
    known.call(name, vec![value]).build()
}

/// `groupArray(x)` and `groupArray(n)(x)`.
pub fn group_array(aggregation: Aggregation) -> Result<Expr> {
    aggregation.count(1, 1)?;
    let all = gathered(&aggregation, LIST);
    Ok(match aggregation.params.first() {
        Some(limit) => build::function("ch_listLimit", vec![all, limit.clone()]),
        None => all,
    })
}

/// `groupUniqArray(x)` and `groupUniqArray(n)(x)`.
pub fn group_uniq_array(mut aggregation: Aggregation) -> Result<Expr> {
    aggregation.distinct = true;
    group_array(aggregation)
}

/// `groupConcat(separator)(x)`.
pub fn group_concat(aggregation: Aggregation) -> Result<Expr> {
    aggregation.count(1, 2)?;
    let separator = aggregation.params.first().or(aggregation.args.get(1)).cloned();
    let value = build::function("ch_toString", vec![aggregation.args[0].clone()]);
    let separator = separator.unwrap_or_else(|| build::text(""));
    let name = if aggregation.empty == Empty::Null {
        "string_agg"
    } else {
        "ch_string_agg"
    };
    Ok(aggregation.call(name, vec![value, separator]).build())
}

/// `topK(n)(x)`: the most frequent values, exactly.
pub fn top_k(aggregation: Aggregation) -> Result<Expr> {
    aggregation.count(1, 1)?;
    let limit = aggregation.params.first().cloned().unwrap_or_else(|| build::number(10));
    let all = gathered(&aggregation, LIST);
    Ok(build::function("ch_listTop", vec![all, limit]))
}

/// `retention(c1, c2, …)`: whether the first condition was met, and with it each other one.
pub fn retention(aggregation: Aggregation) -> Result<Expr> {
    aggregation.count(1, 32)?;
    let met = |condition: &Expr| {
        let met = aggregation
            .call("bool_or", vec![build::truth(condition.clone())])
            .build();
        build::function("coalesce", vec![met, build::boolean(false)])
    };
    let first = met(&aggregation.args[0]);
    let mut all = vec![build::function("ch_toUInt8", vec![first.clone()])];
    for condition in &aggregation.args[1..] {
        all.push(build::function(
            "ch_toUInt8",
            vec![build::and(first.clone(), met(condition))],
        ));
    }
    Ok(build::function("make_array", all))
}

/// `windowFunnel(window[, 'mode', …])(t, c1, …)`.
pub fn window_funnel(aggregation: Aggregation) -> Result<Expr> {
    aggregation.count(2, 33)?;
    let mut params = aggregation.params.iter().cloned();
    let window = params
        .next()
        .ok_or_else(|| Error::model("`windowFunnel` takes its window first: windowFunnel(3600)(ts, first, second)"))?;
    let mut modes = Vec::new();
    for mode in params {
        let mode = mode.to_string();
        modes.push(mode.trim_matches('\'').to_owned());
    }
    let mut args = vec![window, build::text(&modes.join(","))];
    let mut own = aggregation.args.clone().into_iter();
    args.extend(own.next());
    args.extend(own.map(build::truth));
    Ok(aggregation.call("ch_windowFunnel", args).build())
}
