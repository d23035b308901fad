use super::time::Times;
use super::*;
use crate::ingest::tests::{CHROME, NOW};
use engine::clock::{DAY_MICROS, SECOND_MICROS};

#[test]
fn times_are_read_in_every_format() {
    let at = 1_795_403_522_656_000;
    for text in [
        "2026-11-23T03:12:02.656000Z",
        "2026-11-23T03:12:02.656Z",
        "2026-11-23 03:12:02.656",
        "2026-11-23T04:12:02.656+01:00",
        "2026-11-22T22:12:02.656-0500",
        "2026-11-23T08:57:02.656+05:45",
        "2026-11-23T03:12:02.656000999Z",
        "1795403522656",
        "1795403522.656",
        "1795403522656000",
        "1795403522656000000",
        "+002026-11-23T03:12:02.656Z",
    ] {
        assert_eq!(parse_time(text), Some(at), "{text}");
    }
    assert_eq!(parse_time("1970-01-01"), Some(0));
    assert_eq!(parse_time("2024-02-29T23:59:60Z"), Some(1_709_251_200_000_000));
    assert_eq!(
        parse_time("+275760-09-13T00:00:00.000Z"),
        Some(8_640_000_000_000_000_000)
    );
    for text in [
        "",
        "now",
        "NaN",
        "inf",
        "2026-02-29",
        "2026-13-01",
        "2026-1-1",
        "2026-11-23T25:00Z",
        "2026-11-23T03:12:02.Z",
        "2026-11-23T03:12:02Z!",
        "2026-11-23T03:12:02+1",
        "-999999-01-01T00:00Z",
        "99999999999999999999999",
        "é026-11-23",
        "2026-11-23T03:12:02+24:00",
    ] {
        assert_eq!(parse_time(text), None, "{text}");
    }
    assert_eq!(time_from_number(f64::NAN), None);
    assert_eq!(time_from_number(1e300), None);
}

#[test]
fn the_clocks_settle_on_one_instant() {
    let second = SECOND_MICROS;
    let times = |client: Option<i64>, sent: Option<i64>, stated: Option<i64>| {
        let of = |seconds: Option<i64>| seconds.map(|s| NOW + s * second);
        Times {
            client: of(client),
            sent: of(sent),
            stated: of(stated),
            received: NOW,
        }
        .resolve()
            - NOW
    };
    assert_eq!(times(None, None, None), 0);
    assert_eq!(times(Some(-30), None, None), -30 * second);
    assert_eq!(
        times(Some(-30), Some(-2), None),
        -30 * second,
        "two seconds are the network's"
    );
    assert_eq!(
        times(Some(-7_230), Some(-7_200), None),
        -30 * second,
        "a clock two hours late"
    );
    assert_eq!(
        times(Some(86_400), Some(86_430), None),
        -30 * second,
        "a clock a day ahead"
    );
    assert_eq!(
        times(Some(-100), Some(-101), None),
        0,
        "sent one second before it happened: sent at once"
    );
    assert_eq!(
        times(Some(-100), Some(-200), None),
        -100 * second,
        "nonsense is not corrected"
    );
    assert_eq!(
        times(Some(-30), Some(-2), Some(-90)),
        -90 * second,
        "the caller's statement wins"
    );
    assert_eq!(times(Some(3_601), None, None), 0, "more than an hour ahead");
    assert_eq!(times(Some(3_599), None, None), 3_599 * second);
    assert_eq!(
        times(Some(-401 * DAY_MICROS / second), None, None),
        0,
        "more than 400 days ago"
    );
    assert_eq!(times(Some(-399 * DAY_MICROS / second), None, None), -399 * DAY_MICROS);
    let extreme = Times {
        client: Some(i64::MIN),
        sent: Some(i64::MAX),
        stated: None,
        received: NOW,
    };
    assert_eq!(extreme.resolve(), NOW);
}

#[test]
fn addresses_are_split_as_they_are() {
    let parts = |address| {
        let a = url::split(address);
        (a.host, a.path, a.query, a.fragment)
    };
    assert_eq!(
        parts("https://u:p@Shop.example:8443/a/b?x=1&y#/r"),
        (Some("Shop.example"), Some("/a/b"), Some("x=1&y"), Some("/r"))
    );
    assert_eq!(
        parts("https://shop.example"),
        (Some("shop.example"), Some("/"), None, None)
    );
    assert_eq!(parts("//cdn.example/x"), (Some("cdn.example"), Some("/x"), None, None));
    assert_eq!(
        parts("//cdn.example:80/x://y"),
        (Some("cdn.example"), Some("/x://y"), None, None)
    );
    assert_eq!(parts("/a:b://c"), (None, Some("/a:b://c"), None, None));
    assert_eq!(parts("a:b://c/d?e"), (None, None, Some("e"), None));
    assert_eq!(parts("über://shop.example/x"), (None, None, None, None));
    assert_eq!(parts("/only/path?q"), (None, Some("/only/path"), Some("q"), None));
    assert_eq!(
        parts("http://[2001:db8::1]:80/"),
        (Some("[2001:db8::1]"), Some("/"), None, None)
    );
    assert_eq!(parts("file:///home/x"), (None, Some("/home/x"), None, None));
    assert_eq!(parts("about:blank"), (None, None, None, None));
    assert_eq!(parts("javascript:alert(1)//x"), (None, None, None, None));
    assert_eq!(
        parts("https://a.example?to=https://b.example/#x"),
        (Some("a.example"), Some("/"), Some("to=https://b.example/"), Some("x"))
    );
    assert_eq!(parts(""), (None, None, None, None));
}

