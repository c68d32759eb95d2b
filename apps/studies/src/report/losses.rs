//! Loss curves of training: of one model, network by network, and of all models that a benchmark trains.

use crate::plot::{Axis, CATEGORICAL, ChartGrid, Figure, LineChart, Result, Rule, Series};
use crate::study::benchmark::{NetworkResults, TaskResults, Trained};
use crate::study::quantile;
use crate::study::results::{LossCurves, RunResults};
use plotters::style::RGBColor;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// What spans more than this factor is drawn on a logarithmic axis.
pub const LOGARITHMIC_FROM: f64 = 5.0;

/// Small charts in a row.
const COLUMNS: usize = 4;

/// Colours of training and validation, and of networks that were tried and not used.
const TRAINING: RGBColor = CATEGORICAL[0];
const VALIDATION: RGBColor = CATEGORICAL[2];
const NOT_USED: RGBColor = RGBColor(0x9a, 0xa1, 0xaa);

fn curve(label: &str, color: RGBColor, values: &[f64]) -> Series {
    let points = values.iter().enumerate().map(|(i, &loss)| ((i + 1) as f64, loss)).collect();
    Series { label: label.into(), color, points, dots: false, dashed: false }
}

fn epochs<'l>(curves: impl IntoIterator<Item = &'l LossCurves>) -> Axis {
    let most = curves.into_iter().map(|curves| curves.training.len()).max().unwrap_or(0);
    Axis::linear("epoch", 0.0, 1.02 * most.max(2) as f64, 6)
}

/// The axis of losses; `None` where there is none that is finite.
fn losses<'l>(curves: impl IntoIterator<Item = &'l LossCurves>) -> Option<Axis> {
    let all = curves.into_iter().flat_map(|curves| curves.training.iter().chain(&curves.validation).copied());
    let mut sorted: Vec<f64> = all.filter(|loss| loss.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let (&least, &most) = (sorted.first()?, sorted.last()?);
    Some(if least > 0.0 && most > LOGARITHMIC_FROM * least {
        Axis::logarithmic("loss", sorted.iter().copied())
    } else {
        // The first epochs are far above the rest: a linear axis starts below them.
        let top = quantile(&sorted, 0.97);
        Axis::around("loss", sorted.iter().copied().filter(|loss| *loss <= top), 5)
    })
}

/// Training and validation losses of one network; `None` where none is finite.
pub fn chart(network: &LossCurves) -> Option<LineChart> {
    let kept = Rule::Vertical { label: format!("kept: epoch {}", network.best_epoch), at: network.best_epoch as f64 };
    Some(LineChart {
        x: epochs([network]),
        y: losses([network])?,
        bands: vec![],
        rules: vec![kept],
        series: vec![
            curve("training", TRAINING, &network.training),
            curve("validation", VALIDATION, &network.validation),
        ],
    })
}

/// One figure for each network of a model.
///
/// # Errors
/// When something cannot be drawn.
pub fn of_run(run: &RunResults) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for network in &run.training.networks {
        let Some(chart) = chart(network) else { continue };
        let name = format!("{}-loss-{}", run.name, network.network.replace(", ", "-").replace(' ', "-"));
        let figure = chart.figure(&name, &format!("Training of the {} network", network.network))?;
        let best = kept_at(network).map_or(f64::NAN, |point| point.1);
        figures.push(figure.described(
            "Loss on the training rows and on rows that were held out (on averaged weights). The weights of the marked epoch \
             are the ones used.",
            format!("Loss curves over {} epochs; best validation loss {best:.4} in epoch {}.", network.training.len(), network.best_epoch),
        ));
    }
    Ok(figures)
}

/// Epoch and validation loss of the weights that were kept.
fn kept_at(curves: &LossCurves) -> Option<(f64, f64)> {
    Some((curves.best_epoch as f64, *curves.validation.get(curves.best_epoch.checked_sub(1)?)?))
}

/// What a network predicts: networks of one family have the same loss. "likelihood, member 2 of 4" is of the family "likelihood".
fn family(curves: &LossCurves) -> &str {
    curves.network.split(',').next().unwrap_or_default()
}

/// All curves of one family and one size of training set.
struct Chart<'r> {
    heading: String,
    family: &'r str,
    curves: Vec<&'r LossCurves>,
}

