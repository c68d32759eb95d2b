//! Outliers: each observation is a lapse with probability ε, and then comes from a broad density b that knows nothing of θ,
//!
//!   p_ε(x|θ) = (1 - ε) p(x|θ) + ε b(x)  (Box & Tiao 1968; lapse rates of psychometric functions, Wichmann & Hill 2001).
//!
//! b is as wide as the training set, in the space that the networks see: of a real column, a Student t of 2 degrees of freedom about the mean of the
//! training set with its standard deviation as scale; of a column of counts the masses that it has in their cells; of categories and patterns of atoms equal probabilities;
//! columns are independent, and missing values are left out. With a constant ε nothing else is to be inferred; else ε has the prior Beta(1, 9) and is one
//! more latent parameter, the last.
//!
//! With the share s_j = (1 - ε) p_j / p_ε,j of the simulator in observation j, the gradient by θ is Σ_j s_j ∂ log p_j, the one by ε
//! Σ_j ((1 - s_j)/ε - s_j/(1 - ε)). As metric serves the information of Σ_j s_j observations, of ε the empirical one. Sums over observations have no
//! sufficient statistics any more: the cost grows with n.

use super::cells::{Cells, Interval};
use super::density::{HALF_LN_2PI, log_sum_exp};
use super::likelihood::{LikelihoodModel, LikelihoodWorkspace, RowScratch};
use super::missing::Hidden;
use super::mixed::Categories;
use super::observation_map::ObservationMap;
use super::observed::{Asked, Observed, patterns};
use crate::tempering::{Likelihood, Local};
use crate::{InferenceError, Result};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use tallsbi_data::{Component, LatentMap, Monitor, Prior, SignedPermutation, Symmetry};

/// Name of the lapse rate among the parameters.
pub const LAPSE: &str = "lapse";

/// The prior of ε where it is inferred, Beta(1, 9): its mean is 10 %, and no lapses at all are the most probable.
const PRIOR: (f64, f64) = (1.0, 9.0);

/// ε is kept this far from 0 and 1, whose logarithms are none.
const LEAST: f64 = 1e-12;

/// Samples between looks at whether to stop.
const TOGETHER: usize = 256;

/// Cells narrower than this have their density times their width as mass: a difference of distribution functions would lose its digits.
const NARROW: f64 = 1e-3;

/// What is assumed of lapses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub enum Lapse {
    /// Their rate ε is known.
    Rate(f64),
    /// It is inferred.
    Infer,
}

/// As options are written: a number or a word.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Number(f64),
    Word(String),
}

impl From<Lapse> for Written {
    fn from(lapse: Lapse) -> Self {
        match lapse {
            Lapse::Rate(rate) => Self::Number(rate),
            Lapse::Infer => Self::Word("infer".into()),
        }
    }
}

impl TryFrom<Written> for Lapse {
    type Error = InferenceError;

    fn try_from(written: Written) -> Result<Self> {
        match written {
            Written::Number(rate) => Self::Rate(rate).validated(),
            Written::Word(word) => word.parse(),
        }
    }
}

impl FromStr for Lapse {
    type Err = InferenceError;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "infer" => Ok(Self::Infer),
            number => Self::Rate(number.parse().unwrap_or(f64::NAN)).validated(),
        }
    }
}

impl Lapse {
    /// The same, if its rate can be one.
    ///
    /// # Errors
    /// When it does not lie between 0 and 1.
    pub fn validated(self) -> Result<Self> {
        match self {
            Self::Rate(rate) if !(rate > 0.0 && rate < 1.0) => {
                let message = "must be a rate between 0 and 1, or infer; without lapses leave it out".into();
                Err(InferenceError::Option { option: LAPSE, message })
            }
            other => Ok(other),
        }
    }
}

/// One column of b.
#[derive(Debug, Clone, Copy)]
enum Column {
    /// Equal probabilities of as many categories.
    Category(usize),
    /// The mass of a cell.
    Cell,
    /// A density.
    Real,
    /// The training set has one value only, which networks see spread over a cell's width: no density depends on θ.
    Constant,
}

