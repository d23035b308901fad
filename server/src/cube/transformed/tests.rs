use super::*;
use engine::query::date_range::parse_local;

fn range(from: &str, to: &str) -> TimeUnit {
    range_unit(&DateRange {
        from: parse_local(from).unwrap(),
        to: parse_local(to).unwrap(),
    })
}

#[test]
fn a_range_is_as_coarse_as_both_its_ends() {
    assert_eq!(
        range("2024-01-01T00:00:00.000", "2024-03-31T23:59:59.999"),
        TimeUnit::Month
    );
    assert_eq!(
        range("2024-01-01T00:00:00.000", "2024-12-31T23:59:59.999"),
        TimeUnit::Year
    );
    assert_eq!(
        range("2024-01-08T00:00:00.000", "2024-01-14T23:59:59.999"),
        TimeUnit::Week
    );
    assert_eq!(
        range("2024-01-01T00:00:00.000", "2024-01-07T23:59:59.999"),
        TimeUnit::Day
    );
    assert_eq!(
        range("2024-01-01T00:00:00.000", "2024-01-31T23:59:59.000"),
        TimeUnit::Second
    );
}

#[test]
fn own_granularities_are_built_from_whole_units() {
    let first = |interval: &str, origin: Option<&str>, offset: Option<&str>, tz: Tz| {
        let own = Granularity::new("own", None, interval, origin, offset).unwrap();
        own_base(&own, tz)[0]
    };
    assert_eq!(first("6 months", None, None, Tz::UTC), "month");
    assert_eq!(first("15 minutes", None, None, Tz::UTC), "minute");
    assert_eq!(first("1 week", None, Some("-1 day"), Tz::Europe__Berlin), "day");
    assert_eq!(first("1 year", Some("2024-02-01"), None, Tz::UTC), "month");
    assert_eq!(first("10 days", Some("2024-01-03"), None, Tz::UTC), "day");
    assert_eq!(first("6 months", None, None, Tz::America__New_York), "hour");
    assert_eq!(first("1 year", Some("2024-02-01"), None, Tz::Asia__Kolkata), "minute");
}