/// Families row by row, sizes in columns; those without curves are left out.
fn charts(task: &TaskResults) -> Vec<Chart<'_>> {
    let mut families: Vec<&str> = Vec::new();
    for curves in task.networks.iter().flat_map(|network| &network.losses) {
        if !families.contains(&family(curves)) {
            families.push(family(curves));
        }
    }
    let trained = || task.networks.iter().map(|network| network.trained);
    let sizes: BTreeSet<Option<u64>> = trained().map(|trained| trained.simulations).collect();
    let sets: BTreeSet<usize> = trained().map(|trained| trained.n_max).collect();
    let mut charts = Vec::new();
    for family_name in families {
        for &n_max in &sets {
            for &size in &sizes {
                let here =
                    |network: &&NetworkResults| (network.trained.simulations, network.trained.n_max) == (size, n_max);
                let curves = task.networks.iter().filter(here).flat_map(|network| &network.losses);
                let curves: Vec<&LossCurves> = curves.filter(|curves| family(curves) == family_name).collect();
                let of_sets = if n_max > 1 { format!(", n_max = {n_max}") } else { String::new() };
                let of_size = size.map_or_else(String::new, |rows| format!(", {rows} simulations"));
                charts.push(Chart { heading: format!("{family_name}{of_sets}{of_size}"), family: family_name, curves });
            }
        }
    }
    charts.retain(|chart| !chart.curves.is_empty());
    charts
}

/// Networks that were not used first, so that they lie below.
fn series(curves: &[&LossCurves]) -> Vec<Series> {
    let kept = || curves.iter().filter(|curves| curves.kept);
    let tried = curves.iter().filter(|curves| !curves.kept);
    let dot = |curves: &LossCurves| {
        Series::new("weights that are used", CATEGORICAL[5], kept_at(curves).into_iter().collect()).with_dots(true)
    };
    let tried = tried.map(|curves| curve("validation of networks tried and not used", NOT_USED, &curves.validation));
    let training = kept().map(|curves| curve("training", TRAINING, &curves.training));
    let validation = kept().map(|curves| curve("validation", VALIDATION, &curves.validation));
    tried.chain(training).chain(validation).chain(kept().map(|curves| dot(curves))).collect()
}

/// All networks of a task (paper Fig. 6); `None` where no model has records.
///
/// # Errors
/// When something cannot be drawn.
pub fn of_task(task: &TaskResults) -> Result<Option<Figure>> {
    let charts = charts(task);
    // Sizes of one family compare; what was tried and not used may lie far above, outside.
    let axis = |family: &str| {
        let here = charts.iter().filter(|chart| chart.family == family);
        losses(here.flat_map(|chart| chart.curves.iter().copied()).filter(|curves| curves.kept))
    };
    let panel = |chart: &Chart<'_>| {
        let drawn = LineChart {
            x: epochs(chart.curves.iter().copied()),
            y: axis(chart.family)?,
            bands: vec![],
            rules: vec![],
            series: series(&chart.curves),
        };
        Some((chart.heading.clone(), drawn))
    };
    let panels: Vec<(String, LineChart)> = charts.iter().filter_map(panel).collect();
    if panels.is_empty() {
        return Ok(None);
    }
    let sizes = task.networks.iter().map(|network| network.trained.simulations).collect::<BTreeSet<_>>().len();
    let columns = if sizes > 1 { sizes.min(COLUMNS) } else { panels.len().min(COLUMNS) };
    let count: usize = charts.iter().map(|chart| chart.curves.len()).sum();
    let figure = ChartGrid { columns, panels }
        .figure(&format!("{}-losses", task.name), &format!("{}: training of the networks", task.name))?;
    let best = charts.iter().filter_map(|chart| {
        let kept = chart.curves.iter().filter(|curves| curves.kept);
        let least = kept.filter_map(|curves| kept_at(curves)).map(|point| point.1).min_by(f64::total_cmp)?;
        Some(format!("{} {least:.4}", chart.heading))
    });
    let alternative =
        format!("Loss curves of {count} networks. Best validation losses: {}.", super::sentence::listed(best));
    Ok(Some(
        figure
            .described(
                "Loss on the training rows and on rows that were held out (on averaged weights), one curve a network and seed. \
                 Curves that still fall at the end ask for more epochs; validation far above training, for more simulations. \
                 Networks that were not used and lie above the frame run along its edge.",
                alternative,
            )
            .with_data(table(task)),
    ))
}

