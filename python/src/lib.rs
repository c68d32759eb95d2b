//! The extension module under the Python package tallsbi: arrays and JSON in, arrays and JSON out. What users meet is in `python/tallsbi`.

use pyo3::prelude::*;

mod answers;
#[cfg(feature = "command-line")]
mod command_line;
mod diagnostics;
mod error;
mod model;
mod refine;
mod tasks;
mod work;

/// Of the package tallsbi; use that.
#[pymodule]
mod _tallsbi {
    #[pymodule_export]
    use crate::answers::{compare, predict, predictive_checks, recording, summarise_recording};
    #[cfg(feature = "command-line")]
    #[pymodule_export]
    use crate::command_line::command_line;
    #[pymodule_export]
    use crate::diagnostics::{c2st, coverage, local_c2st, mmd, sbc, sliced_wasserstein};
    #[pymodule_export]
    use crate::error::Error;
    #[pymodule_export]
    use crate::model::{Model, train};
    #[pymodule_export]
    use crate::refine::{posterior_sbc, refine};
    #[pymodule_export]
    use crate::tasks::{
        observe, prior_check, prior_log_prob, prior_sample, reference, simulate_task, task_info, tasks,
    };
    #[pymodule_export]
    use crate::work::set_threads;
}
