//! Amounts of money as exact millionths.

use engine::event::schema::{DECIMAL_PRECISION, DECIMAL_SCALE};

/// Reads a decimal number (`19.99`, `-5`, `1.5e3`) into millionths, rounding further digits half away from zero.
/// Nothing when it is no number or too large for the column.
pub(crate) fn amount(text: &str) -> Option<i128> {
    let text = text.trim();
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    // 40 digits are more than any amount has, and fit no i128 after scaling.
    if digits().next().is_none() || !digits().all(|b| b.is_ascii_digit()) || mantissa.len() > 40 || exponent.abs() > 60
    {
        return None;
    }
    // Where the point stands among the digits, once the value is counted in millionths.
    let kept = i32::try_from(whole.len()).ok()? + exponent + i32::from(DECIMAL_SCALE);
    let mut value: i128 = 0;
    for at in 0..kept.max(0) {
        let digit = usize::try_from(at)
            .ok()
            .and_then(|at| digits().nth(at))
            .map_or(0, |b| i128::from(b - b'0'));
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    let next = usize::try_from(kept).ok().and_then(|at| digits().nth(at));
    if next.is_some_and(|b| b >= b'5') {
        value += 1;
    }
    let bound = 10_i128.pow(u32::from(DECIMAL_PRECISION));
    (value < bound).then_some(if negative { -value } else { value })
}
