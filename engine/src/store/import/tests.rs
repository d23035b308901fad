use super::*;
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, RecordBatch, TimestampMillisecondArray, UInt32Array,
};
use datafusion::parquet::arrow::ArrowWriter;
use std::io::Write;

fn read(name: &str, content: &[u8]) -> Vec<Read1> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    File::create(&path).unwrap().write_all(content).unwrap();
    let rows = Rows::open(&path, InputFormat::of(&path).unwrap()).unwrap();
    rows.map(|row| row.unwrap()).collect()
}

fn field(row: &Read1, name: &str) -> Option<Field> {
    let fields = &row.as_ref().unwrap().fields;
    fields
        .iter()
        .find(|(known, _)| &**known == name)
        .map(|(_, field)| field.clone())
}

fn text(text: &str) -> Option<Field> {
    Some(Field::Text(text.to_owned()))
}

#[test]
fn json_lines_keep_their_texts() {
    let rows = read(
        "a.ndjson",
        b"{\"a\":\"x\\n\",\"b\":12345678901234567890,\"c\":null,\"d\":{\"z\": 1.0},\"e\":true}\n\nnonsense\n{\"a\":1}",
    );
    assert_eq!(rows.len(), 3);
    assert_eq!(field(&rows[0], "a"), text("x\n"));
    assert_eq!(
        field(&rows[0], "b"),
        Some(Field::Number("12345678901234567890".to_owned()))
    );
    assert_eq!(field(&rows[0], "c"), None);
    assert_eq!(field(&rows[0], "d"), Some(Field::Json("{\"z\": 1.0}".to_owned())));
    assert_eq!(field(&rows[0], "e"), Some(Field::Bool(true)));
    let bad = rows[1].as_ref().unwrap_err();
    assert_eq!(bad.raw, "nonsense");
    assert!(rows[2].is_ok());
}

#[test]
fn a_line_without_end_is_a_bad_row_and_no_memory() {
    let mut content = vec![b'x'; crate::limits::IMPORT_ROW_BYTES_MAX * 2 + 5];
    content.extend_from_slice(b"\n{\"a\":1}\n");
    let rows = read("a.ndjson", &content);
    assert_eq!(rows.len(), 2);
    assert!(rows[0].as_ref().unwrap_err().raw.len() <= crate::limits::REJECTED_RAW_BYTES_MAX);
    assert!(rows[1].is_ok());
}

#[test]
fn separated_lines_are_read_as_clickhouse_writes_them() {
    let rows = read("a.csv", b"\xef\xbb\xbfa,b,c\n\"x,\"\"y\"\"\n\",\\N,3\nshort\n");
    assert_eq!(field(&rows[0], "a"), text("x,\"y\"\n"));
    assert_eq!(field(&rows[0], "b"), None);
    assert_eq!(field(&rows[0], "c"), text("3"));
    assert!(rows[1].as_ref().unwrap_err().detail.contains("1 fields"));
    let rows = read("a.tsv", b"a\tb\nx\\ty\\\\n\\'\t\"quoted\n");
    assert_eq!(field(&rows[0], "a"), text("x\ty\\n'"));
    assert_eq!(field(&rows[0], "b"), text("\"quoted"));
}

#[test]
fn parquet_of_any_types_is_read() {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("bytes", Arc::new(BinaryArray::from_vec(vec![b"caf\xc3\xa9", b"\xff"]))),
        ("seconds", Arc::new(UInt32Array::from(vec![1_760_000_000, 2]))),
        ("at", Arc::new(TimestampMillisecondArray::from(vec![Some(1_500), None]))),
        ("float", Arc::new(Float64Array::from(vec![1.5, f64::NAN]))),
        ("flag", Arc::new(BooleanArray::from(vec![true, false]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    let rows = read("a.parquet", &writer.into_inner().unwrap());
    assert_eq!(field(&rows[0], "bytes"), text("café"));
    assert_eq!(field(&rows[0], "seconds"), Some(Field::Number("1760000000".to_owned())));
    assert_eq!(field(&rows[0], "at"), Some(Field::Instant(1_500_000)));
    assert_eq!(field(&rows[0], "float"), Some(Field::Number("1.5".to_owned())));
    assert_eq!(field(&rows[0], "flag"), Some(Field::Bool(true)));
    assert_eq!(field(&rows[1], "at"), None);
    assert_eq!(field(&rows[1], "bytes"), text("\u{fffd}"));
}

#[test]
fn what_is_no_such_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let error = Rows::open(&path, InputFormat::Parquet).unwrap_err();
    assert!(error.message().contains("a.parquet"), "{error}");
    File::create(&path).unwrap().write_all(b"no parquet at all").unwrap();
    let error = Rows::open(&path, InputFormat::Parquet).unwrap_err();
    assert!(error.message().contains("a.parquet"), "{error}");
    assert!("xlsx".parse::<InputFormat>().unwrap_err().message().contains("ndjson"));
}
