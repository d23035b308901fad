use super::*;
use std::net::IpAddr;

fn layers(file: &str, env: &[(&str, &str)]) -> (tempfile::TempDir, Layers) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tally.yml");
    std::fs::write(&path, file).unwrap();
    let layers = Layers {
        file: Some(path),
        env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..Layers::default()
    };
    (folder, layers)
}

#[test]
fn every_default_parses_and_every_key_is_unique() {
    let (settings, resolved) = Layers::default().resolve().unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:4000");
    assert_eq!(settings.base_path, "/cubejs-api");
    assert_eq!(resolved.len(), SETTINGS.len());
    let keys: std::collections::HashSet<_> = SETTINGS.iter().map(|s| s.key).collect();
    let envs: Vec<_> = SETTINGS.iter().flat_map(|s| s.env).collect();
    assert_eq!(keys.len(), SETTINGS.len());
    assert_eq!(envs.iter().collect::<std::collections::HashSet<_>>().len(), envs.len());
    for setting in SETTINGS {
        assert_eq!(setting.env[0], format!("TALLY_{}", setting.key.to_uppercase()));
    }
}

#[test]
fn the_environment_wins_over_the_file_and_the_origin_is_told() {
    let (_folder, layers) = layers(
        "# ours\nlisten: 127.0.0.1:5000\ntimezone: Europe/Berlin\n",
        &[("TALLY_LISTEN", "6000"), ("CUBEJS_API_SECRET", "s3cret")],
    );
    let (settings, resolved) = layers.resolve().unwrap();
    assert_eq!(settings.listen.port(), 6000);
    assert_eq!(settings.timezone, chrono_tz::Europe::Berlin);
    assert_eq!(settings.api_secret, Some(Secret::new("s3cret")));
    let origin = |key| resolved.iter().find(|r| r.key == key).unwrap().origin.to_string();
    assert_eq!(origin("listen"), "$TALLY_LISTEN");
    assert!(origin("timezone").ends_with("tally.yml:3"), "{}", origin("timezone"));
    assert_eq!(origin("api_secret"), "$CUBEJS_API_SECRET");
    assert_eq!(origin("memory"), "default");
}

#[test]
fn a_misspelt_key_and_a_bad_value_are_both_reported_with_their_lines() {
    let (_folder, layers) = layers("memory: lots\n\ntimezon: UTC\nqwertyuiop: 1\n", &[]);
    let problems: Vec<String> = layers.resolve().unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 3, "{problems:#?}");
    let expected = [
        "tally.yml:1: `memory` is `lots`: write a size",
        "tally.yml:3: unknown setting `timezon`; did you mean `timezone`?",
        "tally.yml:4: unknown setting `qwertyuiop`; `tally config`",
    ];
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.contains(expected), "{problems:#?}");
    }
}

#[test]
fn a_secret_never_shows_in_a_message() {
    let (_folder, layers) = layers("store_options: hunter2\n", &[]);
    let problems = layers.resolve().unwrap_err();
    assert!(!problems[0].to_string().contains("hunter2"), "{}", problems[0]);
    assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
}

#[test]
fn lists_and_mappings_of_the_file_are_read() {
    let (_folder, layers) = layers(
        "trusted_proxies:\n  - 10.0.0.0/8\n  - loopback\nstore_options:\n  aws_region: eu-central-1\n",
        &[("AWS_REGION", "us-east-1"), ("AWS_ACCESS_KEY_ID", "id"), ("HOME", "/")],
    );
    let (settings, _) = layers.resolve().unwrap();
    assert_eq!(settings.trusted_proxies.len(), 3);
    let options: Vec<_> = settings
        .store_options
        .iter()
        .map(|(k, v)| (k.as_str(), v.expose()))
        .collect();
    assert_eq!(options, [("aws_region", "eu-central-1"), ("aws_access_key_id", "id")]);
}

#[test]
fn sizes_and_shares_of_memory() {
    for (text, bytes) in [
        ("1", 1),
        ("512KB", 524_288),
        ("64 MiB", 67_108_864),
        ("1.5g", 1_610_612_736),
    ] {
        assert_eq!(parse::size(text).unwrap(), bytes, "{text}");
    }
    for text in ["", "x", "-1", "1PB", "1.2.3", "NaN", "0"] {
        assert!(parse::size(text).is_err(), "{text}");
    }
    assert!(parse::memory("25%").unwrap() >= 256 << 20);
    assert!(parse::memory("0%").is_err() && parse::memory("101%").is_err() && parse::memory("1MB").is_err());
}

#[test]
fn the_time_of_a_query_is_in_seconds_minutes_or_an_hour() {
    for (text, seconds) in [("90", 90), ("90s", 90), (" 10m ", 600), ("1h", 3600), ("1s", 1)] {
        assert_eq!(
            parse::query_timeout(text).map(|time| time.as_secs()),
            Ok(seconds),
            "{text}"
        );
    }
    for wrong in ["", "0", "10ms", "2h", "3601", "-1s", "m", "99999999999999999999h"] {
        assert!(
            parse::query_timeout(wrong).unwrap_err().contains("from 1s to 1h"),
            "{wrong}"
        );
    }
}

#[test]
fn a_disk_reserve_is_a_share_a_size_or_nothing() {
    use engine::ingest::DiskReserve::{Bytes, Share};
    for (text, reserve) in [
        ("5%", Share(5)),
        ("0%", Share(0)),
        ("0", Bytes(0)),
        ("2GiB", Bytes(2 << 30)),
    ] {
        assert_eq!(parse::disk_reserve(text).unwrap(), reserve, "{text}");
    }
    for text in ["", "101%", "-1%", "half", "5 %%"] {
        assert!(parse::disk_reserve(text).is_err(), "{text}");
    }
}

#[test]
fn networks_contain_what_they_should() {
    let contains = |network: &str, address: &str| {
        let address: IpAddr = address.parse().unwrap();
        IpNetwork::parse_all(network)
            .unwrap()
            .iter()
            .any(|n| n.contains(address))
    };
    assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
    assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
    assert!(contains("0.0.0.0/0", "8.8.8.8") && !contains("0.0.0.0/0", "2001:db8::1"));
    assert!(contains("192.0.2.7", "192.0.2.7") && !contains("192.0.2.7", "192.0.2.6"));
    assert!(contains("private", "fd12::1") && contains("loopback", "::1"));
    for wrong in ["10.0.0.0/33", "ten", "::/129", "1.2.3.4/x"] {
        assert!(IpNetwork::parse_all(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_readme_lists_every_setting_as_it_is() {
    let readme = include_str!("../../../README.md");
    let listed = readme.split("<!-- settings -->").nth(1).unwrap();
    let listed = listed.split("<!-- /settings -->").next().unwrap();
    let listed: Vec<&str> = listed.lines().filter(|line| line.starts_with("| `")).collect();
    let quoted = |text: &str| {
        if text.is_empty() {
            String::new()
        } else {
            format!("`{text}`")
        }
    };
    let row = |setting: &Setting| {
        let others = setting
            .env
            .iter()
            .skip(1)
            .map(|name| format!(" Also read from `${name}`."));
        let (key, default) = (setting.key, quoted(setting.default));
        format!(
            "| `{key}` | {default} | {}{} |",
            setting.help,
            others.collect::<String>()
        )
    };
    let expected: Vec<String> = SETTINGS.iter().map(row).collect();
    assert_eq!(listed, expected);
}
