//! Training rows in memory.

use ndarray::{Array2, Array3};
use tallsbi_data::{Prior, XTransform};
use tallsbi_inference::Result;
use tallsbi_inference::train::{RowSource, VisitRows};

/// θ (N, m) and observations of each, (N, K, d), the leading `conditions` of its values known quantities.
pub struct Rows {
    pub prior: Prior,
    pub theta: Array2<f32>,
    pub x: Array3<f32>,
    pub conditions: usize,
}

impl RowSource for Rows {
    fn prior(&self) -> &Prior {
        &self.prior
    }

    fn n_obs(&self) -> usize {
        self.x.dim().1
    }

    fn dim_x(&self) -> usize {
        self.x.dim().2
    }

    fn conditions(&self) -> usize {
        self.conditions
    }

    fn x_transform(&self) -> XTransform {
        XTransform::Identity
    }

    fn for_each_block(&self, visit: &mut VisitRows<'_>) -> Result<u64> {
        visit(self.theta.view(), self.x.view()).map(|()| 0)
    }
}
