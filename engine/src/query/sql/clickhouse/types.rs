//! ClickHouse's types in casts: `CAST(x AS Nullable(Float64))` and `x::UInt32` are its conversions `toFloat64`, `toUInt32`.

use crate::error::{Error, Result};
use crate::functions::{self, Call, build};
use datafusion::sql::sqlparser::ast::{ArrayElemTypeDef, DataType, ExactNumberInfo, Expr, ObjectName, TimezoneInfo};

/// `expr` as `data_type`; `or_null` for `TRY_CAST`.
///
/// # Errors
/// `Model` when the type is not known.
pub(super) fn cast(expr: Expr, data_type: &DataType, or_null: bool) -> Result<Expr> {
    let suffix = if or_null { "OrNull" } else { "" };
    let plain = |name: &str| Ok((name.to_owned(), Vec::new()));
    let (name, more) = match data_type {
        DataType::Nullable(inner) | DataType::LowCardinality(inner) => return cast(expr, inner, or_null),
        DataType::TinyInt(_) | DataType::Int8(_) => plain("toInt8"),
        DataType::SmallInt(_) | DataType::Int16 => plain("toInt16"),
        DataType::Int(_) | DataType::Integer(_) | DataType::Int32 => plain("toInt32"),
        DataType::BigInt(_) | DataType::Int64 => plain("toInt64"),
        DataType::UInt8 => plain("toUInt8"),
        DataType::UInt16 => plain("toUInt16"),
        DataType::UInt32 => plain("toUInt32"),
        DataType::UInt64 => plain("toUInt64"),
        DataType::Float32 | DataType::Real => plain("toFloat32"),
        DataType::Float64 | DataType::Float(_) | DataType::Double(_) | DataType::DoublePrecision => plain("toFloat64"),
        DataType::Decimal(size) | DataType::Numeric(size) | DataType::Dec(size) => {
            let scale = match size {
                ExactNumberInfo::PrecisionAndScale(_, scale) => *scale,
                _ => 0,
            };
            Ok(("toDecimal128".to_owned(), vec![build::number(scale)]))
        }
        DataType::String(_) | DataType::Text | DataType::Varchar(_) | DataType::Char(_) | DataType::FixedString(_) => {
            return functions::rewrite(Call::plain("toString", vec![expr]));
        }
        DataType::Uuid => return functions::rewrite(Call::plain("toString", vec![expr])),
        DataType::Bool | DataType::Boolean => return functions::rewrite(Call::plain("toBool", vec![expr])),
        DataType::Date | DataType::Date32 => plain("toDate"),
        DataType::Datetime(None) => plain("toDateTime"),
        DataType::Timestamp(_, TimezoneInfo::None) => plain("toDateTime"),
        DataType::Datetime64(scale, zone) => {
            let scale = build::number(i64::try_from(*scale).unwrap_or(i64::MAX));
            let zone = zone.iter().map(|zone| build::text(zone.trim_matches('\'')));
            Ok(("toDateTime64".to_owned(), std::iter::once(scale).chain(zone).collect()))
        }
        DataType::Custom(name, arguments) => custom(name, arguments),
        DataType::Array(ArrayElemTypeDef::Parenthesis(inner) | ArrayElemTypeDef::AngleBracket(inner)) => {
            return Ok(build::function(
                "ch_arrayCast",
                vec![expr, build::text(&element(inner)?)],
            ));
        }
        other => Err(unknown(&other.to_string())),
    }?;
    let args = std::iter::once(expr).chain(more).collect();
    functions::rewrite(Call::plain(&format!("{name}{suffix}"), args))
}

/// Types that the grammar has no name for.
fn custom(name: &ObjectName, arguments: &[String]) -> Result<(String, Vec<Expr>)> {
    let text = name.to_string();
    let texts = || {
        arguments
            .iter()
            .map(|argument| build::text(argument.trim_matches('\'')))
            .collect()
    };
    match text.to_ascii_lowercase().as_str() {
        "datetime" | "datetime32" => Ok(("toDateTime".to_owned(), texts())),
        "decimal32" | "decimal64" | "decimal128" => {
            let scale = arguments.first().and_then(|scale| scale.parse().ok()).unwrap_or(0);
            Ok(("toDecimal128".to_owned(), vec![build::number(scale)]))
        }
        "uuid" | "ipv4" | "ipv6" => Ok(("toString".to_owned(), Vec::new())),
        _ => Err(unknown(&text)),
    }
}

/// The name of an array's element type, as `ch_arrayCast` takes it.
fn element(data_type: &DataType) -> Result<String> {
    match data_type {
        DataType::Nullable(inner) | DataType::LowCardinality(inner) => element(inner),
        other => Ok(other.to_string()),
    }
}

fn unknown(name: &str) -> Error {
    Error::model(format!(
        "type `{name}` is not known: casts go to Int8…Int64, UInt8…UInt64, Float32, Float64, Decimal(p, s), String, Bool, \
         Date, DateTime, DateTime64, and Array or Nullable of them"
    ))
}
