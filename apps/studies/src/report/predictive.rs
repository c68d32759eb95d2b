//! Posterior predictive checks in words, as a figure and as a table.

use super::finding::{Finding, LEVEL, Verdict, number, p_value};
use super::sentence::{column_name, listed};
use super::table::{Cell, Table};
use crate::plot::{Axis, Band, CATEGORICAL, Figure, LineChart, Result, Series, TRUTH};
use crate::study::results::{PredictedStatistic, PredictiveResults, RunResults};
use plotters::style::RGBColor;
use tallsbi::diagnostics::predictive::Statistic;

/// Values that are named in the summary.
const NAMED: usize = 3;

/// Statistics in the table.
const LISTED: usize = 10;

/// Of more values a line has no dots.
const MANY_VALUES: usize = 20;

/// So few each have a tick.
const FEW_VALUES: usize = 20;

/// Departures at so few frequencies are a peak, or a hole.
const PEAK: usize = 4;

/// All statistics, farthest off first.
fn ordered(found: &PredictiveResults) -> Vec<&PredictedStatistic> {
    let mut all: Vec<&PredictedStatistic> = found.checks.iter().collect();
    all.sort_by(|a, b| a.adjusted.total_cmp(&b.adjusted).then(b.deviation().total_cmp(&a.deviation())));
    all
}

/// Those that depart.
fn departing(found: &PredictiveResults) -> Vec<&PredictedStatistic> {
    ordered(found).into_iter().filter(|one| one.adjusted < LEVEL).collect()
}

/// One of each value, farthest off first: its mean where that departs, which says most, else the farthest.
fn by_value<'a>(off: &[&'a PredictedStatistic]) -> Vec<&'a PredictedStatistic> {
    let mut values: Vec<&PredictedStatistic> = Vec::new();
    for &one in off {
        let column = one.check.column;
        if values.iter().all(|named| named.check.column != column) {
            let mut means = off.iter().filter(|other| other.check.statistic == Statistic::Mean);
            values.push(means.find(|other| other.check.column == column).copied().unwrap_or(one));
        }
    }
    values
}

fn statistic(statistic: Statistic, n: usize) -> &'static str {
    match statistic {
        Statistic::Mean if n == 1 => "value",
        Statistic::Mean => "mean",
        Statistic::Sd => "standard deviation",
        Statistic::Minimum => "smallest",
        Statistic::Maximum => "largest",
    }
}

/// What a departure of some of all values, all observed above their predictions or not, often comes from, where values are the power of a signal.
fn cause(values: usize, all: usize, above: bool) -> &'static str {
    if 2 * values > all {
        " It is most of the spectrum: are unit and gain right?"
    } else if values <= PEAK && above {
        " A narrow peak often is the mains (50 or 60 Hz, or what sampling folds them and their harmonics to)."
    } else {
        ""
    }
}

/// Whether data simulated at the posterior look like the observations.
pub fn finding(run: &RunResults) -> Option<Finding> {
    let found = run.predictive.as_ref()?;
    let (n, simulated) = (found.n_obs, found.draws - found.failed.min(found.draws));
    if found.checks.is_empty() {
        let text = format!(
            "Whether the fitted model reproduces the observations is not known: it could simulate only {simulated} data sets at {} draws of the posterior.",
            found.draws
        );
        return Some((Verdict::Caution, text));
    }
    let (off, all) = (departing(found), found.checks.len());
    let smallest = found.checks.iter().map(|one| one.adjusted).fold(1.0, f64::min);
    if off.is_empty() {
        let text = format!(
            "Data simulated at the posterior look like the observations at n = {n}: none of {all} statistics of their values departs ({} for all together).",
            p_value(smallest)
        );
        return Some((Verdict::Good, text));
    }
    let values = by_value(&off);
    let described = |one: &&PredictedStatistic| {
        let check = &one.check;
        format!(
            "{} ({} {}, predicted {} ± {})",
            column_name(&run.observations, found.first, check.column),
            statistic(check.statistic, n),
            number(check.observed),
            number(check.predicted),
            number(check.sd)
        )
    };
    let mut parts: Vec<String> = values.iter().take(NAMED).map(described).collect();
    if values.len() > NAMED {
        parts.push(format!("{} more of {} values", values.len() - NAMED, found.single.len()));
    }
    let above = values.iter().all(|one| one.check.observed > one.check.predicted);
    let cause = run.observations.bin_hz.map_or("", |_| cause(values.len(), found.single.len(), above));
    let text = format!(
        "The fitted model does not reproduce the observations at n = {n} ({} for all {all} statistics together): {}.{cause} The posterior is that of a model which lacks this.",
        p_value(smallest),
        listed(parts)
    );
    Some((Verdict::Caution, text))
}

/// How values are drawn: as they are where they are a spectrum, in units of their predicted spread where they are anything.
struct Scale {
    width: f64,
    /// Centre and spread of each value.
    units: Vec<(f64, f64)>,
}

impl Scale {
    fn new(run: &RunResults, found: &PredictiveResults) -> Self {
        // A normal distribution's quantiles are 2 × 1.96 standard deviations apart.
        let unit = |[low, middle, high]: &[f64; 3]| (*middle, if high > low { (high - low) / 3.92 } else { 1.0 });
        match run.observations.bin_hz {
            Some(width) => Self { width, units: vec![(0.0, 1.0); found.single.len()] },
            None => Self { width: 1.0, units: found.single.iter().map(unit).collect() },
        }
    }

