//! Addresses, cut as ClickHouse cuts them: by their characters, without checking that they are well formed, and giving the
//! empty text for what is not there.

use super::scalar::{Args, Text};
use super::strings::lists;
use arrow::array::ArrayRef;
use arrow::datatypes::UInt16Type;
use datafusion::common::Result as PlanResult;

/// The text after `//`, with or without letters, digits, `+`, `-`, `.` and a colon before it; none when there is none.
fn after_scheme(url: &str) -> Option<&str> {
    if let Some(rest) = url.strip_prefix("//") {
        return Some(rest);
    }
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let scheme = url.bytes().take_while(inside).count();
    if scheme > 0 {
        url[scheme..].strip_prefix("://")
    } else {
        None
    }
}

/// The host: what stands before a colon, a path, a query or a fragment, after an `@`. It has a dot in it, not as its last
/// letter.
fn host(url: &str) -> &str {
    let rest = after_scheme(url).unwrap_or(url);
    let (mut start, mut end, mut dot) = (0, rest.len(), None);
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            b'.' => dot = Some(at),
            b':' | b'/' | b'?' | b'#' => {
                end = at;
                break;
            }
            b'@' => start = at + 1,
            b' ' | b'\t' | b'<' | b'>' | b'%' | b'{' | b'}' | b'|' | b'\\' | b'^' | b'~' | b'[' | b']' | b';'
            | b'=' | b'&' => return "",
            _ => {}
        }
    }
    match dot {
        Some(dot) if start < end && dot + 1 < end => &rest[start..end],
        _ => "",
    }
}

fn without_www(host: &str) -> &str {
    host.strip_prefix("www.").unwrap_or(host)
}

/// The letters, digits, `+`, `-` and `.` that an address begins with, from a letter on.
fn scheme(url: &str) -> &str {
    if !url.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return "";
    }
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    &url[..url.bytes().take_while(inside).count()]
}

/// The scheme, when a colon and something more follows it.
fn protocol(url: &str) -> &str {
    let scheme = scheme(url);
    let rest = &url[scheme.len()..];
    if rest.len() >= 4 && rest.starts_with(':') {
        scheme
    } else {
        ""
    }
}

/// The last label of the host; none of an address of numbers.
fn top_level(host: &str) -> &str {
    let host = host.strip_suffix('.').unwrap_or(host);
    match host.rsplit_once('.') {
        Some((_, last)) if !last.bytes().next().is_some_and(|byte| byte.is_ascii_digit()) => last,
        _ => "",
    }
}

/// The path with what follows it: from the first `/` after the host.
fn path_full(url: &str) -> &str {
    let rest = match url.find("//") {
        Some(at) if url[..at].is_empty() || url[..at].ends_with(':') => &url[at + 2..],
        _ => url,
    };
    rest.find('/').map_or("", |at| &rest[at..])
}

fn path(url: &str) -> &str {
    let full = path_full(url);
    &full[..full.find(['?', '#']).unwrap_or(full.len())]
}

fn query(url: &str) -> &str {
    let rest = url.find('?').map_or("", |at| &url[at + 1..]);
    &rest[..rest.find('#').unwrap_or(rest.len())]
}

fn fragment(url: &str) -> &str {
    url.find('#').map_or("", |at| &url[at + 1..])
}

fn query_and_fragment(url: &str) -> &str {
    match (url.find('?'), url.find('#')) {
        (Some(at), _) => &url[at + 1..],
        (None, Some(at)) => &url[at..],
        (None, None) => "",
    }
}

fn cut_query_and_fragment(url: &str) -> &str {
    &url[..url.find('?').or_else(|| url.find('#')).unwrap_or(url.len())]
}

fn cut_fragment(url: &str) -> &str {
    &url[..url.find('#').unwrap_or(url.len())]
}

fn cut_query(url: &str) -> String {
    let Some(at) = url.find('?') else {
        return url.to_owned();
    };
    let end = url[at..].find('#').map_or(url.len(), |end| at + end);
    format!("{}{}", &url[..at], &url[end..])
}

fn cut_www(url: &str) -> String {
    let rest = url[scheme(url).len()..]
        .strip_prefix("://")
        .or_else(|| url.strip_prefix("//"));
    match rest.and_then(|rest| rest.strip_prefix("www.")) {
        Some(rest) => format!("{}{rest}", &url[..url.len() - rest.len() - 4]),
        None => url.to_owned(),
    }
}

/// User, host and port.
fn netloc(url: &str) -> &str {
    let rest = after_scheme(url).unwrap_or(url);
    &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())]
}

