//! What on this machine makes latencies unsteady. Read from Linux' `/proc` and `/sys`; elsewhere nothing is said.

use std::fs;
use std::path::Path;

use layerprune::record::Warning;

/// Other programs may take this share of all processors before it is said.
const LARGEST_SHARE: f64 = 0.1;
/// Ticks of all processors, a hundredth of a second each, below which the counts are too coarse.
const FEWEST_TICKS: u64 = 50;

/// Processor time used so far, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    cores: usize,
    /// Of all processors, idle or not.
    total: u64,
    /// In use by anybody.
    busy: u64,
    /// In use by this program and those it has waited for.
    own: u64,
}

impl Usage {
    pub(crate) fn read() -> Option<Self> {
        let (all, own) = (fs::read_to_string("/proc/stat").ok()?, fs::read_to_string("/proc/self/stat").ok()?);
        Self::parse(&all, &own)
    }

    fn parse(all: &str, own: &str) -> Option<Self> {
        let cores = all.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count();
        let counts = all.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
        // Guests' time, from the ninth count on, is part of the user's.
        let counts: Vec<u64> = counts.take(8).map_while(|count| count.parse().ok()).collect();
        let [_, _, _, idle, waiting, ..] = counts[..] else { return None };
        let total: u64 = counts.iter().sum();
        // The program's name, in brackets, may hold spaces. Behind it: user, system, and both of programs waited for.
        let own = own.rsplit_once(')')?.1.split_whitespace().skip(11).take(4);
        let own = own.map(|count| count.parse::<u64>().ok()).sum::<Option<u64>>()?;
        (cores > 0).then_some(Self { cores, total, busy: total - idle - waiting, own })
    }

    /// What to say of other programs that ran between two readings.
    pub(crate) fn warning(before: &Self, after: &Self) -> Option<Warning> {
        let total = after.total.saturating_sub(before.total);
        let busy = after.busy.saturating_sub(before.busy);
        let others = busy.saturating_sub(after.own.saturating_sub(before.own));
        if total < FEWEST_TICKS || others as f64 <= LARGEST_SHARE * total as f64 {
            return None;
        }
        Some(Warning::OtherLoad { busy_cores: others as f64 / total as f64 * after.cores as f64, cores: after.cores })
    }
}

/// What to say of processors whose frequency changes with the load.
pub(crate) fn frequency_scaling() -> Option<Warning> {
    scaling_in(Path::new("/sys/devices/system/cpu"))
}

fn scaling_in(folder: &Path) -> Option<Warning> {
    let entries = fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let governors = entries.filter_map(|entry| fs::read_to_string(entry.path().join("cpufreq/scaling_governor")).ok());
    let governor = governors.map(|text| text.trim().to_owned()).filter(|governor| governor != "performance").min()?;
    Some(Warning::FrequencyScaling { governor })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str =
        "cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 50 0 25 400 25 0 0 0 0 0\ncpu1 50 0 25 400 25 0 0 0 0 0\nintr 5\n";
    const OWN: &str = "7 (a (b) c) S 1 7 7 0 -1 4194304 100 0 0 0 30 10 2 3 20 0 1 0 1000 1 1\n";

    #[test]
    fn usage_is_read_from_what_the_system_writes() {
        assert_eq!(Usage::parse(ALL, OWN), Some(Usage { cores: 2, total: 1000, busy: 150, own: 45 }));
        assert_eq!(Usage::parse("", OWN), None);
        assert_eq!(Usage::parse(ALL, "7 (a) S 1"), Some(Usage { cores: 2, total: 1000, busy: 150, own: 0 }));
        assert_eq!(Usage::parse("cpu  1 2\ncpu0 1 2\n", OWN), None);
    }

    #[test]
    fn other_programs_are_told_and_this_one_is_not() {
        let before = Usage { cores: 2, total: 1000, busy: 100, own: 50 };
        let own = Usage { cores: 2, total: 1200, busy: 200, own: 150 };
        assert_eq!(Usage::warning(&before, &own), None);
        let other = Usage { own: 100, ..own };
        assert_eq!(Usage::warning(&before, &other), Some(Warning::OtherLoad { busy_cores: 0.5, cores: 2 }));
        let brief = Usage { total: 1040, busy: 140, own: 50, ..own };
        assert_eq!(Usage::warning(&before, &brief), None);
    }

    #[test]
    fn a_governor_other_than_performance_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let set = |name: &str, governor: &str| {
            let path = folder.path().join(name).join("cpufreq");
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("scaling_governor"), governor).unwrap();
        };
        assert_eq!(scaling_in(folder.path()), None);
        set("cpu0", "performance\n");
        assert_eq!(scaling_in(folder.path()), None);
        set("cpu1", "powersave\n");
        assert_eq!(scaling_in(folder.path()), Some(Warning::FrequencyScaling { governor: "powersave".to_owned() }));
        assert_eq!(scaling_in(&folder.path().join("none")), None);
    }
}