/// All curves as CSV, those of networks that were not used included.
fn table(task: &TaskResults) -> String {
    let mut text = String::from("network,used,simulations,n_max,seed,epoch,training,validation\n");
    for network in &task.networks {
        let Trained { simulations, seed, n_max } = network.trained;
        let rows = simulations.map_or_else(String::new, |rows| rows.to_string());
        for curves in &network.losses {
            for (epoch, (training, validation)) in curves.training.iter().zip(&curves.validation).enumerate() {
                let (name, used) = (curves.network.replace('"', "\"\""), u8::from(curves.kept));
                let _ = writeln!(text, "\"{name}\",{used},{rows},{n_max},{seed},{},{training},{validation}", epoch + 1);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::benchmark::ShownSet;
    use tallsbi::data::Prior;

    fn curves(network: &str, kept: bool, losses: [f64; 3]) -> LossCurves {
        let validation = losses.map(|loss| loss + 0.1).to_vec();
        LossCurves { network: network.into(), kept, best_epoch: 2, training: losses.to_vec(), validation }
    }

    fn task(networks: Vec<(Option<u64>, Vec<LossCurves>)>) -> TaskResults {
        let network = |(simulations, losses)| NetworkResults {
            trained: Trained { simulations, seed: 0, n_max: 1 },
            architecture: "likelihood".into(),
            losses,
        };
        TaskResults {
            name: "t".into(),
            reference: String::new(),
            ignored: vec![],
            prior: Prior::uniform(&[("a", 0.0, 1.0)]).expect("a prior"),
            units: vec![String::new()],
            shown: ShownSet { set: 1, reference: String::new(), truth: None },
            reference_dirac: vec![],
            networks: networks.into_iter().map(network).collect(),
            runs: vec![],
        }
    }

    /// Published networks have no records; losses that are not finite cannot be drawn.
    #[test]
    fn models_without_records_have_no_figure() {
        for losses in [vec![], vec![curves("noise", true, [f64::NAN; 3])]] {
            assert!(of_task(&task(vec![(None, losses)])).expect("no error").is_none());
        }
    }

    /// A linear network that was tried does not flatten the curves of those in use.
    #[test]
    fn the_axis_is_that_of_the_networks_in_use() {
        let used = || curves("likelihood, member 1 of 2", true, [3.0, 2.0, 1.9]);
        let labels = |tried: LossCurves| -> Vec<String> {
            let figure = of_task(&task(vec![(None, vec![tried, used()])])).expect("draws").expect("has curves");
            let svg = figure.svg();
            let text = |part: &str| part.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
            svg.split("<text").skip(1).map(text).collect()
        };
        let far = curves("likelihood, linear", false, [900.0, 800.0, 700.0]);
        let near = curves("likelihood, linear", false, [3.0, 2.0, 1.9]);
        assert_eq!(labels(far), labels(near));
    }

    /// Members and candidates of one likelihood share a chart; every size has its own; all values are in the CSV.
    #[test]
    fn networks_of_one_family_share_a_chart() {
        let all = || {
            vec![
                curves("likelihood, diagonal", false, [3.0, 2.5, 2.4]),
                curves("likelihood, member 1 of 2", true, [3.0, 2.0, 1.9]),
                curves("likelihood, member 2 of 2", true, [3.1, 2.1, 1.8]),
            ]
        };
        let task = task(vec![(Some(100), all()), (Some(200), all())]);
        let charts = charts(&task);
        assert_eq!(charts.iter().map(|chart| chart.curves.len()).collect::<Vec<_>>(), [3, 3]);
        let figure = of_task(&task).expect("draws").expect("has curves");
        for heading in ["likelihood, 100 simulations", "likelihood, 200 simulations", "tried and not used"] {
            assert!(figure.svg().contains(heading), "{heading}");
        }
        assert!(figure.alternative.contains("likelihood, 100 simulations 2.1000"), "{}", figure.alternative);
        let table = table(&task);
        assert_eq!(table.lines().count(), 1 + 2 * 3 * 3);
        assert!(table.contains("\"likelihood, diagonal\",0,200,1,0,3,2.4,2.5\n"), "{table}");
    }
}
