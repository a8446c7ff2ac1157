//! Random generators that depend on what they are for, and on nothing else.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// What random numbers are drawn for; each use has its own stream under the same seed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Shuffle = 1,
    Augment = 2,
    HoldOut = 3,
    Balance = 4,
    Mix = 5,
}

/// The generator for one purpose; `a` and `b` are the epoch, the sample or the class that it is drawn for.
pub(crate) fn generator(seed: u64, purpose: Purpose, a: u64, b: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([seed, purpose as u64, a, b]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    #[test]
    fn each_part_of_the_key_gives_another_stream() {
        let first = |seed, purpose, a, b| generator(seed, purpose, a, b).next_u64();
        let base = first(1, Purpose::Shuffle, 2, 3);
        assert_eq!(base, first(1, Purpose::Shuffle, 2, 3));
        assert_ne!(base, first(0, Purpose::Shuffle, 2, 3));
        assert_ne!(base, first(1, Purpose::Augment, 2, 3));
        assert_ne!(base, first(1, Purpose::Shuffle, 3, 3));
        assert_ne!(base, first(1, Purpose::Shuffle, 2, 4));
    }
}
