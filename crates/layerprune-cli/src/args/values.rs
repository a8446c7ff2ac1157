//! Reads the values of flags.

use layerprune::criteria::Normalize;

/// `40%` or `40` as 40.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim_end();
    match number.parse::<f64>() {
        Ok(value) if value > 0.0 && value < 100.0 => Ok(value),
        _ => Err(format!("`{text}` is no percentage between 0 and 100")),
    }
}

/// `12ms`, `800us`, `1.5s` or `12` in milliseconds.
pub(super) fn milliseconds(text: &str) -> Result<f64, String> {
    let number = text.trim();
    let (number, scale) = [("ms", 1.0), ("us", 1e-3), ("µs", 1e-3), ("s", 1e3)]
        .into_iter()
        .find_map(|(unit, scale)| Some((number.strip_suffix(unit)?, scale)))
        .unwrap_or((number, 1.0));
    above(number.trim_end(), 0.0).map(|number| number * scale).ok_or(format!("`{text}` is no time such as `12ms`"))
}

/// `1.5x` or `1.5`.
pub(super) fn times(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches(['x', '×']).trim_end();
    above(number, 1.0).ok_or(format!("`{text}` is no factor above 1 such as `1.5x`"))
}

fn above(text: &str, least: f64) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite() && *number > least)
}

/// A normalisation by its name in files.
pub(super) fn normalize(text: &str) -> Result<Normalize, String> {
    serde_json::from_value(serde_json::json!(text)).map_err(|_| "it is none of none, per-param, max, rank".to_owned())
}

/// A whole number above 0.
pub(super) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it has to be above 0".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("it is no whole number above 0".to_owned()),
    }
}

/// A time of up to a day.
pub(super) fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number <= 86_400.0 => Ok(number),
        _ => Err("it is no number of seconds above 0, up to 86400".to_owned()),
    }
}

/// A finite number of at least 0.
pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err("it is no number of at least 0".to_owned()),
    }
}
