//! Scalar functions: a row of the table becomes a function of the query engine.
//!
//! A row says how many arguments there are, what NULL does, the type of the answer, and how a batch is answered. Arguments
//! are not coerced by the planner; a function reads them as what it needs ([`Args::text`], [`Args::int`], …).

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, BooleanBuilder, Float64Array, Int64Array,
    PrimitiveBuilder, StringViewArray, StringViewBuilder, make_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::{Result as PlanResult, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What NULL does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nulls {
    /// A NULL argument gives NULL, and nothing else does.
    Spread,
    /// A NULL argument gives NULL, and other arguments may too.
    Maybe,
    /// The function sees NULLs itself.
    Own,
    /// The function sees NULLs itself and never gives one.
    Never,
}

/// A scalar function.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Fewest arguments.
    pub least: usize,
    /// Most arguments.
    pub most: usize,
    /// What NULL does.
    pub nulls: Nulls,
    /// The type of the answer.
    pub returns: fn(&Given<'_>) -> PlanResult<DataType>,
    /// The answers to a batch.
    pub run: fn(&Args<'_>) -> PlanResult<ArrayRef>,
}

/// What is known of the arguments when a call is planned.
#[derive(Debug)]
pub struct Given<'a> {
    /// Their types.
    pub types: Vec<DataType>,
    /// Those that are constants.
    pub constants: &'a [Option<&'a ScalarValue>],
}

impl Given<'_> {
    /// The type of an argument.
    pub fn data_type(&self, at: usize) -> DataType {
        self.types.get(at).cloned().unwrap_or(DataType::Null)
    }

    /// A constant text.
    pub fn text(&self, at: usize) -> Option<&str> {
        (*self.constants.get(at)?)?.try_as_str().flatten()
    }

    /// A constant whole number.
    pub fn int(&self, at: usize) -> Option<i64> {
        let constant = (*self.constants.get(at)?)?;
        match constant.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(value)) => value,
            _ => None,
        }
    }
}

/// An error of what a model's author wrote.
pub fn wrong(message: impl Into<String>) -> DataFusionError {
    DataFusionError::Plan(message.into())
}

/// An error of a value that came while rows were read.
pub fn failed(message: impl Into<String>) -> DataFusionError {
    DataFusionError::Execution(message.into())
}

/// The function of a row under `name`.
pub fn udf(name: String, row: Row) -> ScalarUDF {
    ScalarUDF::new_from_impl(Scalar {
        name,
        row,
        signature: Signature::variadic_any(Volatility::Immutable).or_nullary(row.least == 0),
    })
}

trait OrNullary {
    fn or_nullary(self, nullary: bool) -> Self;
}

impl OrNullary for Signature {
    fn or_nullary(self, nullary: bool) -> Self {
        use datafusion::logical_expr::TypeSignature;
        match nullary {
            true => Signature::one_of(
                vec![TypeSignature::Nullary, TypeSignature::VariadicAny],
                self.volatility,
            ),
            false => self,
        }
    }
}

