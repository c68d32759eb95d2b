//! The figures of one model's part of the report.

use super::losses::{self, LOGARITHMIC_FROM};
use super::pairs::Pairs;
use super::predictive;
use super::sentence::listed;
use crate::plot::{
    Axis, Band, CATEGORICAL, DirectionChart, Figure, Heatmap, LineChart, PairAxis, PairPlot, Result, Rule, SampleSet,
    Series, draw_side_by_side, pretty_name, sequential, with_unit,
};
use crate::study::benchmark::Metric;
use crate::study::quantile;
use crate::study::results::{Marginal, PosteriorResults, RunResults};
use ndarray::Array2;
use plotters::style::RGBColor;

/// All figures of one model; those without data are left out.
pub struct RunFigures {
    /// Marginals, for all n and close up.
    pub pairs: Vec<Figure>,
    /// Before and after refinement.
    pub refined: Option<Figure>,
    /// Distance to the true parameters.
    pub dirac: Option<Figure>,
    /// Posterior over prior spread.
    pub contraction: Option<Figure>,
    /// What single values tell.
    pub sensitivity: Option<Figure>,
    /// Local two-sample test.
    pub local_c2st: Option<Figure>,
    /// Expected coverage.
    pub coverage: Option<Figure>,
    /// Correlations.
    pub correlation: Option<Figure>,
    /// Eigen-directions.
    pub directions: Option<Figure>,
    /// Observations against data simulated at the posterior.
    pub predictive: Option<Figure>,
    /// Observations against simulations.
    pub observations: Option<Figure>,
    /// Loss curves.
    pub losses: Vec<Figure>,
}

/// Of more values a line has no dots.
const MANY_VALUES: usize = 20;

/// Observations with fewer values than this are not drawn as a profile.
const PROFILE_VALUES: usize = 8;

impl RunFigures {
    /// Draws them; `samples` are those of `run.posteriors`, `refined` those of `run.refined`.
    ///
    /// # Errors
    /// When the values cannot be drawn.
    pub fn draw(run: &RunResults, samples: &[Array2<f64>], refined: Option<&Array2<f64>>) -> Result<Self> {
        Ok(Self {
            pairs: pairs(run, samples)?,
            refined: samples
                .last()
                .zip(refined)
                .map(|(before, after)| before_and_after(run, before, after))
                .transpose()?,
            dirac: dirac(run)?,
            contraction: contraction(run)?,
            sensitivity: sensitivity(run)?,
            local_c2st: local_c2st(run)?,
            coverage: coverage(run)?,
            correlation: correlation(run)?,
            directions: directions(run)?,
            predictive: predictive::figure(run)?,
            observations: observations(run)?,
            losses: losses::of_run(run)?,
        })
    }
}

fn counts(run: &RunResults) -> Vec<f64> {
    run.posteriors.iter().map(|posterior| posterior.n_obs as f64).collect()
}

fn names(run: &RunResults) -> Vec<String> {
    run.prior.names().iter().map(|name| pretty_name(name)).collect()
}

const N_LABEL: &str = "n, number of observations";

fn pairs(run: &RunResults, samples: &[Array2<f64>]) -> Result<Vec<Figure>> {
    let last = run.posteriors.last();
    let described = last.map(|posterior| format!("At the largest n: {}.", described(run, posterior)));
    Pairs {
        name: &run.name,
        title: "Posterior for each number of observations",
        what: "Posterior",
        prior: &run.prior,
        units: &run.units,
        truth: run.truth.as_deref(),
        posteriors: run
            .posteriors
            .iter()
            .map(|posterior| posterior.n_obs)
            .zip(samples.iter().map(Array2::view))
            .collect(),
        reference: None,
        described: described.unwrap_or_default(),
    }
    .figures()
}

/// Colour of what is compared with.
const OUTLINE: RGBColor = RGBColor(0x00, 0x00, 0x00);

