use super::*;

#[test]
fn every_column_is_found_by_its_name_and_nothing_else_is() {
    for column in Column::ALL {
        assert_eq!(Column::from_name(column.name()), Some(*column));
        assert_eq!(Column::from_name(&column.name().to_uppercase()), None);
        assert_eq!(Column::from_name(&format!("{}_", column.name())), None);
    }
    assert_eq!(Column::from_name(""), None);
}
