//! Samples from independent tempered populations.

use super::population::{Travel, carry};
use super::{ChainInfo, Chains, LogDensity, ReferenceOptions, in_parallel, tick};
use crate::Result;
use ndarray::Array2;
use rand::seq::SliceRandom;
use tallsbi_data::{Monitor, Purpose, StreamKey};

/// Another trajectory at temperatures where most were refused: a population's weights of modes are those of the particles that survive.
const TRAVEL: Travel = Travel { level: 0.3, last: 7.0 };

/// Samples π by one tempered population a chain, in the order of a random permutation; `draws` × `thinning` particles each, but
/// no fewer than `particles`.
///
/// Modes get their weights from resampling on the way from the prior, for any number of modes; the populations are
/// independent, so that their disagreement (R̂) shows the noise of those weights. Cost: particles × temperatures × some ten
/// gradients.
///
/// # Errors
/// [`InferenceError::Cancelled`](crate::InferenceError::Cancelled); options outside their range; a density that is nowhere
/// finite.
pub fn sample_tempered(
    density: &dyn LogDensity,
    options: &ReferenceOptions,
    key: StreamKey,
    monitor: &dyn Monitor,
) -> Result<Chains> {
    options.validate()?;
    let key = key.child(Purpose::Reference);
    let length = options.draws * options.thinning;
    let size = length.max(options.particles);
    let stage = monitor.stage("sample", "draws", (options.chains * length) as u64);
    in_parallel(options.chains, |chain| {
        let population = carry(density, size, &TRAVEL, key.indexed(chain), monitor)?;
        let mut points: Vec<&[f64]> = population.theta.chunks_exact(density.dim()).collect();
        points.shuffle(&mut key.rng(chain));
        let mut draws = Array2::zeros((length, density.dim()));
        for (mut row, point) in draws.outer_iter_mut().zip(&points) {
            row.iter_mut().zip(*point).for_each(|(out, z)| *out = *z);
            tick(&stage)?;
        }
        let info = ChainInfo {
            gradients: population.evaluations,
            temperatures: population.levels as f64,
            ..ChainInfo::default()
        };
        Ok((draws, info))
    })
}
