//! Location parameters: those that move an observation as a whole and do nothing else.

use crate::{Component, LatentMap, Prior};
use serde::{Deserialize, Serialize};

/// f(x) | θ ~ f(x₀) + θ_k `steps`, where x₀ (and whether its simulation fails) does not depend on θ_k, and f is the transform that observations enter
/// networks by ([`crate::XTransform`]): the continuous kin of a [`crate::Symmetry`]. p(x | θ) at any θ_k is then that at one of them, moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Location {
    /// k, from 0.
    pub parameter: usize,
    /// By how much f(x) moves when θ_k grows by one, (d).
    pub steps: Vec<f64>,
}

impl Location {
    /// The same in latent coordinates; `None` where θ_k is not a function of one latent coordinate that is N(0, 1) a priori, or the parameter does not exist.
    pub fn latent(&self, map: &LatentMap) -> Option<LatentLocation> {
        let LatentMap::PriorGaussian { prior } = map else { return None };
        let name = prior.names().get(self.parameter)?;
        let own = |component: &&Component| component.names() == std::slice::from_ref(name);
        let component = prior.components().iter().find(own)?.clone();
        let map = LatentMap::prior_gaussian(&Prior::new(vec![component]).ok()?);
        let origin = parameter(&map, 0.0);
        Some(LatentLocation { parameter: self.parameter, map, origin })
    }
}

/// How θ_k follows from the latent z_k.
#[derive(Debug, Clone, PartialEq)]
pub struct LatentLocation {
    /// k, from 0.
    pub parameter: usize,
    map: LatentMap,
    origin: f64,
}

impl LatentLocation {
    /// θ_k - θ_k(z = 0).
    pub fn from_origin(&self, theta: f64) -> f64 {
        theta - self.origin
    }

    /// θ_k(z) - θ_k(0) and its derivative by z.
    pub fn moved(&self, z: f64) -> (f64, f64) {
        let theta = parameter(&self.map, z);
        let mut slope = [0.0];
        self.map.pull_back(&[z], &[theta], &[1.0], &mut slope);
        (self.from_origin(theta), slope[0])
    }
}

fn parameter(map: &LatentMap, z: f64) -> f64 {
    let mut theta = [0.0];
    map.to_parameters(&[z], &mut theta);
    theta[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_moves_with_its_own_coordinate() {
        let prior = Prior::uniform(&[("a", 0.0, 1.0), ("g", -20.0, 60.0)]).unwrap();
        let location = Location { parameter: 1, steps: vec![0.2] };
        let latent = location.latent(&LatentMap::prior_gaussian(&prior)).unwrap();
        let (moved, slope) = latent.moved(0.7);
        let mut z = [0.0; 2];
        LatentMap::prior_gaussian(&prior).to_latent(&[0.5, 20.0 + moved], &mut z);
        assert!((z[1] - 0.7).abs() < 1e-9);
        let by_difference = (latent.moved(0.7 + 1e-5).0 - latent.moved(0.7 - 1e-5).0) / 2e-5;
        assert!((slope - by_difference).abs() < 1e-6 * slope, "{slope} {by_difference}");
    }

    #[test]
    fn others_have_no_latent_location() {
        let prior = Prior::from_json(
            r#"[{"names":["a","b"],"dist":"multivariate_normal","loc":[0,0],"covariance":[[1,0.5],[0.5,1]]}]"#,
        )
        .unwrap();
        let of = |parameter| Location { parameter, steps: vec![1.0] };
        assert_eq!(of(0).latent(&LatentMap::prior_gaussian(&prior)), None);
        assert_eq!(of(2).latent(&LatentMap::prior_gaussian(&prior)), None);
        let uniform = Prior::uniform(&[("a", 0.0, 1.0)]).unwrap();
        assert!(of(0).latent(&LatentMap::prior_gaussian(&uniform)).is_some());
        let standardized = LatentMap::standardized(&uniform, vec![0.5], vec![0.3]).unwrap();
        assert_eq!(of(0).latent(&standardized), None);
    }
}