/// The network's posterior at the largest n and the refined one.
fn before_and_after(run: &RunResults, before: &Array2<f64>, after: &Array2<f64>) -> Result<Figure> {
    let n = run.refined.as_ref().map_or(0, |refined| refined.n_obs);
    let support = run.prior.support();
    let axis = |i: usize| PairAxis {
        label: with_unit(&run.prior.names()[i], &run.units[i]),
        range: None,
        bounds: support[i],
        truth: run.truth.as_ref().map(|truth| truth[i]),
        prior: Vec::new(),
    };
    let plot = PairPlot {
        slices: None,
        axes: (0..run.prior.dim()).map(axis).collect(),
        sets: vec![
            SampleSet { label: "refined".into(), color: sequential(1, 2), samples: after.view(), outline: false },
            SampleSet { label: "network".into(), color: OUTLINE, samples: before.view(), outline: true },
        ],
    };
    let caption = format!(
        "The posterior given n = {n} observations after refinement, and dashed what the network had before. Below the diagonal: regions that hold \
         50 % and 95 %."
    );
    let marginals = run.refined.as_ref().map_or(&[][..], |refined| &refined.marginals);
    let alternative =
        format!("Pair plot of the refined posterior over the network's. Refined: {}.", ranges(run, marginals));
    let title = "Posterior before and after refinement";
    Ok(plot.figure(&format!("{}-refined", run.name), title)?.described(caption, alternative))
}

fn samples_count(run: &RunResults) -> usize {
    run.posteriors.len()
}

fn described(run: &RunResults, posterior: &PosteriorResults) -> String {
    ranges(run, &posterior.marginals)
}

fn ranges(run: &RunResults, marginals: &[Marginal]) -> String {
    listed(
        names(run)
            .into_iter()
            .zip(marginals)
            .map(|(name, marginal)| format!("{name} between {:.4} and {:.4}", marginal.lower, marginal.upper)),
    )
}

/// One curve a parameter against n.
fn by_parameter(run: &RunResults, value: impl Fn(&PosteriorResults, usize) -> Option<f64>) -> Vec<Series> {
    let one = |(i, name): (usize, String)| {
        Series::new(
            name,
            CATEGORICAL[i % CATEGORICAL.len()],
            run.posteriors.iter().filter_map(|p| Some((p.n_obs as f64, value(p, i)?))).collect(),
        )
        .with_dots(true)
        .with_dashes(i >= CATEGORICAL.len())
    };
    names(run).into_iter().enumerate().map(one).collect()
}

/// First and last value of each curve.
pub fn ends(series: &[Series]) -> String {
    let one = |series: &Series| {
        let (first, last) = (series.points.first()?, series.points.last()?);
        Some(format!("{} from {:.3} at n = {} to {:.3} at n = {}", series.label, first.1, first.0, last.1, last.0))
    };
    listed(series.iter().filter_map(one))
}

/// Curves against n; on a logarithmic axis where they span much.
pub fn against_n(counts: &[f64], y: &str, series: Vec<Series>) -> LineChart {
    let values = || series.iter().flat_map(|series| series.points.iter().map(|point| point.1));
    let positive = || values().filter(|value| value.is_finite() && *value > 0.0);
    let (least, most) = (positive().fold(f64::INFINITY, f64::min), positive().fold(0.0, f64::max));
    let y =
        if most > LOGARITHMIC_FROM * least { Axis::logarithmic(y, values()) } else { Axis::from_zero(y, values(), 5) };
    LineChart { x: Axis::at(N_LABEL, counts), y, bands: vec![], rules: vec![], series }
}

/// A dashed line proportional to 1/√n below the curves, to compare their slopes with.
pub fn root_n(series: &[Series], counts: &[f64]) -> Series {
    let first = counts.first().copied().unwrap_or(1.0);
    let start = series.iter().filter_map(|s| s.points.first()).map(|p| p.1).fold(f64::INFINITY, f64::min);
    Series::new(
        "proportional to 1/√n",
        CATEGORICAL[5],
        counts.iter().map(|&n| (n, 0.7 * start * (first / n).sqrt())).collect(),
    )
    .with_dashes(true)
}

