//! Every function of ClickHouse that models may use: its name, other names, family, and what answers it.

use super::scalar::Nulls::{Maybe, Never, Own, Spread};
use super::scalar::{
    Args, Given, Nulls, Row, boolean, float64, int64, same, text, texts, uint8, uint16, uint32, uint64,
};
use super::{Call, aggregate, arithmetic, arrays, conditional, convert, dates, hashes, json, strings, url};
use crate::error::Result;
use aggregate::Aggregation;
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result as PlanResult;
use datafusion::sql::sqlparser::ast::Expr;

/// A function.
#[derive(Debug)]
pub struct Function {
    /// The name as ClickHouse's documentation writes it; any case is taken.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// The heading that documentation lists it under.
    pub family: &'static str,
    /// What answers it.
    pub kind: Kind,
}

/// What answers a function.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// The query engine's function of this name, which means the same, on at least and at most so many arguments.
    Engine(&'static str, usize, usize),
    /// A form of SQL that is put in the call's place.
    Rewrite(fn(Call) -> Result<Expr>),
    /// A function of ours.
    Scalar(Row),
    /// An aggregate, which takes combinators.
    Aggregate(fn(Aggregation) -> Result<Expr>),
    /// The query engine's window function of this name.
    Window(&'static str),
}

/// Any number of arguments.
const ANY: usize = usize::MAX;

const fn scalar(
    least: usize,
    most: usize,
    nulls: Nulls,
    returns: fn(&Given<'_>) -> PlanResult<DataType>,
    run: fn(&Args<'_>) -> PlanResult<ArrayRef>,
) -> Kind {
    Kind::Scalar(row(least, most, nulls, returns, run))
}

const fn row(
    least: usize,
    most: usize,
    nulls: Nulls,
    returns: fn(&Given<'_>) -> PlanResult<DataType>,
    run: fn(&Args<'_>) -> PlanResult<ArrayRef>,
) -> Row {
    Row {
        least,
        most,
        nulls,
        returns,
        run,
    }
}

use Kind::{Aggregate, Engine, Rewrite, Window};

/// Functions that only our own rewriting calls.
pub(super) const INTERNAL: &[(&str, Row)] = &[
    ("truth", row(1, 1, Spread, boolean, super::scalar::truth)),
    ("interval", row(2, 2, Spread, dates::interval_type, dates::interval)),
    ("diffOf", row(3, 4, Spread, int64, dates::date_diff)),
    ("ageOf", row(3, 4, Spread, int64, dates::age)),
    (
        "startOfInterval",
        row(3, 4, Spread, dates::interval_answer, dates::interval_start),
    ),
    ("minus", row(2, 2, Spread, dates::difference_type, dates::difference)),
    ("hexOf", row(1, 1, Spread, text, strings::hex)),
    ("reverseText", row(1, 1, Spread, text, strings::reverse)),
    ("arrayCast", row(2, 2, Spread, arrays::cast_answer, arrays::cast)),
    (
        "listElement",
        row(3, 3, Own, aggregate::element_type, aggregate::list_element),
    ),
    (
        "listLimit",
        row(2, 2, Own, aggregate::list_top_type, aggregate::list_limit),
    ),
    ("listTop", row(2, 2, Own, aggregate::list_top_type, aggregate::list_top)),
];

macro_rules! table {
    ($($family:literal { $($name:literal [$($alias:literal)*] $kind:expr;)* })*) => {
        /// All functions, by family.
        pub const TABLE: &[Function] = &[$($(
            Function { name: $name, aliases: &[$($alias),*], family: $family, kind: $kind },
        )*)*];
    };
}

table! {
"Conditions and NULL" {
    "if" [] Rewrite(conditional::choose);
    "multiIf" ["caseWithoutExpression"] Rewrite(conditional::multi_if);
    "ifNull" ["nvl"] Rewrite(conditional::coalesce);
    "coalesce" [] Rewrite(conditional::coalesce);
    "nullIf" [] Rewrite(conditional::null_if);
    "isNull" [] Rewrite(conditional::is_null);
    "isNotNull" [] Rewrite(conditional::is_not_null);
    "isZeroOrNull" [] Rewrite(conditional::is_zero_or_null);
    "assumeNotNull" [] scalar(1, 1, Never, same, arithmetic::or_empty);
    "toNullable" [] Rewrite(conditional::itself);
    "materialize" [] Rewrite(conditional::itself);
    "identity" [] Rewrite(conditional::itself);
    "toLowCardinality" [] Rewrite(conditional::itself);
    "defaultValueOfArgumentType" [] scalar(1, 1, Never, same, arithmetic::empty_like);
    "greatest" [] Engine("greatest", 1, ANY);
    "least" [] Engine("least", 1, ANY);
    "and" [] Rewrite(conditional::and);
    "or" [] Rewrite(conditional::or);
    "xor" [] Rewrite(conditional::xor);
    "not" [] Rewrite(conditional::not);
    "equals" [] Rewrite(conditional::equals);
    "notEquals" [] Rewrite(conditional::not_equals);
    "less" [] Rewrite(conditional::less);
    "lessOrEquals" [] Rewrite(conditional::less_or_equals);
    "greater" [] Rewrite(conditional::greater);
    "greaterOrEquals" [] Rewrite(conditional::greater_or_equals);
    "in" [] Rewrite(conditional::in_list);
    "notIn" [] Rewrite(conditional::not_in_list);
}
"Dates and times" {
    "toStartOfSecond" [] scalar(1, 2, Spread, dates::same_instant, dates::second_start);
    "toStartOfMinute" [] scalar(1, 2, Spread, dates::instant_answer, dates::minute_start);
    "toStartOfFiveMinutes" ["toStartOfFiveMinute"] scalar(1, 2, Spread, dates::instant_answer, dates::five_minutes_start);
    "toStartOfTenMinutes" [] scalar(1, 2, Spread, dates::instant_answer, dates::ten_minutes_start);
    "toStartOfFifteenMinutes" [] scalar(1, 2, Spread, dates::instant_answer, dates::fifteen_minutes_start);
    "toStartOfHour" [] scalar(1, 2, Spread, dates::instant_answer, dates::hour_start);
    "toStartOfDay" [] scalar(1, 2, Spread, dates::instant_answer, dates::day_start);
    "toStartOfWeek" [] scalar(1, 3, Spread, dates::day_type, dates::week_start_mode);
    "toMonday" [] scalar(1, 2, Spread, dates::day_type, dates::monday);
    "toStartOfMonth" [] scalar(1, 2, Spread, dates::day_type, dates::month_start);
    "toLastDayOfMonth" ["last_day"] scalar(1, 2, Spread, dates::day_type, dates::month_end);
    "toStartOfQuarter" [] scalar(1, 2, Spread, dates::day_type, dates::quarter_start);
    "toStartOfYear" [] scalar(1, 2, Spread, dates::day_type, dates::year_start);
    "toStartOfISOYear" [] scalar(1, 2, Spread, dates::day_type, dates::iso_year_start);
    "toStartOfInterval" ["date_bin" "time_bucket"] Rewrite(dates::start_of_interval);
    "dateTrunc" ["date_trunc"] Rewrite(dates::truncated);
    "timeSlot" [] scalar(1, 2, Spread, dates::instant_answer, dates::time_slot);
    "toYear" ["year"] scalar(1, 2, Spread, uint16, dates::year);
    "toQuarter" ["quarter"] scalar(1, 2, Spread, uint8, dates::quarter);
    "toMonth" ["month"] scalar(1, 2, Spread, uint8, dates::month);
    "toDayOfMonth" ["day" "dayOfMonth"] scalar(1, 2, Spread, uint8, dates::day_of_month);
    "toDayOfWeek" ["dayOfWeek"] scalar(1, 3, Spread, uint8, dates::day_of_week);
    "toDayOfYear" ["dayOfYear"] scalar(1, 2, Spread, uint16, dates::day_of_year);
    "toHour" ["hour"] scalar(1, 2, Spread, uint8, dates::hour);
    "toMinute" ["minute"] scalar(1, 2, Spread, uint8, dates::minute);
    "toSecond" ["second"] scalar(1, 2, Spread, uint8, dates::second);
    "toMillisecond" ["millisecond"] scalar(1, 2, Spread, uint16, dates::millisecond);
    "toISOWeek" [] scalar(1, 2, Spread, uint8, dates::iso_week);
    "toISOYear" [] scalar(1, 2, Spread, uint16, dates::iso_year);
    "toWeek" ["week"] scalar(1, 3, Spread, uint8, dates::week);
    "toYearWeek" ["yearweek"] scalar(1, 3, Spread, uint32, dates::year_and_week);
    "toYYYYMM" [] scalar(1, 2, Spread, uint32, dates::yyyymm);
    "toYYYYMMDD" [] scalar(1, 2, Spread, uint32, dates::yyyymmdd);
    "toYYYYMMDDhhmmss" [] scalar(1, 2, Spread, uint64, dates::yyyymmddhhmmss);
    "toRelativeYearNum" [] scalar(1, 2, Spread, uint16, dates::relative_year);
    "toRelativeMonthNum" [] scalar(1, 2, Spread, uint32, dates::relative_month);
    "toRelativeDayNum" [] scalar(1, 2, Spread, uint32, dates::relative_day);
    "toUnixTimestamp" [] scalar(1, 2, Spread, uint32, dates::unix_seconds);
    "toUnixTimestamp64Second" [] scalar(1, 1, Spread, int64, dates::unix_scaled);
    "toUnixTimestamp64Milli" [] scalar(1, 1, Spread, int64, dates::unix_scaled);
    "toUnixTimestamp64Micro" [] scalar(1, 1, Spread, int64, dates::unix_scaled);
    "toUnixTimestamp64Nano" [] scalar(1, 1, Spread, int64, dates::unix_scaled);
    "fromUnixTimestamp" ["from_unixtime"] Rewrite(dates::from_unix);
    "fromUnixTimestamp64Second" [] scalar(1, 2, Spread, dates::second_type, dates::from_second);
    "fromUnixTimestamp64Milli" [] scalar(1, 2, Spread, dates::milli_type, dates::from_milli);
    "fromUnixTimestamp64Micro" [] scalar(1, 2, Spread, dates::micro_type, dates::from_micro);
    "fromUnixTimestamp64Nano" [] scalar(1, 2, Spread, dates::nano_type, dates::from_nano);
    "dateDiff" ["date_diff" "timestampDiff" "timestamp_diff"] Rewrite(dates::diff);
    "age" [] Rewrite(dates::diff);
    "dateAdd" ["date_add" "timestampAdd" "timestamp_add"] Rewrite(dates::add_by_unit);
    "dateSub" ["date_sub" "timestampSub" "timestamp_sub"] Rewrite(dates::add_by_unit);
    "addYears" [] scalar(2, 2, Spread, dates::days, dates::add);
    "addQuarters" [] scalar(2, 2, Spread, dates::days, dates::add);
    "addMonths" [] scalar(2, 2, Spread, dates::days, dates::add);
    "addWeeks" [] scalar(2, 2, Spread, dates::days, dates::add);
    "addDays" [] scalar(2, 2, Spread, dates::days, dates::add);
    "addHours" [] scalar(2, 2, Spread, dates::seconds, dates::add);
    "addMinutes" [] scalar(2, 2, Spread, dates::seconds, dates::add);
    "addSeconds" [] scalar(2, 2, Spread, dates::seconds, dates::add);
    "addMilliseconds" [] scalar(2, 2, Spread, dates::milliseconds, dates::add);
    "addMicroseconds" [] scalar(2, 2, Spread, dates::microseconds, dates::add);
    "subtractYears" [] scalar(2, 2, Spread, dates::days, dates::add);
    "subtractQuarters" [] scalar(2, 2, Spread, dates::days, dates::add);
    "subtractMonths" [] scalar(2, 2, Spread, dates::days, dates::add);
    "subtractWeeks" [] scalar(2, 2, Spread, dates::days, dates::add);
    "subtractDays" [] scalar(2, 2, Spread, dates::days, dates::add);
    "subtractHours" [] scalar(2, 2, Spread, dates::seconds, dates::add);
    "subtractMinutes" [] scalar(2, 2, Spread, dates::seconds, dates::add);
    "subtractSeconds" [] scalar(2, 2, Spread, dates::seconds, dates::add);
    "subtractMilliseconds" [] scalar(2, 2, Spread, dates::milliseconds, dates::add);
    "subtractMicroseconds" [] scalar(2, 2, Spread, dates::microseconds, dates::add);
    "toIntervalYear" [] Rewrite(dates::to_interval);
    "toIntervalQuarter" [] Rewrite(dates::to_interval);
    "toIntervalMonth" [] Rewrite(dates::to_interval);
    "toIntervalWeek" [] Rewrite(dates::to_interval);
    "toIntervalDay" [] Rewrite(dates::to_interval);
    "toIntervalHour" [] Rewrite(dates::to_interval);
    "toIntervalMinute" [] Rewrite(dates::to_interval);
    "toIntervalSecond" [] Rewrite(dates::to_interval);
    "now" ["current_timestamp" "localtimestamp"] Rewrite(dates::now);
    "now64" [] Rewrite(dates::now);
    "today" ["curdate" "current_date"] Rewrite(dates::today);
    "yesterday" [] Rewrite(dates::today);
    "toTimeZone" [] scalar(2, 2, Spread, dates::in_zone_type, dates::in_zone);
    "timeZoneOffset" [] scalar(1, 1, Spread, dates::offset_type, dates::zone_offset);
    "makeDate" [] scalar(2, 3, Spread, dates::day_type, dates::make_date);
    "formatDateTime" ["date_format"] scalar(1, 3, Spread, text, dates::format_date_time);
    "parseDateTimeBestEffort" ["parseDateTime32BestEffort"] scalar(1, 2, Spread, convert::date_time_type, dates::best_effort);
    "parseDateTimeBestEffortOrNull" ["parseDateTime32BestEffortOrNull"] scalar(1, 2, Maybe, convert::date_time_type, dates::best_effort);
    "parseDateTimeBestEffortOrZero" ["parseDateTime32BestEffortOrZero"] scalar(1, 2, Spread, convert::date_time_type, dates::best_effort);
    "parseDateTime64BestEffort" [] scalar(1, 3, Spread, convert::date_time64_type, dates::best_effort);
    "parseDateTime64BestEffortOrNull" [] scalar(1, 3, Maybe, convert::date_time64_type, dates::best_effort);
    "parseDateTime64BestEffortOrZero" [] scalar(1, 3, Spread, convert::date_time64_type, dates::best_effort);
}
"Conversions" {
    "toInt8" [] scalar(1, 1, Spread, convert::int8_type, convert::int8);
    "toInt8OrNull" [] scalar(1, 1, Maybe, convert::int8_type, convert::int8);
    "toInt8OrZero" [] scalar(1, 1, Spread, convert::int8_type, convert::int8);
    "toInt8OrDefault" [] scalar(1, 2, Spread, convert::int8_type, convert::int8);
    "toInt16" [] scalar(1, 1, Spread, convert::int16_type, convert::int16);
    "toInt16OrNull" [] scalar(1, 1, Maybe, convert::int16_type, convert::int16);
    "toInt16OrZero" [] scalar(1, 1, Spread, convert::int16_type, convert::int16);
    "toInt16OrDefault" [] scalar(1, 2, Spread, convert::int16_type, convert::int16);
    "toInt32" [] scalar(1, 1, Spread, convert::int32_type, convert::int32);
    "toInt32OrNull" [] scalar(1, 1, Maybe, convert::int32_type, convert::int32);
    "toInt32OrZero" [] scalar(1, 1, Spread, convert::int32_type, convert::int32);
    "toInt32OrDefault" [] scalar(1, 2, Spread, convert::int32_type, convert::int32);
    "toInt64" [] scalar(1, 1, Spread, convert::int64_type, convert::int64);
    "toInt64OrNull" [] scalar(1, 1, Maybe, convert::int64_type, convert::int64);
    "toInt64OrZero" [] scalar(1, 1, Spread, convert::int64_type, convert::int64);
    "toInt64OrDefault" [] scalar(1, 2, Spread, convert::int64_type, convert::int64);
    "toUInt8" [] scalar(1, 1, Spread, convert::uint8_type, convert::uint8);
    "toUInt8OrNull" [] scalar(1, 1, Maybe, convert::uint8_type, convert::uint8);
    "toUInt8OrZero" [] scalar(1, 1, Spread, convert::uint8_type, convert::uint8);
    "toUInt8OrDefault" [] scalar(1, 2, Spread, convert::uint8_type, convert::uint8);
    "toUInt16" [] scalar(1, 1, Spread, convert::uint16_type, convert::uint16);
    "toUInt16OrNull" [] scalar(1, 1, Maybe, convert::uint16_type, convert::uint16);
    "toUInt16OrZero" [] scalar(1, 1, Spread, convert::uint16_type, convert::uint16);
    "toUInt16OrDefault" [] scalar(1, 2, Spread, convert::uint16_type, convert::uint16);
    "toUInt32" [] scalar(1, 1, Spread, convert::uint32_type, convert::uint32);
    "toUInt32OrNull" [] scalar(1, 1, Maybe, convert::uint32_type, convert::uint32);
    "toUInt32OrZero" [] scalar(1, 1, Spread, convert::uint32_type, convert::uint32);
    "toUInt32OrDefault" [] scalar(1, 2, Spread, convert::uint32_type, convert::uint32);
    "toUInt64" [] scalar(1, 1, Spread, convert::uint64_type, convert::uint64);
    "toUInt64OrNull" [] scalar(1, 1, Maybe, convert::uint64_type, convert::uint64);
    "toUInt64OrZero" [] scalar(1, 1, Spread, convert::uint64_type, convert::uint64);
    "toUInt64OrDefault" [] scalar(1, 2, Spread, convert::uint64_type, convert::uint64);
    "toFloat32" [] scalar(1, 1, Spread, convert::float32_type, convert::float32);
    "toFloat32OrNull" [] scalar(1, 1, Maybe, convert::float32_type, convert::float32);
    "toFloat32OrZero" [] scalar(1, 1, Spread, convert::float32_type, convert::float32);
    "toFloat32OrDefault" [] scalar(1, 2, Spread, convert::float32_type, convert::float32);
    "toFloat64" [] scalar(1, 1, Spread, float64, convert::float64);
    "toFloat64OrNull" [] scalar(1, 1, Maybe, float64, convert::float64);
    "toFloat64OrZero" [] scalar(1, 1, Spread, float64, convert::float64);
    "toFloat64OrDefault" [] scalar(1, 2, Spread, float64, convert::float64);
    "toDecimal32" [] scalar(2, 2, Spread, convert::decimal_type, convert::decimal);
    "toDecimal32OrNull" [] scalar(2, 2, Maybe, convert::decimal_type, convert::decimal);
    "toDecimal32OrZero" [] scalar(2, 2, Spread, convert::decimal_type, convert::decimal);
    "toDecimal64" [] scalar(2, 2, Spread, convert::decimal_type, convert::decimal);
    "toDecimal64OrNull" [] scalar(2, 2, Maybe, convert::decimal_type, convert::decimal);
    "toDecimal64OrZero" [] scalar(2, 2, Spread, convert::decimal_type, convert::decimal);
    "toDecimal128" [] scalar(2, 2, Spread, convert::decimal_type, convert::decimal);
    "toDecimal128OrNull" [] scalar(2, 2, Maybe, convert::decimal_type, convert::decimal);
    "toDecimal128OrZero" [] scalar(2, 2, Spread, convert::decimal_type, convert::decimal);
    "toBool" [] scalar(1, 1, Spread, boolean, convert::bool_of);
    "toString" ["toFixedString" "toUUID"] scalar(1, 2, Spread, text, convert::string);
    "toDate" ["toDate32" "date"] scalar(1, 2, Spread, dates::day_type, convert::date);
    "toDateOrNull" ["toDate32OrNull"] scalar(1, 1, Maybe, dates::day_type, convert::date);
    "toDateOrZero" ["toDate32OrZero"] scalar(1, 1, Spread, dates::day_type, convert::date);
    "toDateTime" ["toDateTime32"] scalar(1, 2, Spread, convert::date_time_type, convert::date_time);
    "toDateTimeOrNull" [] scalar(1, 2, Maybe, convert::date_time_type, convert::date_time);
    "toDateTimeOrZero" [] scalar(1, 2, Spread, convert::date_time_type, convert::date_time);
    "toDateTime64" [] scalar(1, 3, Spread, convert::date_time64_type, convert::date_time64);
    "toDateTime64OrNull" [] scalar(1, 3, Maybe, convert::date_time64_type, convert::date_time64);
    "toDateTime64OrZero" [] scalar(1, 3, Spread, convert::date_time64_type, convert::date_time64);
}
"Text" {
    "length" ["octet_length" "cardinality"] scalar(1, 1, Spread, uint64, strings::length);
    "lengthUTF8" ["char_length" "character_length"] scalar(1, 1, Spread, uint64, strings::length_utf8);
    "empty" [] scalar(1, 1, Spread, boolean, strings::empty);
    "notEmpty" [] scalar(1, 1, Spread, boolean, strings::not_empty);
    "lower" ["lcase"] scalar(1, 1, Spread, text, strings::lower);
    "upper" ["ucase"] scalar(1, 1, Spread, text, strings::upper);
    "lowerUTF8" [] scalar(1, 1, Spread, text, strings::lower_utf8);
    "upperUTF8" [] scalar(1, 1, Spread, text, strings::upper_utf8);
    "initcap" [] scalar(1, 1, Spread, text, strings::initcap);
    "initcapUTF8" [] scalar(1, 1, Spread, text, strings::initcap_utf8);
    "reverse" [] Rewrite(strings::reversed);
    "reverseUTF8" [] scalar(1, 1, Spread, text, strings::reverse_utf8);
    "substring" ["substr" "mid" "byteSlice"] scalar(2, 3, Spread, text, strings::substring);
    "substringUTF8" ["substrUTF8"] scalar(2, 3, Spread, text, strings::substring_utf8);
    "substringIndex" [] scalar(3, 3, Spread, text, strings::substring_index);
    "left" [] scalar(2, 2, Spread, text, strings::left);
    "leftUTF8" [] scalar(2, 2, Spread, text, strings::left);
    "right" [] scalar(2, 2, Spread, text, strings::right);
    "rightUTF8" [] scalar(2, 2, Spread, text, strings::right);
    "position" ["locate"] scalar(2, 3, Spread, uint64, strings::position);
    "positionUTF8" [] scalar(2, 3, Spread, uint64, strings::position);
    "positionCaseInsensitive" ["instr"] scalar(2, 3, Spread, uint64, strings::position_any_case);
    "positionCaseInsensitiveUTF8" [] scalar(2, 3, Spread, uint64, strings::position_any_case);
    "countSubstrings" [] scalar(2, 2, Spread, uint64, strings::count_substrings);
    "countSubstringsCaseInsensitive" [] scalar(2, 2, Spread, uint64, strings::count_substrings);
    "startsWith" ["startsWithUTF8"] scalar(2, 2, Spread, boolean, strings::starts_with);
    "endsWith" ["endsWithUTF8"] scalar(2, 2, Spread, boolean, strings::ends_with);
    "hasToken" [] scalar(2, 2, Spread, boolean, strings::has_token);
    "hasTokenCaseInsensitive" [] scalar(2, 2, Spread, boolean, strings::has_token_any_case);
    "hasSubsequence" [] scalar(2, 2, Spread, boolean, strings::has_subsequence);
    "like" [] scalar(2, 2, Spread, boolean, strings::like);
    "notLike" [] scalar(2, 2, Spread, boolean, strings::not_like);
    "ilike" [] scalar(2, 2, Spread, boolean, strings::ilike);
    "notILike" [] scalar(2, 2, Spread, boolean, strings::not_ilike);
    "match" ["regexp_matches"] scalar(2, 2, Spread, boolean, strings::is_match);
    "extract" [] scalar(2, 2, Spread, text, strings::extract);
    "regexpExtract" ["regexp_extract" "regexp_substr"] scalar(2, 3, Spread, text, strings::extract_group);
    "extractAll" [] scalar(2, 2, Spread, texts, strings::extract_all);
    "countMatches" [] scalar(2, 2, Spread, uint64, strings::count_matches);
    "replaceAll" ["replace"] scalar(3, 3, Spread, text, strings::replace);
    "replaceOne" [] scalar(3, 3, Spread, text, strings::replace);
    "replaceRegexpAll" ["regexp_replace"] scalar(3, 3, Spread, text, strings::replace_regexp);
    "replaceRegexpOne" [] scalar(3, 3, Spread, text, strings::replace_regexp);
    "regexpQuoteMeta" [] scalar(1, 1, Spread, text, strings::quote_meta);
    "translate" ["translateUTF8"] scalar(3, 3, Spread, text, strings::translate);
    "concat" [] scalar(0, ANY, Spread, text, strings::concat);
    "concatAssumeInjective" [] scalar(1, ANY, Spread, text, strings::concat);
    "concatWithSeparator" ["concat_ws"] scalar(1, ANY, Spread, text, strings::concat_with);
    "format" [] scalar(2, ANY, Spread, text, strings::format);
    "trimLeft" ["ltrim"] scalar(1, 2, Spread, text, strings::trim);
    "trimRight" ["rtrim"] scalar(1, 2, Spread, text, strings::trim);
    "trimBoth" ["trim"] scalar(1, 2, Spread, text, strings::trim);
    "leftPad" ["lpad"] scalar(2, 3, Spread, text, strings::pad);
    "leftPadUTF8" [] scalar(2, 3, Spread, text, strings::pad);
    "rightPad" ["rpad"] scalar(2, 3, Spread, text, strings::pad);
    "rightPadUTF8" [] scalar(2, 3, Spread, text, strings::pad);
    "repeat" [] scalar(2, 2, Spread, text, strings::repeat);
    "space" [] scalar(1, 1, Spread, text, strings::space);
    "appendTrailingCharIfAbsent" [] scalar(2, 2, Spread, text, strings::with_end);
    "splitByChar" [] scalar(2, 3, Spread, texts, strings::split);
    "splitByString" [] scalar(2, 3, Spread, texts, strings::split);
    "splitByWhitespace" [] scalar(1, 1, Spread, texts, strings::split_by_space);
    "splitByNonAlpha" [] scalar(1, 1, Spread, texts, strings::split_by_other);
    "alphaTokens" ["splitByAlpha"] scalar(1, 1, Spread, texts, strings::alpha_tokens);
    "base64Encode" ["to_base64"] scalar(1, 1, Spread, text, strings::base64_encode);
    "base64Decode" ["from_base64"] scalar(1, 1, Spread, text, strings::base64_decode);
    "tryBase64Decode" [] scalar(1, 1, Spread, text, strings::base64_decode);
    "base64URLEncode" [] scalar(1, 1, Spread, text, strings::base64_url_encode);
    "base64URLDecode" [] scalar(1, 1, Spread, text, strings::base64_decode);
    "tryBase64URLDecode" [] scalar(1, 1, Spread, text, strings::base64_decode);
    "hex" [] Rewrite(hashes::hex);
    "unhex" [] scalar(1, 1, Spread, text, strings::unhex);
    "ascii" [] scalar(1, 1, Spread, dates::offset_type, strings::ascii);
    "char" [] scalar(1, ANY, Spread, text, strings::char_of);
    "encodeXMLComponent" [] scalar(1, 1, Spread, text, strings::encode_xml);
    "isValidUTF8" [] scalar(1, 1, Spread, boolean, strings::always);
    "levenshteinDistance" ["editDistance"] scalar(2, 2, Spread, uint64, strings::edit_distance);
    "levenshteinDistanceUTF8" ["editDistanceUTF8"] scalar(2, 2, Spread, uint64, strings::edit_distance);
}
"Addresses" {
    "protocol" [] scalar(1, 1, Spread, text, url::protocol_of);
    "domain" [] scalar(1, 1, Spread, text, url::domain);
    "domainWithoutWWW" [] scalar(1, 1, Spread, text, url::domain_without_www);
    "topLevelDomain" [] scalar(1, 1, Spread, text, url::top_level_domain);
    "firstSignificantSubdomain" [] scalar(1, 1, Spread, text, url::first_significant_subdomain);
    "cutToFirstSignificantSubdomain" [] scalar(1, 1, Spread, text, url::cut_to_first_significant);
    "cutToFirstSignificantSubdomainWithWWW" [] scalar(1, 1, Spread, text, url::cut_to_first_significant_www);
    "port" [] scalar(1, 2, Spread, uint16, url::port);
    "netloc" [] scalar(1, 1, Spread, text, url::netloc_of);
    "path" [] scalar(1, 1, Spread, text, url::path_of);
    "pathFull" [] scalar(1, 1, Spread, text, url::path_full_of);
    "queryString" [] scalar(1, 1, Spread, text, url::query_string);
    "fragment" [] scalar(1, 1, Spread, text, url::fragment_of);
    "queryStringAndFragment" [] scalar(1, 1, Spread, text, url::query_string_and_fragment);
    "cutQueryString" [] scalar(1, 1, Spread, text, url::without_query);
    "cutFragment" [] scalar(1, 1, Spread, text, url::without_fragment);
    "cutQueryStringAndFragment" [] scalar(1, 1, Spread, text, url::without_query_and_fragment);
    "cutWWW" [] scalar(1, 1, Spread, text, url::without_www_of);
    "extractURLParameter" [] scalar(2, 2, Spread, text, url::parameter);
    "extractURLParameters" [] scalar(1, 1, Spread, texts, url::parameter_list);
    "extractURLParameterNames" [] scalar(1, 1, Spread, texts, url::parameter_names);
    "cutURLParameter" [] scalar(2, 2, Spread, text, url::without_parameter);
    "URLHierarchy" [] scalar(1, 1, Spread, texts, url::hierarchy);
    "URLPathHierarchy" [] scalar(1, 1, Spread, texts, url::hierarchy);
    "decodeURLComponent" [] scalar(1, 1, Spread, text, url::decode);
    "decodeURLFormComponent" [] scalar(1, 1, Spread, text, url::decode_form);
    "encodeURLComponent" [] scalar(1, 1, Spread, text, url::encode);
    "encodeURLFormComponent" [] scalar(1, 1, Spread, text, url::encode_form);
}
"JSON" {
    "JSONExtractString" [] scalar(1, ANY, Spread, text, json::extract_string);
    "JSONExtractInt" [] scalar(1, ANY, Spread, int64, json::extract_int);
    "JSONExtractUInt" [] scalar(1, ANY, Spread, uint64, json::extract_uint);
    "JSONExtractFloat" [] scalar(1, ANY, Spread, float64, json::extract_float);
    "JSONExtractBool" [] scalar(1, ANY, Spread, boolean, json::extract_bool);
    "JSONExtractRaw" [] scalar(1, ANY, Spread, text, json::extract_raw);
    "JSONExtractArrayRaw" [] scalar(1, ANY, Spread, texts, json::extract_array);
    "JSONExtractKeys" [] scalar(1, ANY, Spread, texts, json::extract_keys);
    "JSONExtract" [] scalar(2, ANY, Maybe, json::named_type, json::extract);
    "JSONHas" [] scalar(1, ANY, Spread, boolean, json::has);
    "JSONLength" [] scalar(1, ANY, Spread, uint64, json::length_of);
    "JSONType" [] scalar(1, ANY, Spread, text, json::type_of);
    "isValidJSON" [] scalar(1, 1, Spread, boolean, json::is_valid);
    "simpleJSONHas" ["visitParamHas"] scalar(2, 2, Spread, boolean, json::simple_has);
    "simpleJSONExtractString" ["visitParamExtractString"] scalar(2, 2, Spread, text, json::simple_string);
    "simpleJSONExtractInt" ["visitParamExtractInt"] scalar(2, 2, Spread, int64, json::simple_int);
    "simpleJSONExtractUInt" ["visitParamExtractUInt"] scalar(2, 2, Spread, uint64, json::simple_uint);
    "simpleJSONExtractFloat" ["visitParamExtractFloat"] scalar(2, 2, Spread, float64, json::simple_float);
    "simpleJSONExtractBool" ["visitParamExtractBool"] scalar(2, 2, Spread, boolean, json::simple_bool);
    "simpleJSONExtractRaw" ["visitParamExtractRaw"] scalar(2, 2, Spread, text, json::simple_raw);
}
"Hashes" {
    "cityHash64" [] scalar(1, ANY, Spread, uint64, hashes::city_hash);
    "sipHash64" [] scalar(1, ANY, Spread, uint64, hashes::sip_hash);
    "xxHash64" [] scalar(1, 1, Spread, uint64, hashes::xx_hash64);
    "xxHash32" [] scalar(1, 1, Spread, uint32, hashes::xx_hash32);
    "intHash64" [] scalar(1, 1, Spread, uint64, hashes::int_hash64);
    "halfMD5" [] scalar(1, 1, Spread, uint64, hashes::half_md5);
    "CRC32" [] scalar(1, 1, Spread, uint32, hashes::crc32);
    "MD5" [] scalar(1, 1, Spread, text, hashes::md5_of);
    "SHA224" [] scalar(1, 1, Spread, text, hashes::sha224);
    "SHA256" [] scalar(1, 1, Spread, text, hashes::sha256);
    "SHA512" [] scalar(1, 1, Spread, text, hashes::sha512);
    "hexMD5" [] scalar(1, 1, Spread, text, hashes::md5_of);
    "hexSHA224" [] scalar(1, 1, Spread, text, hashes::sha224);
    "hexSHA256" [] scalar(1, 1, Spread, text, hashes::sha256);
    "hexSHA512" [] scalar(1, 1, Spread, text, hashes::sha512);
}
"Lists" {
    "array" [] Engine("make_array", 0, ANY);
    "arrayJoin" ["unnest"] Rewrite(arrays::unnest);
    "arrayElement" [] scalar(2, 2, Spread, arrays::element_answer, arrays::element);
    "has" [] Engine("array_has", 2, 2);
    "hasAny" [] Engine("array_has_any", 2, 2);
    "hasAll" [] Engine("array_has_all", 2, 2);
    "indexOf" [] Rewrite(arrays::index_of);
    "countEqual" [] scalar(2, 2, Spread, uint64, arrays::count_equal);
    "arrayConcat" [] Engine("array_concat", 1, ANY);
    "arrayDistinct" [] Engine("array_distinct", 1, 1);
    "arrayUniq" [] Rewrite(arrays::uniq);
    "arraySort" [] Rewrite(arrays::sort_up);
    "arrayReverseSort" [] Rewrite(arrays::sort_down);
    "arrayReverse" [] Engine("array_reverse", 1, 1);
    "arraySlice" [] scalar(2, 3, Spread, arrays::list_answer, arrays::slice);
    "arrayPushBack" ["array_append"] Engine("array_append", 2, 2);
    "arrayPushFront" ["array_prepend"] Rewrite(arrays::push_front);
    "arrayPopBack" [] Engine("array_pop_back", 1, 1);
    "arrayPopFront" [] Engine("array_pop_front", 1, 1);
    "arrayIntersect" [] Engine("array_intersect", 2, 2);
    "arrayFlatten" ["flatten"] Engine("flatten", 1, 1);
    "arrayEnumerate" [] scalar(1, 1, Spread, arrays::positions_answer, arrays::enumerate);
    "arrayStringConcat" ["array_to_string"] scalar(1, 2, Spread, text, arrays::join);
    "arrayMap" [] Rewrite(arrays::map);
    "arrayFilter" [] Rewrite(arrays::filter);
    "arrayExists" [] Rewrite(arrays::exists);
    "arrayAll" [] Rewrite(arrays::every);
    "arrayCount" [] Rewrite(arrays::count);
    "arrayFirst" [] Rewrite(arrays::first);
    "arrayLast" [] Rewrite(arrays::last);
    "arraySum" [] scalar(1, 1, Spread, arrays::sum_answer, arrays::reduced);
    "arrayProduct" [] scalar(1, 1, Spread, float64, arrays::reduced);
    "arrayAvg" [] scalar(1, 1, Spread, float64, arrays::reduced);
    "arrayMin" [] scalar(1, 1, Spread, arrays::element_answer, arrays::reduced);
    "arrayMax" [] scalar(1, 1, Spread, arrays::element_answer, arrays::reduced);
    "range" [] scalar(1, 3, Spread, arrays::range_answer, arrays::range);
    "emptyArrayString" [] scalar(0, 0, Never, texts, arrays::empty_list);
    "emptyArrayUInt64" [] scalar(0, 0, Never, arrays::range_answer, arrays::empty_list);
}
"Arithmetic" {
    "plus" [] Rewrite(conditional::plus);
    "minus" [] Rewrite(conditional::minus);
    "multiply" [] Rewrite(conditional::multiply);
    "divide" [] Rewrite(conditional::divide);
    "modulo" ["mod"] Rewrite(conditional::modulo);
    "moduloOrZero" [] scalar(2, 2, Spread, arithmetic::whole_type, arithmetic::modulo_or_zero);
    "positiveModulo" ["positive_modulo" "pmod"] scalar(2, 2, Spread, arithmetic::whole_type, arithmetic::positive_modulo);
    "intDiv" [] scalar(2, 2, Spread, arithmetic::whole_type, arithmetic::int_div);
    "intDivOrZero" [] scalar(2, 2, Spread, arithmetic::whole_type, arithmetic::int_div_or_zero);
    "intDivOrNull" [] scalar(2, 2, Maybe, arithmetic::whole_type, arithmetic::int_div);
    "gcd" [] scalar(2, 2, Spread, arithmetic::whole_type, arithmetic::gcd);
    "lcm" [] scalar(2, 2, Spread, arithmetic::whole_type, arithmetic::lcm);
    "negate" [] scalar(1, 1, Spread, arithmetic::negated_type, arithmetic::negate);
    "abs" [] scalar(1, 1, Spread, arithmetic::abs_type, arithmetic::abs);
    "sign" [] scalar(1, 1, Spread, convert::int8_type, arithmetic::sign);
    "round" [] scalar(1, 2, Spread, arithmetic::rounded_type, arithmetic::round);
    "roundBankers" [] scalar(1, 2, Spread, arithmetic::rounded_type, arithmetic::round);
    "floor" [] scalar(1, 2, Spread, arithmetic::rounded_type, arithmetic::round);
    "ceil" ["ceiling"] scalar(1, 2, Spread, arithmetic::rounded_type, arithmetic::round);
    "trunc" ["truncate"] scalar(1, 2, Spread, arithmetic::rounded_type, arithmetic::round);
    "sqrt" [] scalar(1, 1, Spread, float64, arithmetic::sqrt);
    "cbrt" [] scalar(1, 1, Spread, float64, arithmetic::cbrt);
    "exp" [] scalar(1, 1, Spread, float64, arithmetic::exp);
    "exp2" [] scalar(1, 1, Spread, float64, arithmetic::exp2);
    "exp10" [] scalar(1, 1, Spread, float64, arithmetic::exp10);
    "log" ["ln"] scalar(1, 1, Spread, float64, arithmetic::ln);
    "log2" [] scalar(1, 1, Spread, float64, arithmetic::log2);
    "log10" [] scalar(1, 1, Spread, float64, arithmetic::log10);
    "log1p" [] scalar(1, 1, Spread, float64, arithmetic::log1p);
    "pow" ["power"] scalar(2, 2, Spread, float64, arithmetic::pow);
    "sin" [] scalar(1, 1, Spread, float64, arithmetic::sin);
    "cos" [] scalar(1, 1, Spread, float64, arithmetic::cos);
    "tan" [] scalar(1, 1, Spread, float64, arithmetic::tan);
    "asin" [] scalar(1, 1, Spread, float64, arithmetic::asin);
    "acos" [] scalar(1, 1, Spread, float64, arithmetic::acos);
    "atan" [] scalar(1, 1, Spread, float64, arithmetic::atan);
    "atan2" [] scalar(2, 2, Spread, float64, arithmetic::atan2);
    "hypot" [] scalar(2, 2, Spread, float64, arithmetic::hypot);
    "degrees" [] scalar(1, 1, Spread, float64, arithmetic::degrees);
    "radians" [] scalar(1, 1, Spread, float64, arithmetic::radians);
    "pi" [] Engine("pi", 0, 0);
    "isNaN" [] scalar(1, 1, Spread, boolean, arithmetic::is_nan);
    "isFinite" [] scalar(1, 1, Spread, boolean, arithmetic::is_finite);
    "isInfinite" [] scalar(1, 1, Spread, boolean, arithmetic::is_infinite);
    "ifNotFinite" [] scalar(2, 2, Spread, float64, arithmetic::if_not_finite);
    "bitAnd" [] scalar(2, 2, Spread, arithmetic::whole_type, arithmetic::bits);
    "bitOr" [] scalar(2, 2, Spread, arithmetic::whole_type, arithmetic::bits);
    "bitXor" [] scalar(2, 2, Spread, arithmetic::whole_type, arithmetic::bits);
    "bitShiftLeft" [] scalar(2, 2, Spread, arithmetic::whole_type, arithmetic::bits);
    "bitShiftRight" [] scalar(2, 2, Spread, arithmetic::whole_type, arithmetic::bits);
    "bitTest" [] scalar(2, 2, Spread, uint8, arithmetic::bit_test);
    "bitCount" [] scalar(1, 1, Spread, uint8, arithmetic::bit_count);
}
"Aggregates" {
    "count" [] Aggregate(aggregate::count);
    "sum" ["sumWithOverflow" "sumKahan"] Aggregate(aggregate::sum);
    "avg" [] Aggregate(aggregate::avg);
    "min" [] Aggregate(aggregate::min);
    "max" [] Aggregate(aggregate::max);
    "any" ["any_value" "first_value" "anyHeavy"] Aggregate(aggregate::any);
    "anyLast" ["last_value"] Aggregate(aggregate::any_last);
    "argMin" ["min_by"] Aggregate(aggregate::arg_min);
    "argMax" ["max_by"] Aggregate(aggregate::arg_max);
    "uniq" [] Aggregate(aggregate::uniq);
    "uniqExact" [] Aggregate(aggregate::uniq);
    "uniqCombined" ["uniqCombined64"] Aggregate(aggregate::uniq);
    "uniqHLL12" ["uniqTheta"] Aggregate(aggregate::uniq);
    "quantile" ["median" "quantileExactInclusive" "medianExactInclusive"] Aggregate(aggregate::quantile);
    "quantileTDigest" ["medianTDigest"] Aggregate(aggregate::quantile);
    "quantileDeterministic" ["medianDeterministic"] Aggregate(aggregate::quantile);
    "quantiles" ["quantilesTDigest" "quantilesExactInclusive"] Aggregate(aggregate::quantiles);
    "quantileExact" ["medianExact"] Aggregate(aggregate::quantile_exact);
    "quantileExactLow" ["medianExactLow"] Aggregate(aggregate::quantile_exact);
    "quantileExactHigh" ["medianExactHigh"] Aggregate(aggregate::quantile_exact);
    "quantilesExact" [] Aggregate(aggregate::quantiles_exact);
    "groupArray" ["array_agg"] Aggregate(aggregate::group_array);
    "groupUniqArray" [] Aggregate(aggregate::group_uniq_array);
    "groupConcat" ["group_concat" "string_agg"] Aggregate(aggregate::group_concat);
    "topK" [] Aggregate(aggregate::top_k);
    "avgWeighted" [] Aggregate(aggregate::avg_weighted);
    "stddevPop" ["stddev_pop" "stddevPopStable"] Aggregate(aggregate::stddev_pop);
    "stddevSamp" ["stddev" "stddev_samp" "stddevSampStable"] Aggregate(aggregate::stddev_samp);
    "varPop" ["var_pop" "varPopStable"] Aggregate(aggregate::var_pop);
    "varSamp" ["var_samp" "varSampStable"] Aggregate(aggregate::var_samp);
    "corr" ["corrStable"] Aggregate(aggregate::corr);
    "covarPop" ["covar_pop" "covarPopStable"] Aggregate(aggregate::covar_pop);
    "covarSamp" ["covar_samp" "covarSampStable"] Aggregate(aggregate::covar_samp);
    "groupBitAnd" ["bit_and"] Aggregate(aggregate::bit_and);
    "groupBitOr" ["bit_or"] Aggregate(aggregate::bit_or);
    "groupBitXor" ["bit_xor"] Aggregate(aggregate::bit_xor);
    "retention" [] Aggregate(aggregate::retention);
    "windowFunnel" [] Aggregate(aggregate::window_funnel);
}
"Windows" {
    "row_number" ["rowNumber"] Window("row_number");
    "rank" [] Window("rank");
    "dense_rank" ["denseRank"] Window("dense_rank");
    "percent_rank" ["percentRank"] Window("percent_rank");
    "cume_dist" [] Window("cume_dist");
    "ntile" [] Window("ntile");
    "nth_value" [] Window("nth_value");
    "lag" ["lagInFrame"] Window("lag");
    "lead" ["leadInFrame"] Window("lead");
}
}
