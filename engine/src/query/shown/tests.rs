use super::*;
use datafusion::sql::unparser::dialect::DefaultDialect;

#[test]
fn names_are_quoted_as_the_library_quotes_them() {
    let names = [
        "page_path",
        "_x",
        "x1",
        "1x",
        "",
        "id",
        "Id",
        "ID",
        "select",
        "Select",
        "order",
        "user",
        "a.b",
        "a b",
        "é",
        "Events7",
        "at",
        "date",
        "count",
        "\"",
        "é1",
        "a-b",
    ];
    for name in names {
        let theirs = DefaultDialect {}.identifier_quote_style(name);
        assert_eq!(Quoting.identifier_quote_style(name), theirs, "{name:?}");
    }
}