/// The density b of standardised observations.
#[derive(Debug, Clone)]
struct Broad {
    columns: Vec<Column>,
    cells: Option<Cells>,
    categories: Option<Categories>,
}

impl Broad {
    fn new(map: &ObservationMap, cells: Option<&Cells>, categories: Option<&Categories>) -> Self {
        let column = |i: usize| match categories.and_then(|categories| categories.values(i)) {
            Some(values) => Column::Category(values),
            None if cells.is_some_and(|cells| cells.has(i)) => Column::Cell,
            None if map.sd[i] > 0.0 => Column::Real,
            None => Column::Constant,
        };
        Self { columns: (0..map.dim()).map(column).collect(), cells: cells.cloned(), categories: categories.cloned() }
    }

    /// log b of what is not NaN among standardised values (d), in the units of the networks' densities: masses as they are, densities less -½ log 2π.
    fn log_density(&self, features: &[f64]) -> f64 {
        let apart = |categories: &Categories| categories.apart(features);
        let (features, share) = self.categories.as_ref().map_or_else(|| (features.to_vec(), 1.0), apart);
        let term = |(i, (column, &z)): (usize, (&Column, &f64))| match (column, &self.cells) {
            _ if z.is_nan() => 0.0,
            (Column::Category(values), _) => -(*values as f64).ln(),
            (Column::Cell, Some(cells)) => student_mass(cells.interval(i, z)).ln(),
            // That of the standard deviation of a cell, which the networks find.
            (Column::Constant, _) => 0.5 * 12f64.ln(),
            (Column::Real | Column::Cell, _) => student(z).ln() + HALF_LN_2PI,
        };
        self.columns.iter().zip(&features).enumerate().map(term).sum::<f64>() + share.ln()
    }
}

/// The density of Student's t with 2 degrees of freedom.
fn student(z: f64) -> f64 {
    (2.0 + z * z).powf(-1.5)
}

/// Its mass in an interval.
fn student_mass(Interval { lower, upper }: Interval) -> f64 {
    let width = upper - lower;
    if width < NARROW {
        return student(0.5 * (lower + upper)) * width;
    }
    let cdf = |z: f64| if z.is_infinite() { 0.5 * z.signum() } else { 0.5 * z / (2.0 + z * z).sqrt() };
    cdf(upper) - cdf(lower)
}

/// A likelihood with lapses. Where their rate is inferred, it is the last of the latent parameters.
#[derive(Debug, Clone)]
pub struct Lapsing<'a> {
    model: &'a LikelihoodModel,
    lapse: Lapse,
    broad: Broad,
    /// The latent space of ε alone.
    rate: LatentMap,
    symmetry: Symmetry,
    coarse: Option<(Box<Self>, f64)>,
}

/// Observations that are not wholly missing, each for itself.
#[derive(Debug, Clone)]
pub struct LapsingContext {
    groups: Vec<Group>,
}

/// Those that were made under the same conditions.
#[derive(Debug, Clone)]
struct Group {
    condition: Vec<f32>,
    observations: Vec<Alone>,
    patterns: Vec<Hidden>,
}

#[derive(Debug, Clone)]
struct Alone {
    /// Its row among all observations.
    row: usize,
    observed: Observed,
    /// Which pattern of missing values it has.
    pattern: usize,
    /// log b.
    broad: f64,
}

/// Buffers of one worker.
#[derive(Debug, Clone)]
pub struct LapsingWorkspace {
    model: LikelihoodWorkspace,
    theta: Vec<f64>,
    local: Local,
    /// Of observations under one of several conditions.
    group: Local,
    /// ε of each row, then its gradient and information.
    rates: Vec<f64>,
    slopes: Vec<[f64; 2]>,
    scratch: Scratch,
}

#[derive(Debug, Clone, Default)]
struct Scratch {
    slope: Vec<f64>,
    each: Vec<f64>,
}

