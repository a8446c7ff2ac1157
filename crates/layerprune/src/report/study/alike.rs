//! Models made by lot whose latency fell alike: what removing layers or filters costs at equal speed.

use std::collections::BTreeMap;

use super::super::markdown::{Left, Right, escaped, table};
use super::data::told_in_full;
use crate::record::format::{counted, plain, signed};
use crate::record::{Spread, Study, TimedBy};
use crate::stats::Z_95;

/// Latency reductions within so many points are alike.
const BAND: f64 = 10.0;

/// Top-1 of models that lost layers less that of models that lost filters, in points, at equal latency.
///
/// Models are put in bands of ten points of latency reduction, and bands without one of both kinds are left out. The difference is
/// the mean of those of the bands, weighted by `n_l n_f / (n_l + n_f)` for `n_l` and `n_f` models: the least-squares estimate where
/// accuracy is a sum of what the band and what the kind brings.
#[derive(Debug, PartialEq)]
pub(super) struct Alike {
    /// Models that were compared: without layers, without filters.
    pub(super) models: [usize; 2],
    /// Percent of latency reduction, from the lowest band to the end of the highest.
    pub(super) between: [f64; 2],
    pub(super) difference: f64,
    /// Half the width of the 95 % interval, by the spread within the bands.
    pub(super) margin: f64,
}

impl Alike {
    /// `None` where no band holds both kinds, or none several of one.
    pub(super) fn of(study: &Study, by: &TimedBy) -> Option<Self> {
        let mut bands: BTreeMap<i64, [Vec<f64>; 2]> = BTreeMap::new();
        for row in &study.random {
            let latency = by.find(&row.latency).map(|latency| latency.latency_reduction_percent);
            let kind = ["layers", "filters"].iter().position(|kind| *kind == row.removes);
            if let (Some(latency), Some(kind), Some(accuracy)) = (latency, kind, &row.accuracy) {
                bands.entry((latency / BAND).floor() as i64).or_default()[kind].push(accuracy.top1.percent);
            }
        }
        bands.retain(|_, kinds| kinds.iter().all(|top1| !top1.is_empty()));
        let (mut weights, mut differences, mut squares, mut freedom) = (0.0, 0.0, 0.0, 0);
        for kinds in bands.values() {
            let [layers, filters] = [Spread::of(&kinds[0])?, Spread::of(&kinds[1])?];
            let [many_layers, many_filters] = kinds.each_ref().map(|top1| top1.len() as f64);
            let weight = many_layers * many_filters / (many_layers + many_filters);
            weights += weight;
            differences += weight * (layers.mean - filters.mean);
            for (top1, spread) in kinds.iter().zip([layers, filters]) {
                squares += spread.deviation.map_or(0.0, |deviation| deviation.powi(2) * (top1.len() - 1) as f64);
                freedom += top1.len() - 1;
            }
        }
        let [lowest, highest] = [bands.keys().next()?, bands.keys().next_back()?].map(|band| *band as f64 * BAND);
        (freedom > 0).then(|| Self {
            models: [0, 1].map(|kind| bands.values().map(|kinds| kinds[kind].len()).sum()),
            between: [lowest, highest + BAND],
            difference: differences / weights,
            margin: Z_95 * (squares / freedom as f64 / weights).sqrt(),
        })
    }

    fn is_noise(&self) -> bool {
        self.difference.abs() <= self.margin
    }

    fn verdict(&self) -> String {
        let points = format!("{} points of top-1 (±{})", plain(self.difference.abs(), 2), plain(self.margin, 2));
        match (self.is_noise(), self.difference > 0.0) {
            (true, _) => {
                format!("At equal latency, layers and filters by lot cannot be told apart: they differ by {points}.")
            }
            (false, true) => format!("At equal latency, removing layers by lot is ahead by {points}."),
            (false, false) => format!("At equal latency, removing filters by lot is ahead by {points}."),
        }
    }
}

/// The comparison for every way of timing that has models to compare.
pub(super) struct Comparisons {
    timed: Vec<TimedBy>,
    all: Vec<(TimedBy, Alike)>,
}

impl Comparisons {
    pub(super) const COLUMNS: [&str; 5] = [
        "timed by",
        "latency reductions %",
        "models without layers",
        "models without filters",
        "layers less filters, points of top-1",
    ];

    pub(super) fn of(study: &Study) -> Self {
        let timed = study.timed();
        let all = timed.iter().filter_map(|by| Some((by.clone(), Alike::of(study, by)?))).collect();
        Self { timed, all }
    }

    /// Which kind is ahead at equal latency.
    pub(super) fn verdict(&self) -> Option<String> {
        let mut text = match self.all.as_slice() {
            [] => return None,
            [(_, only)] => only.verdict(),
            _ => self.count(),
        };
        let ways = self.timed.len() - self.all.len();
        if ways > 0 {
            let ways = counted(ways as u64, "more way", "more ways");
            text.push_str(&format!(" By {ways} of timing, no models of the two kinds are alike in latency."));
        }
        Some(text)
    }

    /// In how many ways of timing which kind is ahead.
    fn count(&self) -> String {
        let count = |is: fn(&Alike) -> bool| self.all.iter().filter(|(_, alike)| is(alike)).count();
        let differences = || self.all.iter().map(|(_, alike)| alike.difference);
        format!(
            "At equal latency, removing layers by lot is ahead of removing filters in {} of {} ways of timing, behind in {}, and cannot \
             be told apart in {}: it differs by {} to {} points of top-1.",
            count(|it| !it.is_noise() && it.difference > 0.0),
            self.all.len(),
            count(|it| !it.is_noise() && it.difference < 0.0),
            count(Alike::is_noise),
            signed(differences().fold(f64::INFINITY, f64::min), 2),
            signed(differences().fold(f64::NEG_INFINITY, f64::max), 2)
        )
    }