/// Labels that stand before a country's: `co.uk`.
const COMMON: &[&str] = &["com", "co", "org", "net", "edu", "gov", "mil", "ac"];

/// The host from its first significant label on.
fn first_significant(host: &str) -> &str {
    let mut dots = host.rmatch_indices('.').map(|(at, _)| at);
    let Some(last) = dots.next() else {
        return host;
    };
    let Some(second) = dots.next() else {
        return if last == 0 { "" } else { host };
    };
    let label = &host[second + 1..last];
    // `com.uk` is a name like any other.
    if !COMMON.contains(&label) || (label == "com" && host.ends_with(".uk")) {
        return &host[second + 1..];
    }
    match dots.next() {
        Some(third) => &host[third + 1..],
        None => host,
    }
}

fn significant(host: &str) -> &str {
    let from = first_significant(host);
    &from[..from.find('.').unwrap_or(from.len())]
}

macro_rules! parts {
    ($($(#[$doc:meta])* $name:ident $part:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name(args: &Args<'_>) -> PlanResult<ArrayRef> {
            let text = args.text(0)?;
            let part: fn(&str) -> &str = $part;
            args.pieces(|row| part(text.get(row)))
        }
    )*};
}

parts! {
    /// `protocol`.
    protocol_of protocol;
    /// `domain`.
    domain host;
    /// `domainWithoutWWW`.
    domain_without_www |url| without_www(host(url));
    /// `topLevelDomain`.
    top_level_domain |url| top_level(host(url));
    /// `firstSignificantSubdomain`.
    first_significant_subdomain |url| significant(without_www(host(url)));
    /// `cutToFirstSignificantSubdomain`.
    cut_to_first_significant |url| first_significant(without_www(host(url)));
    /// `cutToFirstSignificantSubdomainWithWWW`.
    cut_to_first_significant_www |url| first_significant(host(url));
    /// `path`.
    path_of path;
    /// `pathFull`.
    path_full_of path_full;
    /// `queryString`.
    query_string query;
    /// `fragment`.
    fragment_of fragment;
    /// `queryStringAndFragment`.
    query_string_and_fragment query_and_fragment;
    /// `cutFragment`.
    without_fragment cut_fragment;
    /// `cutQueryStringAndFragment`.
    without_query_and_fragment cut_query_and_fragment;
    /// `netloc`.
    netloc_of netloc;
}

macro_rules! changed {
    ($($(#[$doc:meta])* $name:ident $change:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name(args: &Args<'_>) -> PlanResult<ArrayRef> {
            let text = args.text(0)?;
            let change: fn(&str) -> String = $change;
            args.texts(|row, out| {
                out.push_str(&change(text.get(row)));
                Ok(())
            })
        }
    )*};
}

changed! {
    /// `cutQueryString`.
    without_query cut_query;
    /// `cutWWW`.
    without_www_of cut_www;
    /// `decodeURLComponent`.
    decode |text| decoded(text, false);
    /// `decodeURLFormComponent`.
    decode_form |text| decoded(text, true);
    /// `encodeURLComponent`.
    encode |text| encoded(text, "%20");
    /// `encodeURLFormComponent`.
    encode_form |text| encoded(text, "+");
}