impl<'a> Lapsing<'a> {
    /// `model` with lapses.
    ///
    /// # Errors
    /// When the rate is none, or observations share an error.
    pub fn new(model: &'a LikelihoodModel, lapse: Lapse) -> Result<Self> {
        let lapse = lapse.validated()?;
        model.check_independent("lapse")?;
        let (map, cells, categories) = model.columns();
        let symmetry = model.symmetry().map_or_else(|| Symmetry::none(model.dim_theta()), Symmetry::clone);
        let symmetry = if lapse == Lapse::Infer { extended(&symmetry, model.dim_theta())? } else { symmetry };
        let coarse = match model.coarse() {
            None => None,
            Some((coarse, observations)) => Some((Box::new(Self::new(coarse, lapse)?), observations)),
        };
        let rate = LatentMap::prior_gaussian(&Prior::new(vec![rate_prior()])?);
        Ok(Self { model, lapse, broad: Broad::new(map, cells, categories), rate, symmetry, coarse })
    }

    /// The map of all latent parameters, given the one of the model's.
    ///
    /// # Errors
    /// When the rate is inferred, and one of the model's parameters has its name.
    pub fn latent_map(&self, model: &LatentMap) -> Result<LatentMap> {
        if self.lapse != Lapse::Infer {
            return Ok(model.clone());
        }
        if model.prior().names().iter().any(|name| name == LAPSE) {
            let message = "cannot be inferred beside a parameter of the same name; give its rate".into();
            return Err(InferenceError::Option { option: LAPSE, message });
        }
        let components = model.prior().components().iter().cloned().chain([rate_prior()]).collect();
        Ok(LatentMap::prior_gaussian(&Prior::new(components)?))
    }

    fn inferred(&self) -> usize {
        usize::from(self.lapse == Lapse::Infer)
    }

    /// ε at latent parameters.
    fn rate_at(&self, theta: &[f64]) -> f64 {
        let rate = match self.lapse {
            Lapse::Rate(rate) => rate,
            Lapse::Infer => {
                let mut rate = [0.0];
                self.rate.to_parameters(&theta[self.model.dim_theta()..], &mut rate);
                rate[0]
            }
        };
        rate.clamp(LEAST, 1.0 - LEAST)
    }

    /// Probability that each observation of x (n, d) is a lapse: the mean over latent parameters (S, m). Of observations of which nothing is known, the rate.
    ///
    /// # Errors
    /// When observations do not fit the model.
    pub fn probabilities(&self, x: ArrayView2<'_, f32>, theta: &[f64], monitor: &dyn Monitor) -> Result<Vec<f64>> {
        let context = self.context(x)?;
        let samples = theta.len() / self.dim_theta();
        let rates: f64 = theta.chunks_exact(self.dim_theta()).map(|theta| self.rate_at(theta)).sum();
        let mut found = vec![rates / samples as f64; x.nrows()];
        let observations = context.groups.iter().flat_map(|group| &group.observations);
        observations.for_each(|alone| found[alone.row] = 0.0);
        let seen = &mut |alone: &Alone, share: f64| found[alone.row] += (1.0 - share) / samples as f64;
        for some in theta.chunks(TOGETHER * self.dim_theta()) {
            monitor.check()?;
            self.evaluate_seen(&context, some, &mut self.workspace(), &mut Local::default(), seen);
        }
        Ok(found)
    }

    /// Rows of standardised observations that were made under one condition, if there are some that are not wholly missing.
    fn group(&self, condition: Vec<f32>, rows: &[usize], features: &[f64]) -> Option<Group> {
        let (map, _, categories) = self.model.columns();
        let d = map.dim();
        let rows = rows.iter().map(|&row| (row, &features[row * d..(row + 1) * d]));
        let known: Vec<(usize, &[f64])> = rows.filter(|(_, row)| !row.iter().all(|value| value.is_nan())).collect();
        if known.is_empty() {
            return None;
        }
        let points: Vec<f64> = known.iter().flat_map(|(_, row)| row.iter().copied()).collect();
        let patterns = if categories.is_some() { Vec::new() } else { patterns(&points, d) };
        let patterns: Vec<Hidden> = patterns.into_iter().map(|(hidden, _)| hidden).collect();
        let alone = |(row, features): (usize, &[f64])| {
            let mut hidden = Hidden::default();
            hidden.find(features);
            let pattern = patterns.iter().position(|pattern| pattern.columns() == hidden.columns()).unwrap_or(0);
            Alone { row, observed: self.model.alone(features), pattern, broad: self.broad.log_density(features) }
        };
        let observations = known.into_iter().map(alone).collect();
        Some(Group { condition, observations, patterns })
    }

