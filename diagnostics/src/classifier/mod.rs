//! Two-class classifiers behind one abstraction on linfa's `Fit` and `Predict`.
//!
//! [`ClassifierParams`] names the algorithm and its settings; fitting a linfa [`Dataset`](linfa::Dataset) with `bool` targets
//! gives a [`FittedClassifier`], which predicts labels through linfa's `Predict` and probabilities of the class `true` by
//! [`FittedClassifier::probabilities`]. Fitted classifiers serialise with serde.

mod forest;
mod logistic;
mod mlp;
mod mlp_hyperparams;
mod rows;

use crate::{DiagnosticsError, Result, check};
use linfa::traits::{Fit, PredictInplace};
use linfa::{DatasetBase, ParamGuard};
use ndarray::{Array1, Array2, ArrayView2};
use serde::{Deserialize, Serialize};
use tallsbi_data::{Choice, Monitor, Named, Purpose, Silent, StreamKey};

pub use forest::{FittedForest, RandomForestParams};
pub use logistic::{FittedLogistic, LogisticParams};
pub use mlp::FittedMlp;
pub use mlp_hyperparams::{MlpClassifierParams, MlpClassifierValidParams};
pub(crate) use rows::{MatrixRows, Rows};

/// The classifiers there are, for choice by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassifierKind {
    /// Multi-layer perceptron.
    Mlp,
    /// Logistic regression (linfa): sees differences of means only.
    Logistic,
    /// Random forest (linfa).
    RandomForest,
}

impl Named for ClassifierKind {
    fn choices() -> Vec<Choice<Self>> {
        vec![
            Choice::new("mlp", "Multi-layer perceptron", Self::Mlp),
            Choice::new("logistic", "Logistic regression", Self::Logistic),
            Choice::new("random-forest", "Random forest", Self::RandomForest),
        ]
    }
}

/// A classifier and its settings, not yet checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ClassifierParams {
    /// Multi-layer perceptron.
    Mlp(MlpClassifierParams),
    /// Logistic regression.
    Logistic(LogisticParams),
    /// Random forest.
    RandomForest(RandomForestParams),
}

impl From<ClassifierKind> for ClassifierParams {
    /// The default settings of an algorithm.
    fn from(kind: ClassifierKind) -> Self {
        match kind {
            ClassifierKind::Mlp => Self::Mlp(MlpClassifierParams::default()),
            ClassifierKind::Logistic => Self::Logistic(LogisticParams::default()),
            ClassifierKind::RandomForest => Self::RandomForest(RandomForestParams::default()),
        }
    }
}

impl ClassifierParams {
    /// Which algorithm this is.
    pub fn kind(&self) -> ClassifierKind {
        match self {
            Self::Mlp(_) => ClassifierKind::Mlp,
            Self::Logistic(_) => ClassifierKind::Logistic,
            Self::RandomForest(_) => ClassifierKind::RandomForest,
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// The first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Mlp(params) => params.check_ref().map(|_| ()),
            Self::Logistic(params) => params.validate(),
            Self::RandomForest(params) => params.validate(),
        }
    }

    /// Fits rows chosen by index; the random numbers come from `key` instead of the settings' seed.
    pub(crate) fn fit_rows(
        &self,
        rows: &impl Rows,
        indices: &[usize],
        label: &(impl Fn(usize) -> bool + Sync),
        key: StreamKey,
        monitor: &dyn Monitor,
    ) -> Result<FittedClassifier> {
        monitor.check()?;
        match self {
            Self::Mlp(params) => {
                mlp::train(params.check_ref()?, rows, indices, label, key, monitor).map(FittedClassifier::Mlp)
            }
            Self::Logistic(params) => params.fit_rows(rows, indices, label).map(FittedClassifier::Logistic),
            Self::RandomForest(params) => {
                params.fit_rows(rows, indices, label, key).map(FittedClassifier::RandomForest)
            }
        }
    }

