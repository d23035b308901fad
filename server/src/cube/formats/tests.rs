use super::*;

#[test]
fn well_known_names_stay_and_others_become_specifications() {
    assert_eq!(of_measure(&json!("percent")), json!("percent"));
    assert_eq!(
        of_measure(&json!("percent_1")),
        json!({"type": "custom-numeric", "value": ".1~%", "alias": "percent_1"})
    );
    assert_eq!(
        of_dimension(&json!("%Y-%m"), DimensionType::Time),
        json!({"type": "custom-time", "value": "%Y-%m"})
    );
    assert_eq!(
        of_dimension(&json!(".3f"), DimensionType::Number),
        json!({"type": "custom-numeric", "value": ".3f"})
    );
}

#[test]
fn every_number_has_a_description() {
    assert_eq!(description(None, None), json!({"name": "number", "specifier": ",.2~f"}));
    assert_eq!(
        description(Some(&json!("percent")), None),
        json!({"name": "percent", "specifier": ".2~%"})
    );
    assert_eq!(
        description(Some(&json!("currency")), Some("EUR")),
        json!({"name": "currency", "specifier": "$,.2~f", "currency": "EUR"})
    );
}
