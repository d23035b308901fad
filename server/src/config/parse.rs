//! From a setting's text to its value. Each error says what may be written instead.

use super::Secret;
use engine::ingest::DiskReserve;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

const MIB: u64 = 1024 * 1024;
/// Least memory a share gives: below it the buffer and a query no longer fit side by side.
const MEMORY_SHARE_BYTES_MIN: u64 = 256 * MIB;
/// Most memory a share gives: more is taken only when asked for by size.
const MEMORY_SHARE_BYTES_MAX: u64 = 8 * 1024 * MIB;
/// Least memory that may be set: the engine does not run in less.
const MEMORY_BYTES_MIN: u64 = 64 * MIB;
/// Memory assumed where the system does not tell.
const MEMORY_BYTES_UNKNOWN: u64 = 4 * 1024 * MIB;

type Parsed<T> = Result<T, String>;

pub(super) fn optional(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

pub(super) fn non_empty(text: &str) -> Parsed<&str> {
    optional(text).ok_or_else(|| "it must not be empty".to_owned())
}

pub(super) fn number<T: FromStr>(text: &str) -> Parsed<T> {
    let digits = text.replace('_', "");
    digits.parse().map_err(|_| "write a whole number".to_owned())
}

pub(super) fn positive<T: FromStr + PartialEq + Default>(text: &str) -> Parsed<T> {
    let value: T = number(text)?;
    if value == T::default() {
        return Err("it must be at least 1".to_owned());
    }
    Ok(value)
}

/// A number and `s`, `m`, `h` or `d`, such as `12h`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..) {
        Some("s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        Some("d") => 86_400,
        _ => return None,
    };
    let count: u64 = digits.parse().ok()?;
    count.checked_mul(unit).map(Duration::from_secs)
}

/// `90`, `90s`, `10m` or `1h`, which is the most: nobody waits longer, and what a query holds is held as long.
pub(super) fn query_timeout(text: &str) -> Parsed<Duration> {
    let text = text.trim();
    let time = duration(text).or_else(|| number(text).ok().map(Duration::from_secs));
    let time = time.filter(|time| (1..=3600).contains(&time.as_secs()));
    time.ok_or_else(|| "write a time such as `90s` or `10m`, from 1s to 1h".to_owned())
}

/// Days of `400` or `400d`.
pub(crate) fn days(text: &str) -> Parsed<u32> {
    let digits = text.trim().trim_end_matches('d');
    let days = number(digits).ok().filter(|days| (1..=36_500).contains(days));
    days.ok_or_else(|| "write days such as `400d`, from 1d to 36500d".to_owned())
}

pub(super) fn flag(text: &str) -> Parsed<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("write `true` or `false`".to_owned()),
    }
}

pub(super) fn list<T>(text: &str, item: impl Fn(&str) -> Parsed<T>) -> Parsed<Vec<T>> {
    text.split(',').filter_map(optional).map(item).collect()
}

pub(super) fn pairs(text: &str) -> Parsed<Vec<(String, Secret)>> {
    list(text, |pair| match pair.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_ascii_lowercase(), Secret::new(value.trim()))),
        None => Err("write `key=value`, several separated by commas".to_owned()),
    })
}

pub(super) fn socket_address(text: &str) -> Parsed<SocketAddr> {
    if let Ok(port) = text.trim_start_matches(':').parse::<u16>() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    let text = text.replacen("localhost:", "127.0.0.1:", 1);
    text.parse()
        .map_err(|_| "write an address and a port such as `127.0.0.1:4000` or `[::]:4000`".to_owned())
}

pub(super) fn base_path(text: &str) -> Parsed<String> {
    let path = text.trim_end_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
    if path.is_empty() || !path.starts_with('/') || !path.chars().all(plain) || path.contains("//") {
        return Err("write a path such as `/cubejs-api`".to_owned());
    }
    Ok(path.to_owned())
}