    /// The cells of [`Self::COLUMNS`].
    pub(super) fn rows(&self) -> impl Iterator<Item = [String; Self::COLUMNS.len()]> {
        self.all.iter().map(|(by, alike)| {
            [
                told_in_full(by, &self.timed),
                format!("{} to {}", plain(alike.between[0], 0), plain(alike.between[1], 0)),
                alike.models[0].to_string(),
                alike.models[1].to_string(),
                format!("{} ± {}", signed(alike.difference, 2), plain(alike.margin, 2)),
            ]
        })
    }

    /// As Markdown, with the verdict before; empty where there is nothing to compare.
    pub(super) fn markdown(&self) -> String {
        let Some(verdict) = self.verdict() else { return String::new() };
        let align = [Left, Right, Right, Right, Right];
        let rows = self.rows().map(|row| row.map(|cell| escaped(&cell)));
        let header = std::array::from_fn(|column| (Self::COLUMNS[column], align[column]));
        format!("\n{}\n\n{}", escaped(&verdict), table(header, rows))
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, row};
    use super::*;

    fn by_lot(models: &[(&str, f64, f64)]) -> Study {
        let random = models.iter().enumerate().map(|(seed, &(removes, top1, reduction))| {
            row(&format!("random:{removes}"), removes, seed as u64, top1, reduction)
        });
        Study { random: random.collect(), ..samples::empty() }
    }

    fn verdict(study: &Study) -> Option<String> {
        Comparisons::of(study).verdict()
    }

    fn markdown(study: &Study) -> String {
        Comparisons::of(study).markdown()
    }

    #[test]
    fn only_models_of_like_latency_are_compared() {
        let study = by_lot(&[
            ("layers", 80.0, 12.0),
            ("layers", 82.0, 19.9),
            ("filters", 78.0, 15.0),
            // Twice as many of each, and layers behind: weights are 2/3 and 1.
            ("layers", 60.0, 41.0),
            ("layers", 62.0, 42.0),
            ("filters", 64.0, 43.0),
            ("filters", 66.0, 44.0),
            // Alone in their bands.
            ("layers", 90.0, 5.0),
            ("filters", 10.0, -4.0),
        ]);
        let alike = Alike::of(&study, &study.timed()[0]).unwrap();
        assert_eq!((alike.models, alike.between), ([4, 3], [10.0, 50.0]));
        let weights = 2.0 / 3.0 + 1.0;
        assert!((alike.difference - (2.0 / 3.0 * 3.0 - 4.0) / weights).abs() < 1e-12, "{alike:?}");
        // Three cells of two, each one off its mean by one.
        assert!((alike.margin - Z_95 * (2.0 / weights).sqrt()).abs() < 1e-12, "{alike:?}");
        assert_eq!(
            verdict(&study).unwrap(),
            "At equal latency, layers and filters by lot cannot be told apart: they differ by 1.20 points of top-1 (±2.15)."
        );
        assert!(markdown(&study).contains("| 10 to 50 | 4 | 3 | −1.20 ± 2.15 |"), "{}", markdown(&study));
    }

    #[test]
    fn the_verdict_names_who_is_ahead() {
        let pair = |layers: f64, filters: f64| {
            let models = [("layers", layers), ("filters", filters)];
            by_lot(&models.map(|(kind, top1)| [(kind, top1, 31.0), (kind, top1 + 0.2, 32.0)]).concat())
        };
        let told = |layers, filters| verdict(&pair(layers, filters)).unwrap();
        assert_eq!(
            told(90.0, 88.0),
            "At equal latency, removing layers by lot is ahead by 2.00 points of top-1 (±0.28)."
        );
        assert_eq!(
            told(88.0, 90.0),
            "At equal latency, removing filters by lot is ahead by 2.00 points of top-1 (±0.28)."
        );
        let full = verdict(&samples::full()).unwrap();
        assert!(
            full.starts_with("At equal latency, removing layers by lot is ahead of removing filters in "),
            "{full}"
        );
        assert!(full.contains(" of 6 ways of timing, behind in "), "{full}");
    }

    #[test]
    fn ways_of_timing_without_like_models_are_told_of() {
        let mut study = by_lot(&[("layers", 90.0, 31.0), ("layers", 92.0, 32.0), ("filters", 88.0, 33.0)]);
        for (row, elsewhere) in study.random.iter_mut().zip([10.0, 20.0, -40.0]) {
            let mut other = row.latency[0].clone();
            (other.batch, other.latency_reduction_percent) = (64, elsewhere);
            row.latency.push(other);
        }
        let told = verdict(&study).unwrap();
        assert!(told.ends_with(" By 1 more way of timing, no models of the two kinds are alike in latency."), "{told}");
    }

    #[test]
    fn nothing_is_said_where_nothing_is_alike() {
        assert_eq!(verdict(&samples::empty()), None);
        let apart = by_lot(&[("layers", 80.0, 12.0), ("layers", 81.0, 13.0), ("filters", 78.0, 55.0)]);
        assert_eq!((verdict(&apart), markdown(&apart)), (None, String::new()));
        let single = by_lot(&[("layers", 80.0, 12.0), ("filters", 78.0, 15.0)]);
        assert_eq!(verdict(&single), None, "one of each tells no spread");
    }
}
