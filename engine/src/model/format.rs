//! Display formats of members: which there are, and which d3-format specification stands behind a name.

use super::DimensionType;

/// Families of named formats with up to six decimals, as in `percent_1`: name, text before and after the decimals, and
/// whether the bare name means two decimals. `number`, `percent` and `currency` without a number are formats of their own.
const FAMILIES: &[(&str, &str, &str, bool)] = &[
    ("number", ",.", "f", false),
    ("percent", ".", "%", false),
    ("currency", "$,.", "f", false),
    ("decimal", ",.", "f", true),
    ("abbr", ".", "s", true),
    ("accounting", "(,.", "f", true),
];

/// The specification of a named numeric format, as Cube 1.7.43 has it: `percent_1` is `.1~%`.
pub fn named(name: &str) -> Option<String> {
    if name == "id" {
        return Some(".0f".to_owned());
    }
    let (family, decimals) = match name.rsplit_once('_') {
        Some((family, digits)) if digits.len() == 1 => (family, Some(digits.parse::<u8>().ok().filter(|n| *n <= 6)?)),
        _ => (name, None),
    };
    let (known, before, after, bare) = FAMILIES.iter().find(|(known, ..)| *known == family)?;
    let decimals = match decimals {
        None if *bare => 2,
        None => return None,
        Some(decimals) => decimals,
    };
    // Without decimals there is nothing to trim, and Cube does not ask for it but in `abbr`.
    let trim = if decimals == 0 && *known != "abbr" { "" } else { "~" };
    Some(format!("{before}{decimals}{trim}{after}"))
}

/// Formats with names that clients know.
const STANDARD: &[&str] = &["imageUrl", "link", "currency", "percent", "number", "id"];
/// Letters after `%` in time formats.
const TIME_LETTERS: &str = "aAbBcdHIjmMnpStUwWxXyYZ%efgGLqQsuV";
/// Types of d3's numeric formats.
const NUMERIC_TYPES: &str = "efgrs%pbodxXcn";

/// Checks the format of a dimension.
///
/// # Errors
/// The reason, in Cube's words.
pub fn check_dimension(name: &str, kind: DimensionType) -> Result<(), String> {
    if STANDARD.contains(&name) {
        return Ok(());
    }
    match kind {
        DimensionType::Time => check_time(name),
        DimensionType::Number => check_number(name),
        _ => Err(format!("must be one of [{}, object]", STANDARD.join(", "))),
    }
}

/// Checks the format of a measure.
///
/// # Errors
/// The reason, in Cube's words.
pub fn check_measure(name: &str) -> Result<(), String> {
    if ["percent", "currency", "number"].contains(&name) {
        return Ok(());
    }
    check_number(name)
}

fn check_time(format: &str) -> Result<(), String> {
    let mut chars = format.chars();
    let mut any = false;
    while let Some(c) = chars.next() {
        if c != '%' {
            continue;
        }
        match chars.next() {
            None => {
                return Err(format!(
                    "Invalid time format \"{format}\". Incomplete specifier at end of string"
                ));
            }
            Some(letter) if !TIME_LETTERS.contains(letter) => {
                return Err(format!(
                    "Invalid time format \"{format}\". Unknown specifier '%{letter}'"
                ));
            }
            Some(letter) => any |= letter != '%',
        }
    }
    if any {
        return Ok(());
    }
    Err(format!(
        "Invalid strptime format \"{format}\". Format must contain at least one strptime specifier (e.g., %Y, %m, %d)"
    ))
}

/// A named format or `[[fill]align][sign][symbol][0][width][,][.precision][~][type]`.
fn check_number(format: &str) -> Result<(), String> {
    if named(format).is_some() {
        return Ok(());
    }
    let mut rest: &str = format;
    let mut chars = rest.chars();
    let (first, second) = (chars.next(), chars.next());
    let aligns = |c: Option<char>| c.is_some_and(|c| "<>=^".contains(c));
    let skipped = match (aligns(first), aligns(second)) {
        (_, true) => first.map_or(0, char::len_utf8) + 1,
        (true, false) => 1,
        _ => 0,
    };
    rest = rest.get(skipped..).unwrap_or_default();
    let mut said = false;
    let mut one_of = |allowed: &str, rest: &mut &str| {
        if let Some(tail) = rest.strip_prefix(|c: char| allowed.contains(c)) {
            *rest = tail;
            said = true;
        }
    };
    one_of("+-( ", &mut rest);
    one_of("$#", &mut rest);
    let width = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    said |= width.len() != rest.len();
    rest = width;
    if let Some(tail) = rest.strip_prefix(',') {
        (rest, said) = (tail, true);
    }
    if let Some(tail) = rest.strip_prefix('.') {
        let digits = tail.trim_start_matches(|c: char| c.is_ascii_digit());
        if digits.len() != tail.len() {
            (rest, said) = (digits, true);
        }
    }
    if let Some(tail) = rest.strip_prefix('~') {
        (rest, said) = (tail, true);
    }
    if let Some(tail) = rest.strip_prefix(|c: char| NUMERIC_TYPES.contains(c.to_ascii_lowercase()) || c == 'X') {
        (rest, said) = (tail, true);
    }
    if rest.is_empty() && said {
        return Ok(());
    }
    Err(format!(
        "Invalid numeric format \"{format}\". Must be a valid d3-format specifier (e.g., \".2f\", \",.0f\", \"$,.2f\", \
         \".0%\", \".2s\")"
    ))
}

/// ISO 4217 codes.
const CURRENCIES: &str = "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN \
    BZD CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD \
    HKD HNL HRK HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD \
    MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR \
    RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX \
    USD UYU UZS VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWL";

/// Whether `code`, in capitals, is a currency.
pub fn is_currency(code: &str) -> bool {
    CURRENCIES.split_whitespace().any(|known| known == code)
}

#[cfg(test)]
mod tests;