    fn fit_records(&self, records: ArrayView2<'_, f64>, targets: &Array1<bool>, seed: u64) -> Result<FittedClassifier> {
        self.validate()?;
        check::finite("training records", records, 2)?;
        check::same_rows("targets", targets.len(), "the training records", records.nrows())?;
        if targets.iter().all(|&target| target == targets[0]) {
            return Err(DiagnosticsError::Classifier {
                classifier: self.kind().name(),
                message: "all targets are equal; give rows of both classes".into(),
            });
        }
        let rows = MatrixRows::new(&[records]);
        let indices: Vec<usize> = (0..records.nrows()).collect();
        let key = StreamKey::root(seed).child(Purpose::Classifier);
        self.fit_rows(&rows, &indices, &|row| targets[row], key, &Silent)
    }
}

/// Fits with the seed 0; [`MlpClassifierParams`] and [`RandomForestParams`] carry their own.
impl Fit<Array2<f64>, Array1<bool>, DiagnosticsError> for ClassifierParams {
    type Object = FittedClassifier;

    fn fit(&self, dataset: &DatasetBase<Array2<f64>, Array1<bool>>) -> Result<FittedClassifier> {
        let seed = match self {
            Self::Mlp(params) => params.check_ref()?.seed(),
            Self::Logistic(_) => 0,
            Self::RandomForest(params) => params.seed,
        };
        self.fit_records(dataset.records().view(), dataset.targets(), seed)
    }
}

impl Fit<Array2<f64>, Array1<bool>, DiagnosticsError> for MlpClassifierValidParams {
    type Object = FittedClassifier;

    fn fit(&self, dataset: &DatasetBase<Array2<f64>, Array1<bool>>) -> Result<FittedClassifier> {
        let params = ClassifierParams::Mlp(MlpClassifierParams::from(self.clone()));
        params.fit_records(dataset.records().view(), dataset.targets(), self.seed())
    }
}

/// A fitted classifier of any kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum FittedClassifier {
    /// Multi-layer perceptron.
    Mlp(FittedMlp),
    /// Logistic regression.
    Logistic(FittedLogistic),
    /// Random forest: the probability is the share of votes.
    RandomForest(FittedForest),
}

impl FittedClassifier {
    /// Number of columns it was fitted on.
    pub fn width(&self) -> usize {
        match self {
            Self::Mlp(model) => model.width(),
            Self::Logistic(model) => model.width(),
            Self::RandomForest(model) => model.width(),
        }
    }

    /// P(class `true`) of each row of `records` (N, width).
    ///
    /// # Errors
    /// Another width than it was fitted on, no rows, or values that are not finite.
    pub fn probabilities(&self, records: ArrayView2<'_, f64>) -> Result<Array1<f64>> {
        check::finite("records", records, 1)?;
        check::same_width("records", records, "the training records", self.width())?;
        let rows = MatrixRows::new(&[records]);
        let indices: Vec<usize> = (0..records.nrows()).collect();
        Ok(self.probabilities_of(&rows, &indices).into())
    }

    pub(crate) fn probabilities_of(&self, rows: &impl Rows, indices: &[usize]) -> Vec<f64> {
        match self {
            Self::Mlp(model) => model.probabilities(rows, indices),
            Self::Logistic(model) => model.probabilities(rows, indices),
            Self::RandomForest(model) => model.probabilities(rows, indices),
        }
    }
}

/// The more probable class of each row. As linfa's trait returns no errors, records of another width are a bug of the caller
/// here; [`FittedClassifier::probabilities`] reports them.
impl PredictInplace<Array2<f64>, Array1<bool>> for FittedClassifier {
    fn predict_inplace<'a>(&'a self, records: &'a Array2<f64>, labels: &mut Array1<bool>) {
        assert_eq!(records.ncols(), self.width(), "records have the width of the training records");
        let rows = MatrixRows::new(&[records.view()]);
        let indices: Vec<usize> = (0..records.nrows()).collect();
        let probabilities = self.probabilities_of(&rows, &indices);
        *labels = probabilities.into_iter().map(|p| p > 0.5).collect();
    }

    fn default_target(&self, records: &Array2<f64>) -> Array1<bool> {
        Array1::from_elem(records.nrows(), false)
    }
}
