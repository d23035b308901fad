use super::*;
use arrow::array::{
    BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int64Array, StringViewArray,
    TimestampMicrosecondArray, TimestampNanosecondArray,
};
use std::sync::Arc;

fn texts(array: ArrayRef) -> Vec<String> {
    let text = |cell: Cell| match cell {
        Cell::Null => "null".to_owned(),
        Cell::Bool(value) => value.to_string(),
        Cell::Number(text) | Cell::Text(text) | Cell::Time(text) => text,
    };
    cells(&array).unwrap().into_iter().map(text).collect()
}

#[test]
fn floats_are_printed_as_javascript_prints_them() {
    let cases = [
        (0.1, "0.1"),
        (5.0, "5"),
        (-0.0, "0"),
        (30.56, "30.56"),
        (100.0 / 3.0, "33.333333333333336"),
        (1e21, "1e+21"),
        (123456789012345680000.0, "123456789012345680000"),
        (1.5e300, "1.5e+300"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (-1.25e-9, "-1.25e-9"),
        (f64::MAX, "1.7976931348623157e+308"),
        (5e-324, "5e-324"),
    ];
    for (value, text) in cases {
        assert_eq!(float(value), Cell::Number(text.to_owned()), "{value}");
    }
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(float(value), Cell::Null);
    }
}

#[test]
fn every_type_has_its_cell() {
    let decimals = Decimal128Array::from(vec![Some(30_750_000), Some(-100), Some(0), Some(5_000_000), None])
        .with_precision_and_scale(20, 6)
        .unwrap();
    assert_eq!(texts(Arc::new(decimals)), ["30.75", "-0.0001", "0", "5", "null"]);
    assert_eq!(
        texts(Arc::new(Int64Array::from(vec![Some(i64::MIN), None]))),
        ["-9223372036854775808", "null"]
    );
    assert_eq!(texts(Arc::new(Float32Array::from(vec![0.1]))), ["0.1"]);
    assert_eq!(
        texts(Arc::new(Float64Array::from(vec![Some(2.5), None]))),
        ["2.5", "null"]
    );
    assert_eq!(
        texts(Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ["true", "null"]
    );
    assert_eq!(
        texts(Arc::new(StringViewArray::from(vec![Some("é"), Some(""), None]))),
        ["é", "", "null"]
    );
    assert_eq!(
        texts(Arc::new(Date32Array::from(vec![0, 19_792]))),
        ["1970-01-01T00:00:00.000", "2024-03-10T00:00:00.000"]
    );
    let instants = TimestampMicrosecondArray::from(vec![-1, 1_704_067_200_123_999]);
    assert_eq!(
        texts(Arc::new(instants)),
        ["1969-12-31T23:59:59.999", "2024-01-01T00:00:00.123"]
    );
    let instants = TimestampNanosecondArray::from(vec![1_704_067_200_123_999_999]).with_timezone("UTC");
    assert_eq!(texts(Arc::new(instants)), ["2024-01-01T00:00:00.123"]);
}