    /// Evaluates, and tells of each observation's share at each row.
    fn evaluate_seen(
        &self,
        context: &LapsingContext,
        theta: &[f64],
        workspace: &mut LapsingWorkspace,
        local: &mut Local,
        seen: &mut dyn FnMut(&Alone, f64),
    ) {
        let (m, width) = (self.model.dim_theta(), self.dim_theta());
        let LapsingWorkspace { model, theta: own, local: inner, group: part, rates, slopes, scratch } = workspace;
        own.clear();
        own.extend(theta.chunks_exact(width).flat_map(|row| &row[..m]));
        rates.clear();
        rates.extend(theta.chunks_exact(width).map(|row| self.rate_at(row)));
        slopes.clear();
        slopes.resize(rates.len(), [0.0; 2]);
        for (number, group) in context.groups.iter().enumerate() {
            let n = group.observations.len() as f64;
            let asked = Asked { condition: &group.condition, n, patterns: &group.patterns };
            let value = &mut |index: usize, row: &mut RowScratch| {
                self.mix(group, (rates[index], &mut slopes[index]), row, scratch, seen)
            };
            if number == 0 {
                self.model.evaluate_rows(asked, own, model, inner, value);
            } else {
                self.model.evaluate_rows(asked, own, model, part, value);
                inner.add(part);
            }
        }
        if self.inferred() == 0 {
            std::mem::swap(local, inner);
            return;
        }
        local.resize(rates.len(), width);
        local.values.clone_from(&inner.values);
        for (index, (&rate, [slope, square])) in rates.iter().zip(&*slopes).enumerate() {
            let z = theta[index * width + m];
            let mut by_z = [0.0];
            self.rate.pull_back(&[z], &[rate], &[1.0], &mut by_z);
            let gradient = &mut local.gradients[index * width..(index + 1) * width];
            gradient[..m].copy_from_slice(&inner.gradients[index * m..(index + 1) * m]);
            gradient[m] = slope * by_z[0];
            let information = &mut local.informations[index * width * width..(index + 1) * width * width];
            information.fill(0.0);
            for (to, from) in
                information.chunks_exact_mut(width).zip(inner.informations[index * m * m..].chunks(m)).take(m)
            {
                to[..m].copy_from_slice(from);
            }
            information[width * width - 1] = square * by_z[0] * by_z[0];
        }
    }

    /// Σ_j log p_ε(x_j|θ) of an expanded row at the rate ε; leaves gradient and counts in `row`, and the gradient by ε with the sum of its squares.
    fn mix(
        &self,
        group: &Group,
        (rate, by_rate): (f64, &mut [f64; 2]),
        row: &mut RowScratch,
        Scratch { slope, each }: &mut Scratch,
        seen: &mut dyn FnMut(&Alone, f64),
    ) -> f64 {
        slope.clear();
        slope.resize(row.slope.len(), 0.0);
        each.clear();
        row.counts.clear();
        row.counts.resize(group.patterns.len(), 0.0);
        let (log_kept, log_lapsed) = ((-rate).ln_1p(), rate.ln());
        let mut total = 0.0;
        for alone in &group.observations {
            row.slope.fill(0.0);
            let kept = log_kept + self.model.log_likelihood_of(&alone.observed, row);
            let value = log_sum_exp(&[kept, log_lapsed + alone.broad]);
            let share = (kept - value).exp();
            total += value;
            seen(alone, share);
            let slope_of_rate = (1.0 - share) / rate - share / (1.0 - rate);
            by_rate[0] += slope_of_rate;
            by_rate[1] += slope_of_rate * slope_of_rate;
            if group.patterns.is_empty() {
                each.extend(row.slope.iter().map(|slope| if share > 0.0 { share * slope } else { 0.0 }));
            } else {
                row.counts[alone.pattern] += share;
            }
            if share > 0.0 {
                slope.iter_mut().zip(&row.slope).for_each(|(sum, own)| *sum += share * own);
            }
        }
        std::mem::swap(slope, &mut row.slope);
        std::mem::swap(each, &mut row.each);
        total
    }
}