#[derive(Debug)]
struct Scalar {
    name: String,
    row: Row,
    signature: Signature,
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Scalar {}

impl Hash for Scalar {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Scalar {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> PlanResult<DataType> {
        Err(DataFusionError::Internal(format!(
            "`{}` has a field, not a type",
            self.name
        )))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> PlanResult<FieldRef> {
        let spreads = matches!(self.row.nulls, Nulls::Spread | Nulls::Maybe);
        let given = Given {
            types: args.arg_fields.iter().map(|field| field.data_type().clone()).collect(),
            constants: args.scalar_arguments,
        };
        let no_value = spreads && given.types.contains(&DataType::Null);
        let returned = match (self.row.returns)(&given) {
            Err(_) if no_value => DataType::Null,
            other => other.map_err(|error| named(error, &self.name))?,
        };
        let nullable = match self.row.nulls {
            Nulls::Never => false,
            Nulls::Spread => args.arg_fields.iter().any(|field| field.is_nullable()),
            Nulls::Maybe | Nulls::Own => true,
        };
        Ok(Arc::new(Field::new(&self.name, returned, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let returned = args.return_field.data_type();
        let spreads = matches!(self.row.nulls, Nulls::Spread | Nulls::Maybe);
        let nothing = spreads
            && args.args.iter().any(|arg| match arg {
                ColumnarValue::Scalar(scalar) => scalar.is_null(),
                ColumnarValue::Array(array) => *array.data_type() == DataType::Null,
            });
        if nothing {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from(returned)?));
        }
        let nulls = args.args.iter().fold(None, |nulls, arg| match arg {
            ColumnarValue::Array(array) if spreads => NullBuffer::union(nulls.as_ref(), array.nulls()),
            _ => nulls,
        });
        let given = Args {
            name: &self.name,
            values: &args.args,
            rows,
            nulls,
            returned,
        };
        let array = (self.row.run)(&given).map_err(|error| named(error, &self.name))?;
        let array = masked(array, given.nulls.as_ref())?;
        match constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)),
            false => Ok(ColumnarValue::Array(array)),
        }
    }
}

/// The error with the function's name before it.
fn named(error: DataFusionError, name: &str) -> DataFusionError {
    let name = name.strip_prefix(super::PREFIX).unwrap_or(name);
    match error {
        DataFusionError::Plan(message) => DataFusionError::Plan(format!("{name}: {message}")),
        DataFusionError::Execution(message) => DataFusionError::Execution(format!("{name}: {message}")),
        other => other,
    }
}

/// `array` with NULL where `nulls` has one.
fn masked(array: ArrayRef, nulls: Option<&NullBuffer>) -> PlanResult<ArrayRef> {
    let Some(nulls) = nulls else {
        return Ok(array);
    };
    let all = NullBuffer::union(Some(nulls), array.nulls());
    Ok(make_array(array.to_data().into_builder().nulls(all).build()?))
}

/// The arguments of one batch.
#[derive(Debug)]
pub struct Args<'a> {
    name: &'a str,
    values: &'a [ColumnarValue],
    /// Rows to answer.
    pub rows: usize,
    nulls: Option<NullBuffer>,
    /// The type to answer in.
    pub returned: &'a DataType,
}

/// Texts: one for all rows, or one for each. NULL reads as the empty text.
#[derive(Debug)]
pub enum Text {
    /// The same for all rows.
    One(String),
    /// One for each row.
    Many(StringViewArray),
}

impl Text {
    /// The text of a row.
    pub fn get(&self, row: usize) -> &str {
        match self {
            Text::One(text) => text,
            Text::Many(all) => match all.is_null(row) {
                true => "",
                false => all.value(row),
            },
        }
    }
}

/// Whole numbers. NULL reads as 0.
#[derive(Debug)]
pub enum Ints {
    /// The same for all rows.
    One(i64),
    /// One for each row.
    Many(Int64Array),
}

impl Ints {
    /// The number of a row.
    pub fn get(&self, row: usize) -> i64 {
        match self {
            Ints::One(number) => *number,
            Ints::Many(all) => all.value(row),
        }
    }
}