#[test]
fn campaigns_are_read_from_the_address() {
    let mut event = Event::default();
    event.set(
        Column::PageUrl,
        "https://a.example/?utm_source=a%20b+c&utm_medium=&utm_id=7&fbclid=F&gclid=G&utm_campaign=%C3%A9&x",
    );
    event.set(Column::UtmCampaign, "as sent");
    event.set(Column::Referrer, "https://WWW.Search.example/q");
    url::enrich(&mut event);
    assert_eq!(event.text(Column::UtmSource), Some("a b c"));
    assert_eq!(event.text(Column::UtmCampaign), Some("as sent"));
    assert_eq!(event.get(Column::UtmMedium), None);
    assert_eq!(event.text(Column::UtmId), Some("7"));
    assert_eq!(
        (event.text(Column::ClickIdType), event.text(Column::ClickId)),
        (Some("gclid"), Some("G"))
    );
    assert_eq!(event.text(Column::ReferrerHost), Some("www.search.example"));
}

#[test]
fn user_agents_are_read() {
    let agents = UserAgents::default();
    let read = |user_agent: &str| {
        let mut event = Event::default();
        event.set(Column::UserAgent, user_agent);
        agents.enrich(&mut event, true);
        let text = |column| event.text(column).unwrap_or("-").to_owned();
        let is_bot = event.get(Column::IsBot) == Some(&true.into());
        let all = [
            text(Column::Browser),
            text(Column::Os),
            text(Column::DeviceType),
            text(Column::DeviceBrand),
            text(Column::DeviceModel),
        ];
        (all.join("|"), is_bot)
    };
    for (user_agent, facts, is_bot) in [
        (CHROME, "Chrome|Linux|desktop|-|-", false),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
            "Mobile Safari|iOS|mobile|Apple|iPhone",
            false,
        ),
        (
            "Mozilla/5.0 (Linux; Android 14; SM-G991B Build/UP1A) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36",
            "Chrome Mobile|Android|mobile|Samsung|SM-G991B",
            false,
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Mobile Safari/537.36",
            "Chrome Mobile|Android|mobile|-|-",
            false,
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Firefox|Windows|desktop|-|-",
            false,
        ),
        (
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Googlebot|Other|bot|-|-",
            true,
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/148.0.0.0 Safari/537.36",
            "HeadlessChrome|Linux|bot|-|-",
            true,
        ),
    ] {
        let (got, bot) = read(user_agent);
        assert_eq!(
            (got.replace("|-|bot", "|Other|bot").as_str(), bot),
            (facts, is_bot),
            "{user_agent}"
        );
    }
    read(&"é".repeat(10_000));
    let mut event = Event::default();
    event.set(Column::UserAgent, "python-requests/2.32");
    agents.enrich(&mut event, false);
    assert_eq!(
        event.get(Column::IsBot),
        Some(&false.into()),
        "a backend's library is no bot"
    );
}

#[test]
fn addresses_are_shortened() {
    for (text, short) in [
        ("203.0.113.77", "203.0.113.0"),
        ("203.0.113.77:8080", "203.0.113.0"),
        ("::ffff:203.0.113.77", "203.0.113.0"),
        ("[2001:db8:1:2:3::9]:443", "2001:db8:1::"),
        ("2001:db8:1:2:3::9", "2001:db8:1::"),
    ] {
        assert_eq!(ip::truncated(ip::parse(text).unwrap()), short, "{text}");
    }
    assert_eq!(ip::parse("unknown"), None);
}

#[test]
fn amounts_are_exact() {
    for (text, millionths) in [
        ("19.99", Some(19_990_000)),
        ("-0.1", Some(-100_000)),
        ("1.5e3", Some(1_500_000_000)),
        ("1e-7", Some(0)),
        ("5e-7", Some(1)),
        ("0.0000005", Some(1)),
        ("12345678901234.123456", Some(12_345_678_901_234_123_456)),
        ("99999999999999.9999999", None),
        ("1e20", None),
        ("1e999999999", None),
        ("", None),
        (".", None),
        ("1,5", None),
        ("--1", None),
        ("NaN", None),
    ] {
        assert_eq!(amount(text), millionths, "{text}");
    }
}

#[test]
fn sizes_are_pairs() {
    assert_eq!(size("1280x720"), Some((1280, 720)));
    assert_eq!(size("99999x99999"), Some((99_999, 99_999)));
    for text in ["x", "1280", "-1x5", "4294967296x1", "1.5x2", ""] {
        assert_eq!(size(text), None, "{text}");
    }
}