impl Likelihood for Lapsing<'_> {
    type Context = LapsingContext;
    type Workspace = LapsingWorkspace;

    fn dim_theta(&self) -> usize {
        self.model.dim_theta() + self.inferred()
    }

    fn symmetry(&self) -> Option<&Symmetry> {
        Some(&self.symmetry)
    }

    fn coarse(&self) -> Option<(&Self, f64)> {
        self.coarse.as_ref().map(|(coarse, observations)| (&**coarse, *observations))
    }

    fn context(&self, x: ArrayView2<'_, f32>) -> Result<LapsingContext> {
        // With all checks.
        self.model.context(x)?;
        let features: Vec<f64> = self.model.maps().features(x)?.into_iter().map(f64::from).collect();
        let groups = self.model.maps().groups(x)?.into_iter();
        let groups = groups.filter_map(|(condition, rows)| self.group(condition, &rows, &features));
        Ok(LapsingContext { groups: groups.collect() })
    }

    fn workspace(&self) -> LapsingWorkspace {
        LapsingWorkspace {
            model: self.model.workspace(),
            theta: Vec::new(),
            local: Local::default(),
            group: Local::default(),
            rates: Vec::new(),
            slopes: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    fn evaluate(&self, context: &LapsingContext, theta: &[f64], workspace: &mut LapsingWorkspace, local: &mut Local) {
        self.evaluate_seen(context, theta, workspace, local, &mut |_, _| ());
    }
}

fn rate_prior() -> Component {
    Component::Beta { name: LAPSE.into(), alpha: PRIOR.0, beta: PRIOR.1 }
}

/// The symmetry with one more coordinate, which stays as it is.
fn extended(symmetry: &Symmetry, dim: usize) -> Result<Symmetry> {
    let extend = |element: &SignedPermutation| {
        let mut element = element.clone();
        element.source.push(dim);
        element.negate.push(false);
        element
    };
    let elements: Vec<SignedPermutation> = symmetry.elements().iter().map(extend).collect();
    Ok(Symmetry::generated(dim + 1, &elements)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masses_of_cells_are_those_of_the_density() {
        let interval = |lower: f64, upper: f64| Interval { lower, upper };
        let mass = |lower, upper| student_mass(interval(lower, upper));
        assert!((mass(f64::NEG_INFINITY, f64::INFINITY) - 1.0).abs() < 1e-15);
        // A closed form from tables: P(t₂ < 2.919986) = 0.95.
        assert!((mass(f64::NEG_INFINITY, 2.919_985_58) - 0.95).abs() < 1e-9);
        let step = 1e-4;
        let sum: f64 = (0..20_000).map(|i| student(-0.7 + step * (f64::from(i) + 0.5)) * step).sum();
        assert!((mass(-0.7, 1.3) - sum).abs() < 1e-9);
        assert!((mass(3.0, 3.0 + 0.99 * NARROW) / mass(3.0, 3.0 + 1.01 * NARROW) - 0.99 / 1.01).abs() < 1e-5);
    }

    #[test]
    fn lapses_are_written_as_a_number_or_a_word() {
        for (text, lapse) in [("0.05", Lapse::Rate(0.05)), ("\"infer\"", Lapse::Infer)] {
            assert_eq!(serde_json::from_str::<Lapse>(text).unwrap(), lapse);
            assert_eq!(serde_json::to_string(&lapse).unwrap(), text);
            assert_eq!(text.trim_matches('"').parse::<Lapse>().unwrap(), lapse);
        }
        for text in ["0", "1", "-0.1", "often", "nan"] {
            assert!(text.parse::<Lapse>().unwrap_err().to_string().starts_with("lapse: must be"), "{text}");
        }
    }
}
