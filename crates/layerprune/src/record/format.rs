//! Numbers as people read them; shared by the summary and all reports.

use super::{LatencyComparison, Proportion};

/// A number with its sign, `+0.4`, `−0.8`, or `0.0` where it rounds to nothing.
pub(crate) fn signed(value: f64, decimals: usize) -> String {
    let digits = format!("{:.decimals$}", value.abs());
    match digits.bytes().all(|byte| matches!(byte, b'0' | b'.')) {
        true => digits,
        false if value < 0.0 => format!("−{digits}"),
        false => format!("+{digits}"),
    }
}

/// A number with a sign only where it is below zero.
pub(crate) fn plain(value: f64, decimals: usize) -> String {
    signed(value, decimals).trim_start_matches('+').to_owned()
}

/// A number with about `digits` significant digits and no sign where it isn't below zero.
pub(crate) fn significant(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return "not finite".to_owned();
    }
    let scientific = format!("{value:.*e}", digits.saturating_sub(1));
    // After rounding: 999.9 has the magnitude of 1000.
    let magnitude: i32 = scientific.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    match magnitude {
        -4..9 => plain(value, usize::try_from(digits as i32 - 1 - magnitude).unwrap_or(0)),
        _ => scientific.replace('-', "−"),
    }
}

/// A time with three significant digits.
pub(crate) fn milliseconds(ms: f64) -> String {
    format!("{} ms", significant(ms, 3))
}

/// A median with its spread, which has two significant digits: `1.200 ± 0.012 ms`.
pub(crate) fn spread(median_ms: f64, mad_ms: f64) -> String {
    let decimals = |value: f64, digits: f64| match value.is_finite() && value > 0.0 {
        true => (digits - 1.0 - value.log10().floor()).clamp(0.0, 4.0) as usize,
        false => 0,
    };
    let decimals = decimals(median_ms, 3.0).max(decimals(mad_ms, 2.0));
    format!("{} ± {} ms", plain(median_ms, decimals), plain(mad_ms, decimals))
}

/// A count in thousands, millions or milliards.
pub(crate) fn count(value: u64) -> String {
    scaled(value, ["", " k", " M", " G", " T"])
}

/// A file size in powers of 1000.
pub(crate) fn bytes(value: u64) -> String {
    scaled(value, [" B", " kB", " MB", " GB", " TB"])
}

fn scaled(value: u64, units: [&str; 5]) -> String {
    if value < 1000 {
        return format!("{value}{}", units[0]);
    }
    let mut scaled = value as f64;
    let mut unit = 0;
    while scaled >= 999.5 && unit + 1 < units.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    format!("{}{}", significant(scaled, 3), units[unit])
}

/// A count with its digits in groups of three.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let first = digits.len() % 3;
    let mut text = digits[..first].to_owned();
    for start in (first..digits.len()).step_by(3) {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&digits[start..start + 3]);
    }
    text
}

/// A proportion with its interval, `92.1 % (91.5 to 92.6)`.
pub(crate) fn proportion(value: &Proportion) -> String {
    let [low, high] = value.interval;
    format!("{} % ({} to {})", plain(value.percent, 1), plain(low, 1), plain(high, 1))
}

/// Under what circumstances a comparison was made, as far as they differ within `among`: `batch 1, 2 threads`.
pub(crate) fn circumstances(one: &LatencyComparison, among: &[LatencyComparison]) -> String {
    let mut text = format!("batch {}", one.batch);
    if among.iter().any(|other| other.threads != one.threads) {
        text.push_str(&format!(", {}", threads(one.threads)));
    }
    if among.iter().any(|other| other.engine != one.engine) {
        text.push_str(&format!(", {} {}", one.engine.name, one.engine.version));
    }
    if among.iter().any(|other| other.batch == one.batch && other.shape != one.shape) {
        text.push_str(&format!(", input {}", shape(&one.shape)));
    }
    text
}

/// `1 thread`, `2 threads`.
pub(crate) fn threads(count: usize) -> String {
    counted(count as u64, "thread", "threads")
}

/// A count with its noun.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A shape as text, `1 x 3 x 32 x 32`.
pub(crate) fn shape(dims: &[usize]) -> String {
    dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_shown_but_never_on_zero() {
        assert_eq!(signed(0.44, 1), "+0.4");
        assert_eq!(signed(-0.84, 1), "−0.8");
        assert_eq!(signed(-0.04, 1), "0.0");
        assert_eq!(plain(3.0, 1), "3.0");
    }

    #[test]
    fn numbers_keep_their_significant_digits_at_every_size() {
        assert_eq!(milliseconds(0.012_34), "0.0123 ms");
        assert_eq!(milliseconds(1.456), "1.46 ms");
        assert_eq!(milliseconds(80.06), "80.1 ms");
        assert_eq!(milliseconds(12_345.6), "12346 ms");
        assert_eq!(significant(0.0, 3), "0.00");
        assert_eq!(significant(-0.000_012_3, 3), "−1.23e−5");
        assert_eq!(significant(f64::NAN, 3), "not finite");
    }

    #[test]
    fn a_median_has_as_many_decimals_as_its_spread() {
        assert_eq!(spread(1.2, 0.012), "1.200 ± 0.012 ms");
        assert_eq!(spread(80.06, 1.23), "80.1 ± 1.2 ms");
        assert_eq!(spread(812.3, 0.0), "812 ± 0 ms");
    }

    #[test]
    fn counts_take_the_unit_that_fits() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(853_018), "853 k");
        assert_eq!(count(999_999), "1.00 M");
        assert_eq!(count(125_485_706), "125 M");
        assert_eq!(bytes(3_412_000), "3.41 MB");
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(853_018), "853,018");
        assert_eq!(grouped(1_000_007), "1,000,007");
    }
}