fn decoded(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = bytes
            .get(at + 1..at + 3)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        let byte = pair
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            .filter(|_| bytes[at] == b'%' && bytes[at + 1] != b'+');
        match byte {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(if plus && bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn encoded(text: &str, space: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push_str(space),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// `port(url[, default])`: 0 when there is none.
pub fn port(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let text = args.text(0)?;
    let default = if args.len() > 1 { args.int(1)?.get(0) as u16 } else { 0 };
    args.numbers::<UInt16Type>(|row| {
        let url = text.get(row);
        let host = host(url);
        if host.is_empty() {
            return Ok(Some(default));
        }
        // The host is a piece of the address, so its end has a place in it.
        let end = host.as_ptr() as usize - url.as_ptr() as usize + host.len();
        let Some(rest) = url[end..].strip_prefix(':') else {
            return Ok(Some(default));
        };
        let digits = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        let fine = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        Ok(Some(
            digits
                .parse::<u16>()
                .ok()
                .filter(|port| fine && *port > 0)
                .unwrap_or(default),
        ))
    })
}

/// The parameters of an address, of its fragment too, each with the length of its name.
fn parameters(url: &str) -> Vec<(&str, usize)> {
    let mut all = Vec::new();
    let Some(mut at) = url.find(['?', '#']).map(|at| at + 1) else {
        return all;
    };
    while at < url.len() {
        let mut begin = at;
        let name_end = loop {
            let Some(found) = url[begin..].find(['=', '&', '#', '?']).map(|found| begin + found) else {
                return all;
            };
            if url.as_bytes()[found] != b'?' {
                break found;
            }
            begin = found + 1;
        };
        let end = match url.as_bytes()[name_end] {
            b'=' => url[name_end..]
                .find(['&', '#'])
                .map_or(url.len(), |found| name_end + found),
            _ => name_end,
        };
        all.push((&url[begin..end], name_end - begin));
        at = end + 1;
    }
    all
}

/// Where the value of a parameter begins and ends.
fn value_of(url: &str, name: &str) -> Option<(usize, usize)> {
    let pattern = format!("{name}=");
    let mut at = url.find(['?', '#'])?;
    while let Some(found) = url.get(at + 1..)?.find(&pattern).map(|found| at + 1 + found) {
        if matches!(url.as_bytes()[found - 1], b'?' | b'#' | b'&') {
            let begin = found + pattern.len();
            let end = url[begin..].find(['&', '#']).map_or(url.len(), |end| begin + end);
            return Some((begin, end));
        }
        at = found;
    }
    None
}

/// `extractURLParameter(url, name)`.
pub fn parameter(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (url, name) = (args.text(0)?, args.text(1)?);
    args.pieces(|row| {
        let url = url.get(row);
        value_of(url, name.get(row)).map_or("", |(begin, end)| &url[begin..end])
    })
}

/// `extractURLParameters(url)`.
pub fn parameter_list(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let url = args.text(0)?;
    lists(args, |row, list| {
        parameters(url.get(row))
            .iter()
            .for_each(|(one, _)| list.append_value(one));
        Ok(())
    })
}

/// `extractURLParameterNames(url)`.
pub fn parameter_names(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let url = args.text(0)?;
    lists(args, |row, list| {
        parameters(url.get(row))
            .iter()
            .for_each(|(one, name)| list.append_value(&one[..*name]));
        Ok(())
    })
}

/// `cutURLParameter(url, name)`.
pub fn without_parameter(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let (url, name): (Text, Text) = (args.text(0)?, args.text(1)?);
    args.texts(|row, out| {
        let (url, name) = (url.get(row), name.get(row));
        let Some((begin, end)) = value_of(url, name) else {
            out.push_str(url);
            return Ok(());
        };
        let begin = begin - name.len() - 1;
        // The separator after it goes with it, else an `&` before it.
        let (begin, end) = match (url.as_bytes().get(end), url.as_bytes()[begin - 1]) {
            (Some(b'&'), _) => (begin, end + 1),
            (_, b'&') => (begin - 1, end),
            _ => (begin, end),
        };
        out.push_str(&url[..begin]);
        out.push_str(&url[end..]);
        Ok(())
    })
}

/// `URLHierarchy(url)` and `URLPathHierarchy(url)`: the address up to each `/`, `?` and `#` after its host. What has no
/// scheme in small letters is one piece, and has no path.
pub fn hierarchy(args: &Args<'_>) -> PlanResult<ArrayRef> {
    let url = args.text(0)?;
    let paths = args.function() == "URLPathHierarchy";
    lists(args, |row, list| {
        let url = url.get(row);
        let (start, ends) = levels(url);
        let ends = ends.into_iter().skip(usize::from(paths));
        let from = if paths { start } else { 0 };
        ends.filter(|end| *end > from)
            .for_each(|end| list.append_value(&url[from..end]));
        Ok(())
    })
}

/// Where the host ends, and where each level does.
fn levels(url: &str) -> (usize, Vec<usize>) {
    let bytes = url.as_bytes();
    let is_separator = |at: &usize| matches!(bytes[*at], b'/' | b'?' | b'#');
    let small = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        .count();
    if small == 0 || !url[small..].starts_with("://") {
        return (url.len(), vec![url.len()]);
    }
    let host_end = (small + 3..url.len()).find(is_separator).unwrap_or(url.len());
    let mut ends = vec![(host_end + 1).min(url.len())];
    let mut at = host_end;
    while at < url.len() {
        let Some(begin) = (at..url.len()).find(|at| !is_separator(at)) else {
            break;
        };
        let end = (begin..url.len()).find(is_separator).map_or(url.len(), |end| end + 1);
        if ends.last() != Some(&end) {
            ends.push(end);
        }
        at = end;
    }
    (host_end, ends)
}
