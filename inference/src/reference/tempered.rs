//! Samples from independent tempered populations.

use super::population::Population;
use super::{ChainInfo, Chains, LogDensity, ReferenceOptions, in_parallel, tick};
use crate::Result;
use ndarray::Array2;
use rand::seq::SliceRandom;
use tallsbi_data::{Monitor, Purpose, StreamKey};

/// Moves of the whole population at the posterior itself.
const LAST_MOVES: usize = 10;

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
        let mut rng = key.rng(chain);
        let mut population = Population::from_prior(density, size, &mut rng)?;
        population.anneal(LAST_MOVES, &mut rng, &stage)?;
        let mut points: Vec<&[f64]> = population.positions().collect();
        points.shuffle(&mut rng);
        let mut draws = Array2::zeros((length, density.dim()));
        for (mut row, point) in draws.outer_iter_mut().zip(&points) {
            row.iter_mut().zip(*point).for_each(|(out, z)| *out = *z);
            tick(&stage)?;
        }
        let info = ChainInfo {
            gradients: population.gradients,
            temperatures: population.temperatures as f64,
            ..ChainInfo::default()
        };
        Ok((draws, info))
    })
}