impl<'a> Args<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether a row has NULL among its arguments and is not to be answered.
    pub fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// The type of an argument.
    pub fn data_type(&self, at: usize) -> DataType {
        self.values.get(at).map_or(DataType::Null, ColumnarValue::data_type)
    }

    /// Whether an argument is the same for all rows.
    pub fn is_constant(&self, at: usize) -> bool {
        matches!(self.values.get(at), Some(ColumnarValue::Scalar(_)))
    }

    /// An argument as a column.
    pub fn array(&self, at: usize) -> PlanResult<ArrayRef> {
        let value = self
            .values
            .get(at)
            .ok_or_else(|| wrong(format!("argument {} is missing", at + 1)))?;
        value.to_array(self.rows)
    }

    fn value(&self, at: usize) -> PlanResult<&'a ColumnarValue> {
        self.values
            .get(at)
            .ok_or_else(|| wrong(format!("argument {} is missing", at + 1)))
    }

    fn is_not(&self, at: usize, what: &str) -> DataFusionError {
        wrong(format!(
            "argument {} must be {what}, not {}",
            at + 1,
            self.data_type(at)
        ))
    }

    /// An argument as text.
    pub fn text(&self, at: usize) -> PlanResult<Text> {
        let is_text = |data_type: &DataType| {
            matches!(
                data_type,
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null
            )
        };
        match self.value(at)? {
            ColumnarValue::Scalar(scalar) if is_text(&scalar.data_type()) => {
                Ok(Text::One(scalar.try_as_str().flatten().unwrap_or_default().to_owned()))
            }
            ColumnarValue::Array(array) if is_text(array.data_type()) => {
                Ok(Text::Many(cast(array, &DataType::Utf8View)?.as_string_view().clone()))
            }
            _ => Err(self.is_not(at, "text")),
        }
    }

    /// An argument that must be a constant text.
    pub fn constant_text(&self, at: usize) -> PlanResult<String> {
        match self.text(at)? {
            Text::One(text) => Ok(text),
            Text::Many(_) => Err(wrong(format!("argument {} must be a constant", at + 1))),
        }
    }

    /// An argument as a whole number; wider unsigned ones wrap.
    pub fn int(&self, at: usize) -> PlanResult<Ints> {
        let data_type = self.data_type(at);
        if !(data_type.is_integer() || matches!(data_type, DataType::Boolean | DataType::Null | DataType::Float64)) {
            return Err(self.is_not(at, "a whole number"));
        }
        let wrapped = |array: ArrayRef| -> PlanResult<Int64Array> {
            Ok(match array.data_type() {
                DataType::UInt64 => array
                    .as_primitive::<arrow::datatypes::UInt64Type>()
                    .unary(|value| value as i64),
                _ => cast(&array, &DataType::Int64)?.as_primitive::<Int64Type>().clone(),
            })
        };
        match self.value(at)? {
            ColumnarValue::Scalar(scalar) => {
                let one = wrapped(scalar.to_array()?)?;
                Ok(Ints::One(if one.is_null(0) { 0 } else { one.value(0) }))
            }
            ColumnarValue::Array(array) => Ok(Ints::Many(wrapped(Arc::clone(array))?)),
        }
    }

    /// An argument as a float.
    pub fn float(&self, at: usize) -> PlanResult<Float64Array> {
        let data_type = self.data_type(at);
        if !(data_type.is_numeric() || matches!(data_type, DataType::Boolean | DataType::Null)) {
            return Err(self.is_not(at, "a number"));
        }
        Ok(cast(&self.array(at)?, &DataType::Float64)?
            .as_primitive::<Float64Type>()
            .clone())
    }

    /// Answers in text: `write` appends a row's answer.
    pub fn texts(&self, mut write: impl FnMut(usize, &mut String) -> PlanResult<()>) -> PlanResult<ArrayRef> {
        self.maybe_texts(|row, out| write(row, out).map(|()| true))
    }

    /// Answers in text, NULL where `write` says so.
    pub fn maybe_texts(&self, mut write: impl FnMut(usize, &mut String) -> PlanResult<bool>) -> PlanResult<ArrayRef> {
        let mut builder = StringViewBuilder::with_capacity(self.rows);
        let mut out = String::new();
        for row in 0..self.rows {
            out.clear();
            if !self.is_null(row) && write(row, &mut out)? {
                builder.append_value(&out);
            } else {
                builder.append_null();
            }
        }
        Ok(Arc::new(builder.finish()))
    }

    /// Answers that are pieces of what came in.
    pub fn pieces<'t>(&self, mut piece: impl FnMut(usize) -> &'t str) -> PlanResult<ArrayRef> {
        let mut builder = StringViewBuilder::with_capacity(self.rows);
        for row in 0..self.rows {
            match self.is_null(row) {
                true => builder.append_null(),
                false => builder.append_value(piece(row)),
            }
        }
        Ok(Arc::new(builder.finish()))
    }

    /// Answers in numbers, NULL where `answer` has none.
    pub fn numbers<T: ArrowPrimitiveType>(
        &self,
        mut answer: impl FnMut(usize) -> PlanResult<Option<T::Native>>,
    ) -> PlanResult<ArrayRef> {
        let mut builder = PrimitiveBuilder::<T>::with_capacity(self.rows).with_data_type(match self.returned {
            data_type if std::mem::discriminant(data_type) == std::mem::discriminant(&T::DATA_TYPE) => {
                data_type.clone()
            }
            _ => T::DATA_TYPE,
        });
        for row in 0..self.rows {
            let value = if self.is_null(row) { None } else { answer(row)? };
            builder.append_option(value);
        }
        Ok(Arc::new(builder.finish()))
    }

    /// Answers in conditions.
    pub fn booleans(&self, mut answer: impl FnMut(usize) -> PlanResult<bool>) -> PlanResult<ArrayRef> {
        let mut builder = BooleanBuilder::with_capacity(self.rows);
        for row in 0..self.rows {
            match self.is_null(row) {
                true => builder.append_null(),
                false => builder.append_value(answer(row)?),
            }
        }
        Ok(Arc::new(builder.finish()))
    }

    /// Whether an argument is a text that is the same for all rows.
    pub fn is_constant_text(&self, at: usize) -> bool {
        matches!(self.text(at), Ok(Text::One(_)))
    }

    /// The answers of `run` for argument `at` alone.
    pub fn alone(&self, at: usize, run: fn(&Args<'_>) -> PlanResult<ArrayRef>) -> PlanResult<ArrayRef> {
        let one = Args {
            name: self.name,
            values: std::slice::from_ref(self.value(at)?),
            rows: self.rows,
            nulls: self.nulls.clone(),
            returned: &DataType::Utf8View,
        };
        run(&one)
    }

    /// The function's name.
    pub fn function(&self) -> &str {
        self.name.strip_prefix(super::PREFIX).unwrap_or(self.name)
    }
}

