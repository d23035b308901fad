use super::mention::Needle;
use super::*;
use proptest::prelude::*;

#[test]
fn an_id_is_mentioned_as_a_word_of_its_own() {
    let needle = Needle::new("u-1");
    for text in [
        "u-1",
        r#"{"user_id":"u-1"}"#,
        "/users/u-1/edit",
        "id=u-1&x=2",
        "%22u-1%22",
        "a\\nu-1",
        "(u-1)",
    ] {
        assert!(needle.is_mentioned(text), "{text}");
    }
    for text in ["u-12", "xu-1", "u-1-2", "u_1", "", "su-1"] {
        assert!(!needle.is_mentioned(text), "{text}");
    }
}

#[test]
fn an_id_is_found_in_the_ways_texts_write_it() {
    let needle = Needle::new("jo \"x\"@example.org");
    for text in [
        r#"{"mail":"jo \"x\"@example.org"}"#,
        "?mail=jo+%22x%22%40example.org&a=b",
        "?mail=jo%20%22x%22%40example.org",
    ] {
        assert!(needle.is_mentioned(text), "{text}");
    }
    // As Snowplow's trackers send contexts.
    let inner = r#"{"data":{"userId":"canary-77"}}"#;
    let standard = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, inner);
    let safe = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, inner);
    let needle = Needle::new("canary-77");
    for text in [format!(r#"{{"cx":"{standard}"}}"#), format!("ue_px={safe}&x=1")] {
        assert!(needle.is_mentioned(&text), "{text}");
        assert!(!Needle::new("canary-7").is_mentioned(&text), "{text}");
    }
}

proptest! {
    #[test]
    fn what_is_put_between_signs_is_found_and_nothing_panics(id in "[a-zA-Z0-9_@.é \"-]{1,20}", before in ".{0,30}", after in ".{0,30}") {
        let needle = Needle::new(&id);
        let text = format!("{before} ,{id}, {after}");
        prop_assert!(needle.is_mentioned(&text));
        prop_assert!(needle.is_in_bytes(text.as_bytes()));
        needle.is_mentioned(&before);
    }
}

#[test]
fn a_range_knows_its_days() {
    let day = day_of("2026-03-02").unwrap();
    let subject = Subject::Range {
        from: day - 1,
        to: day + crate::clock::DAY_MICROS,
    };
    let search = Search::new(subject, 0, false).unwrap();
    assert!(search.may_be_on("2026-03-01") && !search.is_whole_day("2026-03-01"));
    assert!(search.is_whole_day("2026-03-02"));
    assert!(!search.may_be_on("2026-03-03") && !search.may_be_on("2026-02-28"));
    assert!(Search::new(Subject::Range { from: 5, to: 5 }, 0, false).is_err());
    let empty = Subject::Visitor {
        id: String::new(),
        mentions: false,
    };
    assert!(Search::new(empty, 0, false).is_err());
}
