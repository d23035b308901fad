use super::titleize;

#[test]
fn titles_are_cubes() {
    let cases = [
        ("created_at", "Created at"),
        ("time_on_page", "Time on Page"),
        ("id", "Id"),
        ("userId", "User Id"),
        ("user_id", "User Id"),
        ("sessionID", "Session Id"),
        ("utmSource", "Utm Source"),
        ("url", "Url"),
        ("api_key", "Api Key"),
        ("TrackedEvents", "Tracked Events"),
        ("rolling7dCount", "Rolling7 D Count"),
        ("germanOrFrench", "German or French"),
        ("minOccurredAt", "Min Occurred at"),
        ("fifteen_minutes", "Fifteen Minutes"),
        ("osVersionMajor", "Os Version Major"),
        ("completed_purchase", "Completed Purchase"),
        ("HTMLPage", "Html Page"),
        ("the_end", "The End"),
        ("x", "X"),
        ("", ""),
    ];
    for (name, title) in cases {
        assert_eq!(titleize(name), title, "{name}");
    }
}