    fn x(&self, value: usize) -> f64 {
        value as f64 * self.width
    }

    fn y(&self, value: usize, y: f64) -> f64 {
        (y - self.units[value].0) / self.units[value].1
    }

    fn band(&self, label: String, color: RGBColor, quantiles: &[[f64; 3]]) -> Band {
        let limit = |(i, row): (usize, &[f64; 3])| (self.x(i), self.y(i, row[0]), self.y(i, row[2]));
        Band { label, color, limits: quantiles.iter().enumerate().map(limit).collect() }
    }
}

/// Bands of predictions over the observed values; none of a single value.
///
/// # Errors
/// When the values cannot be drawn.
pub fn figure(run: &RunResults) -> Result<Option<Figure>> {
    let Some(found) = run.predictive.as_ref().filter(|found| found.single.len() > 1) else { return Ok(None) };
    let (n, d, scale) = (found.n_obs, found.single.len(), Scale::new(run, found));
    let mut bands = vec![scale.band("one predicted observation, 95 %".into(), CATEGORICAL[5], &found.single)];
    if n > 1 {
        bands.push(scale.band(format!("mean of {n} predicted, 95 %"), CATEGORICAL[4], &found.mean));
    }
    let observed = |statistic: Statistic, label: &str, dashed: bool| {
        Series::new(
            label,
            CATEGORICAL[0],
            (found.checks.iter().filter(|one| one.check.statistic == statistic))
                .map(|one| (scale.x(one.check.column), scale.y(one.check.column, one.check.observed)))
                .collect(),
        )
        .with_dots(!dashed && d <= MANY_VALUES)
        .with_dashes(dashed)
    };
    let mut series = vec![observed(Statistic::Mean, if n > 1 { "observed, mean" } else { "observed" }, false)];
    if n > 1 {
        let ends = [Statistic::Minimum, Statistic::Maximum];
        series.extend(ends.map(|end| observed(end, "observed, smallest and largest", true)));
    }
    let off = departing(found);
    // Each a curve of its own: they are not joined.
    series.extend(off.iter().filter(|one| one.check.statistic != Statistic::Sd).map(|one| {
        Series::new(
            "not reproduced",
            TRUTH,
            vec![(scale.x(one.check.column), scale.y(one.check.column, one.check.observed))],
        )
        .with_dots(true)
    }));
    let (x, y) = match run.observations.bin_hz {
        Some(_) => ("frequency, Hz", "log₁₀ power"),
        None => ("index of the value", "predicted sd from the predicted middle"),
    };
    let limits = bands.iter().flat_map(|band| band.limits.iter().flat_map(|(_, low, high)| [*low, *high]));
    let heights = series.iter().flat_map(|series| series.points.iter().map(|point| point.1)).chain(limits);
    let chart = LineChart {
        x: if run.observations.bin_hz.is_none() && d <= FEW_VALUES {
            Axis::at(x, &(0..d).map(|value| value as f64).collect::<Vec<_>>())
        } else {
            Axis::linear(x, 0.0, scale.x(d - 1), 8)
        },
        y: Axis::around(y, heights.collect::<Vec<_>>(), 6),
        bands,
        rules: vec![],
        series,
    };
    let figure =
        chart.figure(&format!("{}-predictive", run.name), "What the fitted model predicts, and what was observed")?;
    let caption = format!(
        "Each value of an observation: the range of data simulated at {} draws of the posterior given n = {n}, and what was observed. Where the observed leave \
         their bands the model does not produce such data, whatever its parameters; marked is what departs when all statistics are tested together at 5 % (spreads are in the table).",
        found.draws - found.failed.min(found.draws)
    );
    let alternative = match off.len() {
        0 => format!("Predicted ranges of {d} values; no observed statistic departs from its prediction."),
        count => format!("Predicted ranges of {d} values; {count} observed statistics depart, as the summary says."),
    };
    Ok(Some(figure.described(caption, alternative)))
}

/// The statistics that are farthest from their predictions.
pub fn table(run: &RunResults) -> Option<Table> {
    let found = run.predictive.as_ref().filter(|found| !found.checks.is_empty())?;
    let columns = ["value", "statistic", "observed", "predicted", "sd", "p, all together"];
    let caption = format!(
        "Statistics of the observations that are farthest from their predictions, of {}, n = {}",
        found.checks.len(),
        found.n_obs
    );
    let mut table = Table::new(format!("{}-predictive", run.name), caption, 2, &columns);
    for one in ordered(found).into_iter().take(LISTED) {
        let check = &one.check;
        let shown = p_value(one.adjusted).trim_start_matches("p = ").trim_start_matches("p ").to_owned();
        table.rows.push(vec![
            Cell::text(column_name(&run.observations, found.first, check.column)),
            Cell::text(statistic(check.statistic, found.n_obs)),
            check.observed.into(),
            check.predicted.into(),
            check.sd.into(),
            Cell::Shown(one.adjusted, shown),
        ]);
    }
    Some(table)
}