fn dirac(run: &RunResults) -> Result<Option<Figure>> {
    let prior: Vec<f64> = run.prior.mean_and_sd().into_iter().map(|(_, sd)| sd).collect();
    let scaled =
        |posterior: &PosteriorResults, i: usize| posterior.marginals[i].dirac_mmd.map(|mmd| mmd.sqrt() / prior[i]);
    let series = by_parameter(run, scaled);
    if run.posteriors.is_empty() || series.iter().all(|series| series.points.is_empty()) {
        return Ok(None);
    }
    let alternative = format!("Root of the MMD to the true value in prior standard deviations: {}.", ends(&series));
    let chart = against_n(&counts(run), Metric::Dirac.name(), series);
    let figure = chart.figure(&format!("{}-dirac", run.name), "Distance of the posterior from the true parameters")?;
    Ok(Some(figure.described(
        "How far each marginal is from having collapsed onto the true value: root of the squared maximum mean discrepancy \
         Var + (mean − θ*)², divided by the prior's standard deviation so that parameters compare. It should fall with n.",
        alternative,
    )))
}

fn contraction(run: &RunResults) -> Result<Option<Figure>> {
    let mut series = by_parameter(run, |posterior, i| Some(posterior.marginals[i].contraction));
    if run.posteriors.is_empty() {
        return Ok(None);
    }
    let alternative = format!("Posterior over prior standard deviation: {}.", ends(&series));
    series.push(root_n(&series, &counts(run)));
    let chart = against_n(&counts(run), "posterior sd / prior sd", series);
    let figure = chart.figure(&format!("{}-contraction", run.name), "How the posterior contracts with n")?;
    Ok(Some(figure.described(
        "Standard deviation of each marginal over that of the prior. A parameter that the data fix contracts like 1/√n (the \
         slope of the dashed line); one that stays near 1 is not learned.",
        alternative,
    )))
}

fn sensitivity(run: &RunResults) -> Result<Option<Figure>> {
    let Some(found) = run.sensitivity.as_ref().filter(|found| found.values.len() > 1) else { return Ok(None) };
    let width = run.observations.bin_hz.unwrap_or(1.0);
    let series: Vec<Series> = names(run)
        .into_iter()
        .enumerate()
        .map(|(i, label)| {
            Series::new(
                label,
                CATEGORICAL[i % CATEGORICAL.len()],
                (0..)
                    .zip(&found.values)
                    .map(|(at, value)| (f64::from(at) * width, value.get(i).map_or(0.0, |f| f.sqrt())))
                    .collect(),
            )
            .with_dots(found.values.len() <= MANY_VALUES)
        })
        .collect();
    let heights = series.iter().flat_map(|series| series.points.iter().map(|point| point.1));
    let x = if run.observations.bin_hz.is_some() { "frequency, Hz" } else { "index of the value" };
    let chart = LineChart {
        y: Axis::from_zero("√information, 1 / prior sd", heights, 5),
        x: Axis::linear(x, 0.0, (found.values.len() - 1) as f64 * width, 8),
        bands: vec![],
        rules: vec![],
        series,
    };
    let alternative = format!("Root of the Fisher information of single values: {}.", ends(&chart.series));
    let figure =
        chart.figure(&format!("{}-sensitivity", run.name), "Which values of an observation tell of which parameter")?;
    Ok(Some(figure.described(
        "Root of the Fisher information that each value of one observation has for itself, at the posterior, averaged over it: 1 means that a single such value, were all other parameters \
         known, would tell the parameter to one prior standard deviation; n observations tell √n times as much. A parameter whose line is near 0 everywhere is not identified \
         by single values; two parameters with the same line are hard to tell apart.",
        alternative,
    )))
}

