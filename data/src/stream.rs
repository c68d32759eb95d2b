//! Random streams that are pure functions of (seed, purpose, index).
//!
//! Every random number in tallsbi comes from a [`StreamKey`]: a 64-bit key derived from the user's seed, refined by
//! [`Purpose`] and index. Row `i` of a simulation therefore gets the same random numbers for any number of threads, any
//! shard split, and whether or not the run was interrupted.
//!
//! Both the state *and* the stream of [`Pcg64`] are hashed from the key: generators on consecutive PCG stream numbers
//! with equal states are correlated.
//!
//! ```
//! use rand::Rng;
//! use tallsbi_data::{Purpose, StreamKey};
//! let key = StreamKey::root(7).child(Purpose::Simulator);
//! assert_eq!(key.rng(3).next_u64(), key.rng(3).next_u64());
//! assert_ne!(key.rng(3).next_u64(), key.rng(4).next_u64());
//! ```

use rand_pcg::Pcg64;

/// What a stream of random numbers is used for. Streams of different purposes never share numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Purpose {
    /// Parameters drawn from the prior.
    Prior = 1,
    /// The simulator's own noise.
    Simulator = 2,
    /// Observations simulated at a true parameter.
    Observation = 3,
    /// Initial weights of a network.
    Initialization = 4,
    /// Split of a data set into training and validation rows.
    Split = 5,
    /// Order of the training rows within an epoch.
    Shuffle = 6,
    /// Diffusion times and noises of a training step.
    TrainingNoise = 7,
    /// Diffusion times and noises of the fixed validation set.
    ValidationNoise = 8,
    /// Starting points of a sampler.
    SamplerStart = 9,
    /// Noise injected by a sampler.
    SamplerNoise = 10,
    /// Estimation of single-observation posterior covariances.
    Covariance = 11,
    /// Random projections (sliced Wasserstein).
    Projection = 12,
    /// Folds of a cross-validation.
    Folds = 13,
    /// Classifiers: initial weights, batches, held-out rows.
    Classifier = 14,
    /// Permutations of labels under a null hypothesis.
    Permutation = 15,
    /// Calibration pairs (θ, x) of a posterior check.
    Calibration = 16,
    /// Reference points of expected-coverage tests.
    ReferencePoint = 17,
    /// Metropolis or Langevin corrections.
    Corrector = 18,
    /// Dropped contexts (classifier-free guidance).
    ContextDropout = 19,
    /// Random subsets of observations or data.
    Subset = 20,
    /// Chains and particles of a reference posterior.
    Reference = 21,
    /// Symmetries applied to the samples of a reference posterior.
    Symmetry = 22,
    /// Proposals and simulations of a refinement at observations.
    Refinement = 23,
    /// Evidence of models, and observations to compare them on.
    Evidence = 30,
    /// Replications of observations, drawn from a likelihood.
    Replication = 31,
    /// Conditions that observations are simulated under.
    Condition = 32,
    /// Location parameters given all others.
    Location = 33,
    /// Draws from modes of a posterior that no particle found.
    Overlooked = 34,
}

/// A node in the tree of random streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamKey(u64);

impl StreamKey {
    /// The root of all streams of one user seed.
    pub fn root(seed: u64) -> Self {
        Self(mix(seed ^ 0x7461_6c6c_7362_6900)) // "tallsbi\0": keeps seed 0 away from the mixer's fixed point
    }

    /// The sub-tree of one purpose.
    #[must_use]
    pub fn child(self, purpose: Purpose) -> Self {
        Self(mix(self.0 ^ mix(purpose as u64).rotate_left(1)))
    }

    /// The sub-tree of one index: a data set, an observation set, an ensemble member, a repetition.
    #[must_use]
    pub fn indexed(self, index: u64) -> Self {
        Self(mix(self.0.rotate_left(17) ^ mix(index.wrapping_add(0xA5A5_A5A5_A5A5_A5A5))))
    }

    /// The random number generator of one row.
    pub fn rng(self, index: u64) -> Pcg64 {
        let [a, b, c, d] = self.words(index);
        Pcg64::new(join(a, b), join(c, d))
    }

    /// 256 hashed bits for one row, to seed generators other than [`Pcg64`] (vectorised ones, say).
    pub fn words(self, index: u64) -> [u64; 4] {
        let row = self.indexed(index).0;
        std::array::from_fn(|i| mix(row.wrapping_add((i as u64 + 1).wrapping_mul(GOLDEN_GAMMA))))
    }

    /// A single hashed 64-bit seed for one row.
    pub fn seed(self, index: u64) -> u64 {
        self.words(index)[0]
    }
}

/// Increment of SplitMix64: 2⁶⁴ divided by the golden ratio, odd.
const GOLDEN_GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64's finaliser (Steele, Lea & Flood 2014, variant 13 of Stafford's mixers).
fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(GOLDEN_GAMMA);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn join(high: u64, low: u64) -> u128 {
    (u128::from(high) << 64) | u128::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;
    use std::collections::HashSet;

    #[test]
    fn keys_do_not_collide() {
        let mut seen = HashSet::new();
        for seed in 0..20 {
            for purpose in [Purpose::Prior, Purpose::Simulator, Purpose::Split] {
                let key = StreamKey::root(seed).child(purpose);
                for index in 0..500 {
                    assert!(seen.insert(key.words(index)), "seed {seed} {purpose:?} {index}");
                }
            }
        }
    }

    /// Consecutive rows are uncorrelated: the correlation of first draws has standard error 1/√n.
    #[test]
    fn consecutive_rows_are_uncorrelated() {
        let key = StreamKey::root(0).child(Purpose::Simulator);
        let n = 200_000;
        let u: Vec<f64> = (0..=n).map(|i| key.rng(i).random::<f64>() - 0.5).collect();
        let r = 12.0 * u.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / n as f64;
        assert!(r.abs() < 4.0 / (n as f64).sqrt(), "lag-1 correlation {r}");
    }
}