/// A URL that can be fetched.
pub(super) fn http_url(text: &str) -> Parsed<String> {
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(text.to_owned()),
        _ => Err("write a URL such as `https://example.com/.well-known/jwks.json`".to_owned()),
    }
}

/// An object store's URL; a plain path is made a `file:` URL.
pub(super) fn store_url(text: &str) -> Parsed<String> {
    const SCHEMES: &[&str] = &[
        "file", "s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "http", "https", "memory",
    ];
    let wrong = || format!("write a URL that begins with one of {}", SCHEMES.join(", "));
    match text.split_once(':') {
        Some((scheme, _)) if SCHEMES.contains(&scheme) => Ok(text.to_owned()),
        Some(_) => Err(wrong()),
        None => {
            let path = std::path::absolute(text).map_err(|error| error.to_string())?;
            let url = url::Url::from_directory_path(path).map_err(|()| wrong())?;
            Ok(url.into())
        }
    }
}

/// Bytes of `512`, `512KB`, `64 MiB`, `2g`. Units are powers of 1024 with and without the `i`.
pub(super) fn size(text: &str) -> Parsed<usize> {
    let wrong = || "write a size such as `512MB` or `2GiB`".to_owned();
    let text = text.trim().to_ascii_lowercase();
    let digits_end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let factor: u64 = match unit.trim() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1024,
        "m" | "mb" | "mib" => MIB,
        "g" | "gb" | "gib" => 1024 * MIB,
        "t" | "tb" | "tib" => 1024 * 1024 * MIB,
        _ => return Err(wrong()),
    };
    let amount: f64 = digits.parse().map_err(|_| wrong())?;
    let bytes = amount * factor as f64;
    if !(1.0..9e15).contains(&bytes) {
        return Err(wrong());
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be in range just above"
    )]
    usize::try_from(bytes as u64).map_err(|_| wrong())
}

/// A size, or a share of the machine's memory in per cent.
pub(super) fn memory(text: &str) -> Parsed<usize> {
    let bytes = match text.trim().strip_suffix('%') {
        Some(share) => {
            let share: u64 = share
                .trim()
                .parse()
                .ok()
                .filter(|share| (1..=100).contains(share))
                .ok_or_else(|| "write a share from `1%` to `100%`".to_owned())?;
            let bytes = machine_memory_bytes() / 100 * share;
            bytes.clamp(MEMORY_SHARE_BYTES_MIN, MEMORY_SHARE_BYTES_MAX)
        }
        None => size(text).map_err(|_| "write a size such as `512MB` or a share such as `25%`".to_owned())? as u64,
    };
    if bytes < MEMORY_BYTES_MIN {
        return Err(format!("it must be at least {} MiB", MEMORY_BYTES_MIN / MIB));
    }
    usize::try_from(bytes).map_err(|_| "it is more than this machine can address".to_owned())
}

/// A share of a disk in per cent, a size, or 0.
pub(super) fn disk_reserve(text: &str) -> Parsed<DiskReserve> {
    let wrong = || "write a share from `0%` to `100%`, a size such as `2GiB`, or `0`".to_owned();
    let text = text.trim();
    if text == "0" {
        return Ok(DiskReserve::Bytes(0));
    }
    match text.strip_suffix('%') {
        Some(share) => {
            let share = share.trim().parse().ok().filter(|share| *share <= 100);
            share.map(DiskReserve::Share).ok_or_else(wrong)
        }
        None => size(text)
            .map(|bytes| DiskReserve::Bytes(bytes as u64))
            .map_err(|_| wrong()),
    }
}

/// The machine's memory, or a container's limit when that is lower.
fn machine_memory_bytes() -> u64 {
    let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib * 1024)
    });
    let limits = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let limit = limits
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    let total = total.unwrap_or(MEMORY_BYTES_UNKNOWN);
    limit.map_or(total, |limit| limit.min(total))
}
