use std::str::FromStr;
use std::time::Duration;

use layerprune::stats::median;
use regex::Regex;

use super::error::CommandError;

/// Where the latency of a run of a command is read.
///
/// ```
/// use layerprune_infer::TimeSource;
///
/// assert!(matches!("reported".parse(), Ok(TimeSource::Reported)));
/// assert!(matches!(r"median = ([0-9.]+) ms".parse(), Ok(TimeSource::Pattern(_))));
/// assert!("no group".parse::<TimeSource>().is_err());
/// ```
#[derive(Debug, Clone)]
pub enum TimeSource {
    /// Lines `latency_ms: NUMBER` on its standard output, or `latency_s`, `latency_us`, `latency_ns`; each is a sample, and
    /// their median counts.
    Reported,
    /// The first group, in milliseconds, of each match on its standard output; the median of all counts.
    Pattern(Regex),
    /// Its own time from start to end.
    Wall,
}

impl FromStr for TimeSource {
    type Err = String;

    /// `reported`, `wall`, or a regular expression with a group.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "reported" => Ok(Self::Reported),
            "wall" => Ok(Self::Wall),
            pattern => {
                let pattern = Regex::new(pattern).map_err(|error| error.to_string())?;
                if pattern.captures_len() < 2 {
                    return Err("it has no group `(...)` around the milliseconds".to_owned());
                }
                Ok(Self::Pattern(pattern))
            }
        }
    }
}

impl TimeSource {
    /// The latency of a run that took `took` and printed this.
    pub(super) fn read(&self, took: Duration, stdout: &str, stderr: String) -> Result<Duration, CommandError> {
        let found: Vec<(&str, f64)> = match self {
            Self::Wall => return Ok(took),
            Self::Reported => stdout.lines().filter_map(reported).collect(),
            Self::Pattern(pattern) => {
                let groups = pattern.captures_iter(stdout).filter_map(|found| found.get(1));
                groups.map(|group| (group.as_str(), 1e-3)).collect()
            }
        };
        let seconds = found.into_iter().map(|(number, unit)| seconds(number, unit));
        let seconds = seconds.collect::<Result<Vec<_>, _>>()?;
        match median(&seconds) {
            Some(seconds) => Ok(Duration::from_secs_f64(seconds)),
            None => Err(CommandError::NoTime { expected: self.to_string(), stdout: stdout.to_owned(), stderr }),
        }
    }
}

impl std::fmt::Display for TimeSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reported => f.write_str("line `latency_ms: NUMBER`"),
            Self::Pattern(pattern) => write!(f, "text that `{pattern}` matches"),
            Self::Wall => f.write_str("time"),
        }
    }
}

/// The number of a line that tells a latency, and its unit in seconds.
fn reported(line: &str) -> Option<(&str, f64)> {
    let (name, number) = line.split_once(':')?;
    let unit = match name.trim() {
        "latency_s" => 1.0,
        "latency_ms" => 1e-3,
        "latency_us" => 1e-6,
        "latency_ns" => 1e-9,
        _ => return None,
    };
    Some((number.trim(), unit))
}

/// Refuses what no clock shows: also less than a nanosecond, and more than a year.
fn seconds(number: &str, unit: f64) -> Result<f64, CommandError> {
    let seconds = number.parse::<f64>().ok().map(|number| number * unit);
    let seconds = seconds.filter(|seconds| (1e-9..3e7).contains(seconds));
    seconds.ok_or_else(|| CommandError::NotATime { found: number.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str, stdout: &str) -> Result<Duration, String> {
        let source: TimeSource = source.parse().unwrap();
        let took = Duration::from_millis(70);
        source.read(took, stdout, String::new()).map_err(|error| error.to_string())
    }

    #[test]
    fn reported_lines_are_read_in_all_units_and_their_median_counts() {
        let ms = |ms: f64| Ok(Duration::from_secs_f64(ms / 1e3));
        assert_eq!(read("reported", "hello\nlatency_ms: 2.5\nbye: 7\n"), ms(2.5));
        assert_eq!(read("reported", "latency_s: 0.002\n latency_us: 4000 \r\nlatency_ns:3000000\n"), ms(3.0));
        assert_eq!(read("reported", "latency_ms: 1\nlatency_ms: 9\nlatency_ms: 2"), ms(2.0));
    }

    #[test]
    fn a_pattern_gives_milliseconds() {
        let output = "[I] Latency: min = 1.2 ms, median = 1.5 ms\n[I] H2D Latency: min = 0.1 ms, median = 0.25 ms\n";
        assert_eq!(read(r"\bLatency: .*median = ([0-9.]+) ms", output), Ok(Duration::from_micros(875)));
        assert_eq!(read(r"(?m)^\[I\] Latency: .*median = ([0-9.]+) ms", output), Ok(Duration::from_micros(1500)));
    }

    #[test]
    fn the_wall_time_needs_no_output() {
        assert_eq!(read("wall", "anything"), Ok(Duration::from_millis(70)));
    }

    #[test]
    fn output_without_a_latency_is_shown() {
        let error = read("reported", "one\ntwo\n").unwrap_err();
        assert_eq!(error, "it printed no line `latency_ms: NUMBER`; standard output:\n    one\n    two");
        let error = read("took ([0-9]+)", "").unwrap_err();
        assert_eq!(error, "it printed no text that `took ([0-9]+)` matches; standard output is empty");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for number in ["fast", "", "0", "-1", "NaN", "inf", "1e-9", "1e300", "1,5"] {
            let error = read("reported", &format!("latency_ms: 2\nlatency_ms: {number}\n")).unwrap_err();
            assert_eq!(error, format!("it tells a latency of `{number}`, expected a positive number"));
        }
        assert!(read("took (.*) ms", "took ages ms").unwrap_err().contains("`ages`"));
    }

    #[test]
    fn patterns_that_cannot_be_used_are_refused() {
        let refused = |text: &str| text.parse::<TimeSource>().unwrap_err();
        assert_eq!(refused("median"), "it has no group `(...)` around the milliseconds");
        assert!(refused("(").contains("unclosed group"), "{}", refused("("));
    }
}
