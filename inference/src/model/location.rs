//! Location parameters of a likelihood: its networks see observations as they were at the origin, and means move in closed form.

use super::density::MixtureLayout;
use super::observation_map::ObservationMap;
use crate::{InferenceError, Result};
use tallsbi_data::{LatentLocation, LatentMap, Location};

/// How the means of standardised observations move with one latent coordinate.
#[derive(Debug, Clone, PartialEq)]
pub struct Moved {
    latent: LatentLocation,
    steps: Vec<f64>,
}

impl Moved {
    /// Those of `locations`, for observations that `map` standardises.
    ///
    /// # Errors
    /// [`InferenceError::Model`] when a location does not fit: another width, steps that are not finite, a parameter twice, that is not there, or that does not follow from one latent
    /// coordinate.
    pub fn all(locations: &[Location], latent: &LatentMap, map: &ObservationMap) -> Result<Vec<Self>> {
        let one = |(index, location): (usize, &Location)| {
            let Location { parameter, steps } = location;
            let again = locations[..index].iter().any(|earlier| earlier.parameter == *parameter);
            let fits = steps.len() == map.dim() && steps.iter().all(|step| step.is_finite()) && !again;
            let latent = location.latent(latent).filter(|_| fits).ok_or_else(|| {
                InferenceError::Model(format!("location of parameter {parameter} does not fit priors and observations"))
            })?;
            // Columns that are constant in training enter as 0.
            let standardised = |(step, &sd): (&f64, &f32)| if sd > 0.0 { step / f64::from(sd) } else { 0.0 };
            Ok(Self { latent, steps: steps.iter().zip(&map.sd).map(standardised).collect() })
        };
        locations.iter().enumerate().map(one).collect()
    }

    /// By how much standardised observations move when the parameter grows by one, (d).
    pub(super) fn steps(&self) -> &[f64] {
        &self.steps
    }

    /// θ_k(z) - θ_k(0) and its derivative by z.
    pub(super) fn moved(&self, z: f64) -> (f64, f64) {
        self.latent.moved(z)
    }

    /// By how much standardised observations move from the origin to where the parameter is `theta`, (d).
    pub(super) fn steps_to(&self, theta: f64) -> impl Iterator<Item = f32> {
        let moved = self.latent.from_origin(theta);
        self.steps.iter().map(move |step| (moved * step) as f32)
    }

    /// k, from 0.
    pub(crate) fn parameter(&self) -> usize {
        self.latent.parameter
    }

    /// Takes the standardised observations (K, d) of θ back to the origin.
    pub(crate) fn take_back(&self, theta: &[f64], features: &mut [f32]) {
        let moved = self.latent.from_origin(theta[self.parameter()]);
        for row in features.chunks_exact_mut(self.steps.len()) {
            row.iter_mut().zip(&self.steps).for_each(|(x, step)| *x = (f64::from(*x) - moved * step) as f32);
        }
    }

    /// Moves the means of a row of outputs to z; what they have for derivatives by z (m, outputs) becomes those of the move alone.
    pub(super) fn apply(&self, z: &[f64], layout: &MixtureLayout, out: &mut [f32], tangents: &mut [f32]) {
        let (moved, slope) = self.latent.moved(z[self.parameter()]);
        let outputs = out.len();
        let own = &mut tangents[self.parameter() * outputs..][..outputs];
        own.fill(0.0);
        for c in 0..layout.components {
            let at = layout.mean_offset(c);
            for (j, step) in self.steps.iter().enumerate() {
                out[at + j] = (f64::from(out[at + j]) + moved * step) as f32;
                own[at + j] = (slope * step) as f32;
            }
        }
    }
}
