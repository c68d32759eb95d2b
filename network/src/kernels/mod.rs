//! The loops that all time is spent in: matrix products and elementwise passes, for the vector width found at run time.

pub(crate) mod activation;
pub(crate) mod gemm;
pub(crate) mod lanes;
pub(crate) mod layer;
pub(crate) mod level;
pub(crate) mod optimiser;
pub(crate) mod packing;
pub(crate) mod vector;
