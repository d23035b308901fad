//! The functions that a client's SQL may call: one list for each kind. What is not listed does not exist for clients,
//! because it reads the machine, never ends, or makes texts of any length.

use crate::query::sql;
use arrow::datatypes::DataType;
use datafusion::common::{Result as PlanResult, ScalarValue, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, WindowUDF,
};
use std::sync::{Arc, LazyLock};

/// Name of the aggregate that stands for any measure.
pub const MEASURE: &str = "measure";

/// Functions of one row. All are pure, and their results are not longer than [`super::growth`] reckons.
#[rustfmt::skip]
const SCALARS: &[&str] = &[
    "abs", "acos", "acosh", "ascii", "asin", "asinh", "atan", "atan2", "atanh", "bit_length", "btrim", "cbrt", "ceil",
    "char_length", "character_length", "chr", "coalesce", "concat", "concat_ws", "contains", "cos", "cosh", "cot",
    "date_bin", "date_part", "date_trunc", "datepart", "datetrunc", "degrees", "ends_with", "exp", "factorial",
    "find_in_set", "floor", "from_unixtime", "gcd", "greatest", "ifnull", "initcap", "instr", "isnan", "iszero", "lcm",
    "least", "left", "length", "levenshtein", "ln", "log", "log10", "log2", "lower", "lpad", "ltrim", "make_date",
    "nanvl", "nullif", "nvl", "nvl2", "octet_length", "overlay", "pi", "position", "pow", "power", "radians",
    "regexp_count", "regexp_instr", "regexp_like", "regexp_replace", "replace", "reverse", "right", "round", "rpad",
    "rtrim", "signum", "sin", "sinh", "split_part", "sqrt", "starts_with", "strpos", "substr", "substring", "tan",
    "tanh", "to_date", "to_hex", "to_timestamp", "to_timestamp_micros", "to_timestamp_millis", "to_timestamp_seconds",
    "to_unixtime", "translate", "trim", "trunc", "upper",
];

/// Aggregates besides [`MEASURE`].
#[rustfmt::skip]
const AGGREGATES: &[&str] = &[
    "approx_distinct", "approx_median", "approx_percentile_cont", "avg", "bool_and", "bool_or", "corr", "count", "covar",
    "covar_pop", "covar_samp", "first_value", "grouping", "last_value", "max", "mean", "median", "min", "nth_value",
    "percentile_cont", "stddev", "stddev_pop", "stddev_samp", "string_agg", "sum", "var", "var_pop",
    "var_population", "var_samp", "var_sample",
];

/// Window functions besides aggregates.
#[rustfmt::skip]
const WINDOWS: &[&str] = &[
    "cume_dist", "dense_rank", "first_value", "lag", "last_value", "lead", "nth_value", "ntile", "percent_rank", "rank",
    "row_number",
];

/// The function of one row of this name.
pub fn scalar(name: &str) -> Option<Arc<ScalarUDF>> {
    let name = if name == "ceiling" { "ceil" } else { name };
    let allowed = SCALARS.contains(&name);
    allowed.then(|| sql::functions().scalar_functions().get(name).cloned())?
}

/// The aggregate of this name.
pub fn aggregate(name: &str) -> Option<Arc<AggregateUDF>> {
    if name == MEASURE {
        return Some(Arc::clone(&MEASURE_FUNCTION));
    }
    let allowed = AGGREGATES.contains(&name);
    allowed.then(|| sql::functions().aggregate_functions().get(name).cloned())?
}

/// The window function of this name.
pub fn window(name: &str) -> Option<Arc<WindowUDF>> {
    let allowed = WINDOWS.contains(&name);
    allowed.then(|| sql::functions().window_functions().get(name).cloned())?
}

/// Names of all scalar functions, for suggestions in errors.
pub fn scalar_names() -> Vec<String> {
    SCALARS.iter().map(|name| (*name).to_owned()).collect()
}

/// Names of all aggregates, for suggestions in errors.
pub fn aggregate_names() -> Vec<String> {
    let names = std::iter::once(&MEASURE).chain(AGGREGATES);
    names.map(|name| (*name).to_owned()).collect()
}

/// Names of all window functions, for suggestions in errors.
pub fn window_names() -> Vec<String> {
    WINDOWS.iter().map(|name| (*name).to_owned()).collect()
}

static MEASURE_FUNCTION: LazyLock<Arc<AggregateUDF>> = LazyLock::new(|| {
    Arc::new(AggregateUDF::new_from_impl(MeasureOf {
        signature: Signature::any(1, Volatility::Immutable),
    }))
});

/// `MEASURE(m)`: replaced by the measure before anything runs.
#[derive(Debug, PartialEq, Eq, Hash)]
struct MeasureOf {
    signature: Signature,
}

impl AggregateUDFImpl for MeasureOf {
    fn name(&self) -> &str {
        MEASURE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> PlanResult<DataType> {
        Ok(args.first().cloned().unwrap_or(DataType::Null))
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> PlanResult<Box<dyn Accumulator>> {
        plan_err!("MEASURE() needs a measure of a cube or view")
    }

    fn state_fields(&self, _: StateFieldsArgs<'_>) -> PlanResult<Vec<arrow::datatypes::FieldRef>> {
        plan_err!("MEASURE() needs a measure of a cube or view")
    }
}

/// A function without arguments whose value is fixed for one query, such as `now()`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Constant {
    name: &'static str,
    value: ScalarValue,
    signature: Signature,
}

/// A function without arguments that gives `value`.
pub fn constant(name: &'static str, value: ScalarValue) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Constant {
        name,
        value,
        signature: Signature::nullary(Volatility::Immutable),
    }))
}

impl ScalarUDFImpl for Constant {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> PlanResult<DataType> {
        Ok(self.value.data_type())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value.clone()))
    }
}
