//! A likelihood taken for fewer observations than there are: p(x_{1:n}|θ)^(w/n).

use super::{Likelihood, Local};
use crate::Result;
use ndarray::ArrayView2;
use tallsbi_data::Symmetry;

/// `likelihood` with w observations' worth of it, or all if there are fewer: a posterior centred where all observations point to and as
/// wide as that of w, for a likelihood whose error would be too large for n.
#[derive(Debug, Clone)]
pub struct Worth<'a, L> {
    likelihood: &'a L,
    worth: f64,
    coarse: Option<(Box<Self>, f64)>,
}

impl<'a, L: Likelihood> Worth<'a, L> {
    /// `likelihood` for `worth` observations.
    pub fn new(likelihood: &'a L, worth: f64) -> Self {
        let coarse = likelihood.coarse();
        let coarse = coarse.map(|(coarse, observations)| (Box::new(Self::new(coarse, worth)), observations));
        Self { likelihood, worth, coarse }
    }

    /// The context of observations (n, d) that count as `worth`, whatever is said for others.
    ///
    /// # Errors
    /// As [`Likelihood::context`].
    pub fn context_worth(&self, x: ArrayView2<'_, f32>, worth: f64) -> Result<(L::Context, f64)> {
        Ok((self.likelihood.context(x)?, (worth / x.nrows() as f64).min(1.0)))
    }
}

impl<L: Likelihood> Likelihood for Worth<'_, L> {
    type Context = (L::Context, f64);
    type Workspace = L::Workspace;

    fn dim_theta(&self) -> usize {
        self.likelihood.dim_theta()
    }

    fn symmetry(&self) -> Option<&Symmetry> {
        self.likelihood.symmetry()
    }

    fn coarse(&self) -> Option<(&Self, f64)> {
        self.coarse.as_ref().map(|(coarse, observations)| (&**coarse, *observations))
    }

    fn context(&self, x: ArrayView2<'_, f32>) -> Result<Self::Context> {
        self.context_worth(x, self.worth)
    }

    fn workspace(&self) -> L::Workspace {
        self.likelihood.workspace()
    }

    fn evaluate(
        &self,
        (context, power): &Self::Context,
        theta: &[f64],
        workspace: &mut L::Workspace,
        local: &mut Local,
    ) {
        self.likelihood.evaluate(context, theta, workspace, local);
        for values in [&mut local.values, &mut local.gradients, &mut local.informations] {
            values.iter_mut().for_each(|value| *value *= power);
        }
    }
}