/// Answers in text.
pub fn text(_: &Given<'_>) -> PlanResult<DataType> {
    Ok(DataType::Utf8View)
}

/// Answers in conditions.
pub fn boolean(_: &Given<'_>) -> PlanResult<DataType> {
    Ok(DataType::Boolean)
}

/// Answers in bytes.
pub fn uint8(_: &Given<'_>) -> PlanResult<DataType> {
    Ok(DataType::UInt8)
}

/// Answers in unsigned numbers of 16 bits.
pub fn uint16(_: &Given<'_>) -> PlanResult<DataType> {
    Ok(DataType::UInt16)
}

/// Answers in unsigned numbers of 32 bits.
pub fn uint32(_: &Given<'_>) -> PlanResult<DataType> {
    Ok(DataType::UInt32)
}

/// Answers in unsigned numbers of 64 bits.
pub fn uint64(_: &Given<'_>) -> PlanResult<DataType> {
    Ok(DataType::UInt64)
}

/// Answers in numbers of 64 bits.
pub fn int64(_: &Given<'_>) -> PlanResult<DataType> {
    Ok(DataType::Int64)
}

/// Answers in floats.
pub fn float64(_: &Given<'_>) -> PlanResult<DataType> {
    Ok(DataType::Float64)
}

/// Answers in lists of texts.
pub fn texts(_: &Given<'_>) -> PlanResult<DataType> {
    Ok(DataType::List(Arc::new(Field::new_list_field(
        DataType::Utf8View,
        true,
    ))))
}

/// Answers in the first argument's type.
pub fn same(given: &Given<'_>) -> PlanResult<DataType> {
    Ok(given.data_type(0))
}

/// A number as a condition: true when it is not 0.
pub fn truth(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let array = args.array(0)?;
    match array.data_type() {
        DataType::Boolean => Ok(array),
        DataType::Null => Ok(arrow::array::new_null_array(&DataType::Boolean, array.len())),
        data_type if data_type.is_numeric() => {
            let numbers = cast(&array, &DataType::Float64)?;
            let numbers = numbers.as_primitive::<Float64Type>();
            Ok(Arc::new(BooleanArray::from_unary(numbers, |number| number != 0.0)))
        }
        other => Err(wrong(format!("{other} is no condition"))),
    }
}
