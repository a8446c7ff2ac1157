//! Channels that go one by one, each time the one whose loss changes the sum least.

use super::Contributions;

/// The `count` parts that go, in the order in which they do: T grows by the part with the least
/// `Σ |Σ_{j∈T} z_j|²`, summed over pixels and outputs (Luo, Wu and Lin, "ThiNet", ICCV 2017, eq. 6 and algorithm 1; there
/// over sampled pixels of one output each). No target is needed. Of equals the first goes. Time: c · `count` for c parts.
///
/// # Panics
/// Where there are fewer parts.
#[must_use]
pub fn greedy(contributions: &Contributions, count: usize) -> Vec<usize> {
    let parts = contributions.parts();
    assert!(count <= parts, "{count} of {parts} parts cannot go");
    let mut left: Vec<usize> = (0..parts).collect();
    // Σ z_j·(Σ_{k∈T} z_k) of each j: what is lost with j beyond |z_j|² and what T has lost is twice that.
    let mut with_gone = vec![0.0; parts];
    let mut gone = Vec::with_capacity(count);
    while gone.len() < count {
        let loss = |part: usize| contributions.along(part)[part] + 2.0 * with_gone[part];
        let next = left.iter().enumerate().min_by(|(_, a), (_, b)| loss(**a).total_cmp(&loss(**b)));
        let place = next.expect("a part is left").0;
        let part = left.remove(place);
        for (sum, product) in with_gone.iter_mut().zip(contributions.along(part)) {
            *sum += product;
        }
        gone.push(part);
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::super::contributions::tests::Drawn;
    use super::*;

    const APART: [Option<usize>; 7] = [Some(0), Some(1), Some(2), Some(3), Some(4), Some(5), Some(6)];

    /// The same by the words of the paper, from what is added at every pixel.
    fn by_trying(added: &[Vec<f64>], count: usize) -> Vec<usize> {
        let mut gone: Vec<usize> = Vec::new();
        while gone.len() < count {
            let lost = |part: usize| -> f64 {
                let pixel = |place: usize| gone.iter().chain([&part]).map(|&j| added[j][place]).sum::<f64>();
                (0..added[0].len()).map(|place| pixel(place).powi(2)).sum()
            };
            let left = (0..added.len()).filter(|part| !gone.contains(part));
            let next = left.min_by(|&a, &b| lost(a).total_cmp(&lost(b))).unwrap();
            gone.push(next);
        }
        gone
    }

    #[test]
    fn each_step_is_the_best_one_there_is() {
        for seed in 0..20 {
            let drawn = Drawn::new(seed, 3, &[1.0, 0.4, 1.3, 0.7, 1.1, 0.9, 0.5], &[1.0; 7]);
            let added: Vec<Vec<f64>> = APART.iter().map(|&part| drawn.added(&APART, part)).collect();
            assert_eq!(greedy(&drawn.contributions(&APART), 6), by_trying(&added, 6));
        }
    }

    #[test]
    fn what_adds_little_goes_first_and_what_cancels_goes_together() {
        let mut drawn = Drawn::new(3, 2, &[1.0, 1e-3, 1.0, 1.0, 0.0, 1.0, 1.0], &[1.0; 7]);
        assert_eq!(greedy(&drawn.contributions(&APART), 2), [4, 1]);
        // What 5 adds, 2 takes away again.
        for row in &mut drawn.inputs {
            row[2] *= 0.01;
            row[5] = row[2];
        }
        for weights in drawn.map.weight.chunks_exact_mut(7) {
            weights[2] *= 30.0;
            weights[5] = -weights[2];
        }
        assert_eq!(greedy(&drawn.contributions(&APART), 4), [4, 1, 2, 5]);
    }
}
