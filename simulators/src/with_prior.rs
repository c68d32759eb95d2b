//! A task under another prior than its own.

use crate::external::ModelSource;
use crate::task::as_inner;
use crate::{LogLikelihood, Result, Rows, Task};
use tallsbi_data::{Component, DataError, Location, Prior, SignalWindow, Stage, XTransform};

/// A task with the priors of some parameters replaced. Its likelihood is the inner task's; what follows from the inner prior (exact posteriors, symmetries) is not
/// known any more.
pub struct WithPrior {
    inner: Box<dyn Task>,
    prior: Prior,
}

impl WithPrior {
    /// `inner` with the prior of each parameter that `components` name replaced; the order of the parameters stays.
    ///
    /// # Errors
    /// When a parameter does not exist, is named twice or is drawn together with others, or a component is no proper distribution.
    pub fn new(inner: Box<dyn Task>, components: &[Component]) -> Result<Self> {
        let mut replaced = inner.prior().components().to_vec();
        let mut done: Vec<&[String]> = Vec::new();
        for component in components {
            let names = component.names();
            let refused = |what: &str| DataError::Prior(format!("{} {what}", names.join(", ")));
            if done.contains(&names) {
                return Err(refused("is given twice").into());
            }
            done.push(names);
            match replaced.iter().position(|own| own.names() == names) {
                Some(place) => replaced[place] = component.clone(),
                None => {
                    let known = inner.prior().names().join(", ");
                    return Err(refused(&format!("is not one of the parameters drawn for themselves ({known})")).into());
                }
            }
        }
        Ok(Self { prior: Prior::new(replaced)?, inner })
    }
}

impl Task for WithPrior {
    as_inner! {
        name -> &str,
        description -> &str,
        parameter_units -> Vec<String>,
        dim_x -> usize,
        observation_names -> Vec<String>,
        x_transform -> XTransform,
        signal_window -> Option<SignalWindow>,
        source -> Option<&ModelSource>,
        failure -> Option<String>,
        preferred_batch -> usize,
        log_likelihood -> Option<&dyn LogLikelihood>,
        locations -> Vec<Location>,
    }

    fn prior(&self) -> &Prior {
        &self.prior
    }

    fn simulate_batch(&self, rows: &Rows<'_>, x: &mut [f32], valid: &mut [u8]) -> Result<()> {
        self.inner.simulate_batch(rows, x, valid)
    }

    fn simulate_all(&self, rows: &Rows<'_>, x: &mut [f32], valid: &mut [u8], stage: &Stage<'_>) -> Result<usize> {
        self.inner.simulate_all(rows, x, valid, stage)
    }
}

#[cfg(test)]
mod tests {
    use crate::{TaskOptions, task};
    use tallsbi_data::Component;

    #[test]
    fn priors_are_replaced_in_place() {
        let wide = Component::Uniform { name: "g".into(), low: -60.0, high: 20.0 };
        let options = TaskOptions { prior: vec![wide.clone()], ..TaskOptions::default() };
        let neural = task("jrnmm", &options).expect("builds");
        assert_eq!(neural.prior().components()[3], wide);
        assert_eq!(neural.prior().names(), ["C", "mu", "sigma", "g"]);
        assert!(neural.signal_window().is_some());
        let none = Component::Normal { name: "h".into(), loc: 0.0, scale: 1.0 };
        let twice = TaskOptions { prior: vec![wide.clone(), wide.clone()], ..TaskOptions::default() };
        let fixed = TaskOptions { prior: vec![wide], fix: vec![("g".into(), 0.0)], ..TaskOptions::default() };
        let unknown = TaskOptions { prior: vec![none], ..TaskOptions::default() };
        for (options, expected) in [(twice, "given twice"), (fixed, "not one of"), (unknown, "not one of")] {
            let error = task("jrnmm", &options).err().expect(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
