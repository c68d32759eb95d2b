//! What n observations tell where the fitted form of one is not exactly right.
//!
//! If the scores of simulations vary as the form says ([`information`](super::information)), nothing is done: the form uses all that observations tell. If they vary more, the posterior is
//! too narrow, and is replaced by that of [mean scores](super::scores), which is right whatever the law of one observation is; or, where the posterior is so wide that their average over it tells much less, the form
//! keeps its shape and counts for less.

use super::fit::Forms;
use super::information::score_variance;
use super::judge::{Shift, movement};
use super::learn::Learned;
use super::model::RefinedModel;
use super::sample::Reach;
use super::scores::{FEWEST, Scores};
use crate::Result;
use tallsbi_data::{Monitor, Purpose, StreamKey};

/// A round's posterior.
pub(super) struct Posterior {
    pub draws: Vec<f64>,
    /// One of each orbit.
    pub canonical: Vec<f64>,
    pub reach: Reach,
}

/// What was found and done.
pub(super) struct Calibrated {
    /// √λ: by how much the form alone makes the posterior too narrow.
    pub narrow: f64,
    /// How far the posterior by mean scores is from that by the form, where it took its place.
    pub by_scores: Option<Shift>,
}

/// Times that scores are averaged anew over the posterior that they gave, and the difference up to which that is not needed.
const AVERAGES: usize = 3;
const ALIKE: f64 = 0.25;

/// Ratio of standard deviations, beyond what the form lacks, from which averages of scores have lost what the form knows.
const LOST: f64 = 1.25;

/// Makes the posterior of a likelihood of one component and Gaussian residuals as wide as its scores say, for as many observations as make a mean Gaussian.
///
/// # Errors
/// As [`Scores::learn`], and those of `sample`.
pub(super) fn calibrate(
    learned: &mut Learned,
    posterior: &mut Posterior,
    worth: f64,
    forms: Forms,
    key: StreamKey,
    monitor: &dyn Monitor,
    sample: impl Fn(&RefinedModel) -> Result<Posterior>,
) -> Result<Calibrated> {
    let mut done = Calibrated { narrow: 1.0, by_scores: None };
    let means = learned.model.means;
    let [component] = &mut learned.model.components[..] else { return Ok(done) };
    let rows = &learned.rows[0];
    if means || worth < FEWEST || component.likelihood.residual.is_some() || component.likelihood.by_category.is_some()
    {
        return Ok(done);
    }
    let m = component.frame.dim();
    let key = key.child(Purpose::Replication);
    let found = score_variance(&component.likelihood, &component.frame, rows, &posterior.canonical, key)?.significant();
    done.narrow = found.sqrt();
    if found == 1.0 {
        return Ok(done);
    }
    let form = posterior.canonical.clone();
    let mut draws = form.clone();
    for _ in 0..AVERAGES {
        let component = &mut learned.model.components[0];
        component.scores = Some(Scores::learn(&component.likelihood, rows, &draws, forms, monitor)?);
        let next = sample(&learned.model)?;
        let (moved, widened, _) = movement(&draws, &next.canonical, m);
        draws.clone_from(&next.canonical);
        *posterior = next;
        if moved <= ALIKE && widened <= 1.0 + ALIKE {
            break;
        }
    }
    let (moved, widened, _) = movement(&form, &draws, m);
    if widened <= LOST * done.narrow {
        done.by_scores = Some(Shift { moved, widened });
    } else {
        let component = &mut learned.model.components[0];
        (component.scores, component.share) = (None, 1.0 / found);
        *posterior = sample(&learned.model)?;
    }
    Ok(done)
}