fn local_c2st(run: &RunResults) -> Result<Option<Figure>> {
    let tested: Vec<_> = run.posteriors.iter().filter_map(|p| Some((p.n_obs as f64, p.local_c2st.as_ref()?))).collect();
    if tested.is_empty() {
        return Ok(None);
    }
    let line = |label: &str, points: Vec<(f64, f64)>| Series::new(label, CATEGORICAL[0], points).with_dots(true);
    let limits: Vec<(f64, f64, f64)> = tested
        .iter()
        .map(|(n, test)| {
            let mut null = test.null_statistics.clone();
            null.sort_unstable_by(f64::total_cmp);
            (*n, quantile(&null, 0.05), quantile(&null, 0.95))
        })
        .collect();
    let n: Vec<f64> = tested.iter().map(|(n, _)| *n).collect();
    let heights = tested.iter().map(|(_, test)| test.statistic).chain(limits.iter().map(|limit| limit.2));
    let statistic = LineChart {
        x: Axis::at(N_LABEL, &n),
        y: Axis::from_zero("ℓ-C2ST statistic", heights, 5),
        bands: vec![Band { label: "if the posterior is right (5–95 %)".into(), color: CATEGORICAL[5], limits }],
        rules: vec![],
        series: vec![line("this posterior", tested.iter().map(|(n, test)| (*n, test.statistic)).collect())],
    };
    let p_value = LineChart {
        x: Axis::at(N_LABEL, &n),
        y: Axis::linear("p-value", 0.0, 1.02, 6),
        bands: vec![],
        rules: vec![Rule::Horizontal { label: "0.05: rejected below".into(), at: 0.05 }],
        series: vec![line("p-value", tested.iter().map(|(n, test)| (*n, test.p_value)).collect())],
    };
    let title = "Is the posterior right at these observations? Local two-sample test";
    let figure = draw_side_by_side(&format!("{}-local-c2st", run.name), title, [&statistic, &p_value])?;
    let trials = tested[0].1.null_statistics.len();
    let values = listed(tested.iter().map(|(n, test)| format!("{:.3} at n = {n}", test.p_value)));
    Ok(Some(figure.described(
        format!(
            "Left: how well a classifier tells posterior samples from true parameters at the observations (0: not at all), \
             and the range it has for a right posterior, from {trials} classifiers trained on exchanged labels. Right: the \
             p-value. Each number of observations is a test of its own."
        ),
        format!("p-values of the local two-sample test: {values}."),
    )))
}

/// Shares of truths inside credible regions, by their level.
pub struct CoverageCurve {
    /// Name in the legend.
    pub label: String,
    /// Colour.
    pub color: RGBColor,
    /// Credibility levels.
    pub levels: Vec<f64>,
    /// Share of truths inside, at each.
    pub coverage: Vec<f64>,
    /// Pairs tested.
    pub pairs: usize,
}

/// Coverage curves over each other, with the band in which 95 % of right posteriors' lie, for the fewest pairs.
pub fn coverage_chart(curves: &[CoverageCurve]) -> LineChart {
    let pairs = curves.iter().map(|curve| curve.pairs).min().unwrap_or(1).max(1) as f64;
    // 1.96 binomial standard errors at each level.
    let width = |level: f64| 1.96 * (level * (1.0 - level) / pairs).sqrt();
    let levels = curves.first().map(|curve| curve.levels.clone()).unwrap_or_default();
    let limits = levels.iter().map(|&level| (level, (level - width(level)).max(0.0), (level + width(level)).min(1.0)));
    let series = curves.iter().map(|curve| {
        Series::new(
            curve.label.clone(),
            curve.color,
            curve.levels.iter().copied().zip(curve.coverage.iter().copied()).collect(),
        )
    });
    LineChart {
        x: Axis::linear("credibility level", 0.0, 1.0, 5),
        y: Axis::linear("share that holds the truth", 0.0, 1.0, 5),
        bands: vec![Band { label: "right (95 % band)".into(), color: CATEGORICAL[5], limits: limits.collect() }],
        rules: vec![],
        series: series.collect(),
    }
}

fn coverage(run: &RunResults) -> Result<Option<Figure>> {
    let known: Vec<_> =
        run.posteriors.iter().enumerate().filter_map(|(i, p)| Some((i, p, p.coverage.as_ref()?))).collect();
    let Some((_, _, first)) = known.first() else { return Ok(None) };
    let curves: Vec<CoverageCurve> = known
        .iter()
        .map(|(i, posterior, coverage)| CoverageCurve {
            label: format!("n = {}", posterior.n_obs),
            color: sequential(*i, samples_count(run)),
            levels: coverage.levels.clone(),
            coverage: coverage.coverage.clone(),
            pairs: coverage.pairs,
        })
        .collect();
    let chart = coverage_chart(&curves);
    let figure =
        chart.figure(&format!("{}-coverage", run.name), "Do credible regions hold the truth as often as they say?")?;
    let values = listed(known.iter().map(|(_, p, c)| format!("p = {:.3} at n = {}", c.p_value, p.n_obs)));
    Ok(Some(figure.described(
        format!(
            "Expected coverage (TARP) over {} pairs (θ, x) drawn from prior and simulator, in balls around random points. Steep \
             at both ends: posteriors too narrow or off centre, truths lie beyond them. Flat at both ends: too wide.",
            first.pairs
        ),
        format!("Expected coverage against credibility level: {values}."),
    )))
}

