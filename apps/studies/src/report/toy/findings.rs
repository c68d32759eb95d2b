//! What the runs show, in sentences.

use super::comparison::{Study, max_sliced, of, reference_steps, samplers, spread, time_ratios};
use super::names::epsilon;
use crate::report::finding::{Finding, Verdict};
use crate::report::sentence::listed;
use crate::study::named_sampler::{NamedMethod, NamedSampler};
use crate::study::toy::paper::{TABLE_CELL, printed};
use crate::study::toy::{CellResults, ToyRun};
use tallsbi::inference::analytic::ToyProblem;

/// What is close enough to two exact samples, as a ratio: the distance of two sets of samples varies by about this much.
const NOISE: f64 = 1.3;

/// What the summary says of one problem.
pub(super) fn findings(study: &Study<'_>) -> Vec<Finding> {
    [accuracy_finding(study), exact_finding(study), speed_finding(study), Some(trouble_finding(study))]
        .into_iter()
        .flatten()
        .collect()
}

/// GAUSS in the cell of the paper's table, over all T.
fn accuracy_finding(study: &Study<'_>) -> Option<Finding> {
    let (m, n, amplitude) = study.table_cell();
    let cells = study.at(m, n, amplitude);
    let means: Vec<(NamedSampler, f64)> = samplers(&cells)
        .into_iter()
        .filter(|sampler| matches!(sampler.method, NamedMethod::Gauss | NamedMethod::GaussDpm))
        .map(|sampler| (sampler, spread(&max_sliced(&cells, sampler)).mean))
        .collect();
    let worst = means.iter().map(|(_, mean)| *mean).fold(0.0, f64::max);
    let steps = listed(means.iter().map(|(s, mean)| format!("{mean:.3} ({} {})", s.method.label(), s.steps)));
    let theirs: Vec<f64> = if (m, n, amplitude) == TABLE_CELL {
        means.iter().filter_map(|(s, _)| Some(printed(study.problem, s.method, s.steps)?.mean)).collect()
    } else {
        vec![]
    };
    let best = theirs.iter().copied().fold(f64::INFINITY, f64::min);
    let (verdict, compared) = if theirs.is_empty() {
        (Verdict::Neutral, String::new())
    } else {
        let largest = theirs.iter().copied().fold(0.0, f64::max);
        let verdict = if worst <= best { Verdict::Good } else { Verdict::Caution };
        (verdict, format!("; the paper has {best:.2} to {largest:.2}"))
    };
    (!means.is_empty()).then(|| {
        let place = format!("m = {m}, n = {n}, {}", epsilon(amplitude));
        (verdict, format!("GAUSS is {steps} from the exact posterior at {place}{compared} (max-sliced Wasserstein)."))
    })
}

/// JAC with exact scores on the Gaussian, where it is exact up to its steps.
fn exact_finding(study: &Study<'_>) -> Option<Finding> {
    if study.problem != ToyProblem::Gaussian {
        return None;
    }
    let sampler = study.compared().into_iter().find(|sampler| sampler.method == NamedMethod::Jac)?;
    let exact: Vec<&CellResults> = study.cells.iter().copied().filter(|cell| cell.amplitude == 0.0).collect();
    let values = max_sliced(&exact, sampler);
    let floors: Vec<f64> =
        exact.iter().filter(|cell| of(cell, sampler).is_some()).map(|cell| cell.floor.max_sliced).collect();
    let (found, floor) = (spread(&values).mean, spread(&floors).mean);
    let verdict = if found <= NOISE * floor { Verdict::Good } else { Verdict::Caution };
    (!values.is_empty()).then(|| {
        let text = format!(
            "With exact scores JAC ({} steps) is on average {found:.3} from the exact posterior, where two sets of exact samples are \
             {floor:.3} apart.",
            sampler.steps
        );
        (verdict, text)
    })
}

fn speed_finding(study: &Study<'_>) -> Option<Finding> {
    let (m, n, amplitude) = study.table_cell();
    let cells = study.at(m, n, amplitude);
    let steps = reference_steps(&cells)?;
    let share = |method: NamedMethod, steps_of: usize| {
        let ratios = time_ratios(&cells, NamedSampler::new(method, steps_of), steps);
        (!ratios.is_empty()).then(|| format!("{} {steps_of} takes {:.3}", method.label(), spread(&ratios).mean))
    };
    let all = [(NamedMethod::Gauss, steps), (NamedMethod::Jac, steps), (NamedMethod::GaussDpm, 30)];
    let parts: Vec<String> = all.into_iter().filter_map(|(method, steps)| share(method, steps)).collect();
    let text = format!("Of the time of LANGEVIN with {steps} steps, {}.", listed(parts.iter().cloned()));
    (!parts.is_empty()).then_some((Verdict::Neutral, text))
}

fn trouble_finding(study: &Study<'_>) -> Finding {
    let count = |baseline: bool, bad: &dyn Fn(&ToyRun) -> bool| {
        let runs = study.cells.iter().flat_map(|cell| &cell.runs);
        runs.filter(|run| (run.sampler.method == NamedMethod::Langevin) == baseline && bad(run)).count()
    };
    let (ours, theirs) = (count(false, &|run| run.distances.is_none()), count(true, &|run| run.distances.is_none()));
    let (far, far_theirs) = (count(false, &|run| run.diverged > 0), count(true, &|run| run.diverged > 0));
    let verdict = if ours + far == 0 { Verdict::Good } else { Verdict::Caution };
    let text = format!(
        "Runs with samples that are not finite: {ours} of GAUSS and JAC, {theirs} of LANGEVIN; with samples beyond 100 prior standard \
         deviations: {far} and {far_theirs}."
    );
    (verdict, text)
}
