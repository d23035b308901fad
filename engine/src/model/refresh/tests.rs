use super::*;

#[test]
fn intervals_and_cron_expressions_are_told_from_nonsense() {
    for good in ["1 hour", "30 seconds", "10 minutes", "0 day", "2 weeks"] {
        assert!(is_interval(good), "{good}");
    }
    for bad in ["1 month", "hour", "-1 hour", "1  hour", "1.5 hours", ""] {
        assert!(!is_interval(bad), "{bad}");
    }
    for good in ["0 8 * * *", "*/15 * * * *", "0 0 8-18/2 ? * mon-fri", "0 0 1,15 JAN *"] {
        assert_eq!(check_cron(good), Ok(()), "{good}");
    }
    for bad in [
        "0 99 * * *",
        "* * * *",
        "0 8 * * x",
        "0 8 5-2 * *",
        "*/0 * * * *",
        "1 month",
    ] {
        assert!(check_cron(bad).is_err(), "{bad}");
    }
}