fn correlation(run: &RunResults) -> Result<Option<Figure>> {
    let (Some(first), Some(last)) = (run.posteriors.first(), run.posteriors.last()) else { return Ok(None) };
    if run.prior.dim() < 2 {
        return Ok(None);
    }
    let shown = if first.n_obs == last.n_obs { vec![last] } else { vec![first, last] };
    let heatmap = Heatmap {
        names: names(run),
        matrices: shown.iter().map(|p| (format!("n = {}", p.n_obs), p.correlation.clone())).collect(),
    };
    let figure = heatmap.figure(&format!("{}-correlation", run.name), "Correlations in the posterior")?;
    Ok(Some(figure.described(
        "Correlation of each pair of parameters in the posterior. Close to ±1 the data fix one combination of the two, not \
         each of them.",
        format!("Correlation matrices; the numbers for n = {} are in the table.", last.n_obs),
    )))
}

fn directions(run: &RunResults) -> Result<Option<Figure>> {
    let Some(last) = run.posteriors.last().filter(|_| run.prior.dim() > 1) else { return Ok(None) };
    let chart = DirectionChart {
        names: names(run),
        directions: last.directions.iter().map(|d| (d.spread, d.weights.clone())).collect(),
    };
    let title = format!("Which combinations of parameters the data fix (n = {})", last.n_obs);
    let figure = chart.figure(&format!("{}-directions", run.name), &title)?;
    let spreads = listed(last.directions.iter().map(|d| format!("{:.3}", d.spread)));
    Ok(Some(figure.described(
        "Eigen-directions of the posterior covariance, parameters measured in prior standard deviations. Left: how much of \
         each parameter goes into the direction. Right: the share of the prior's spread that is left along it. Direction 1 is \
         what the data fix best, the last one what they leave most open.",
        format!("Posterior over prior spread along the eigen-directions: {spreads}."),
    )))
}

fn observations(run: &RunResults) -> Result<Option<Figure>> {
    let support = &run.observations.support;
    if support.quantiles.len() < PROFILE_VALUES {
        return Ok(None);
    }
    let limits =
        |rows: &[[f64; 3]]| rows.iter().enumerate().map(|(i, row)| (i as f64, row[0], row[2])).collect::<Vec<_>>();
    let all = support.quantiles.iter().chain(&support.observed).flatten().copied();
    let middle = |label: &str, color, rows: &[[f64; 3]], dashed| {
        Series::new(label, color, rows.iter().enumerate().map(|(i, row)| (i as f64, row[1])).collect())
            .with_dashes(dashed)
    };
    let (x, y) = match run.observations.bin_hz {
        Some(width) => (format!("frequency bin ({width:.2} Hz each)"), "log₁₀ power"),
        None => ("index of the value".into(), "value"),
    };
    let chart = LineChart {
        x: Axis::linear(&x, 0.0, (support.quantiles.len() - 1) as f64, 8),
        y: Axis::around(y, all, 6),
        bands: vec![
            Band { label: "simulations, 99 %".into(), color: CATEGORICAL[5], limits: limits(&support.quantiles) },
            Band { label: "observations, full range".into(), color: CATEGORICAL[0], limits: limits(&support.observed) },
        ],
        rules: vec![],
        series: vec![
            middle("median of simulations", CATEGORICAL[5], &support.quantiles, true),
            middle("median of observations", CATEGORICAL[0], &support.observed, false),
        ],
    };
    let figure = chart.figure(&format!("{}-observations", run.name), "The observations beside the simulations")?;
    Ok(Some(figure.described(
        "Each value of the observations against the range of the training set. Where the observations leave it, the network \
         has never seen their like and the posterior cannot be trusted.",
        format!("{} of {} observations lie outside the simulations.", support.outside, support.distances.len()),
    )))
}
