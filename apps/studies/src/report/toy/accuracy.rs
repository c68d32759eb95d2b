//! Accuracy and time where all samplers are compared: Tables 1, 2 and 4.

use super::comparison::{Study, max_sliced, of, reference_steps, samplers, spread, time_ratios};
use super::names::{color, epsilon, id, name};
use crate::plot::{Axis, Figure, LineChart, Rule, Series};
use crate::report::finding::number;
use crate::report::page::{Part, Section};
use crate::report::table::{Cell, Table};
use crate::study::named_sampler::NamedMethod;
use crate::study::toy::CellResults;
use crate::study::toy::paper::{TABLE_CELL, printed, printed_ratio, table_number};
use anyhow::Result;
use tallsbi::inference::analytic::ToyProblem;

/// The section: both tables and the figure.
pub(super) fn accuracy(study: &Study<'_>) -> Result<Section> {
    let (m, n, amplitude) = study.table_cell();
    let cells = study.at(m, n, amplitude);
    let mut parts = vec![
        Part::Text(format!(
            "m = {m} parameters, n = {n} observations, {}, {} seeds. Distances are max-sliced Wasserstein (\"sW\" in the paper's \
             tables) and sliced Wasserstein to exact samples; two sets of exact samples are {} apart. Times are CPU seconds over \
             those of LANGEVIN, measured one after the other in one process.",
            epsilon(amplitude),
            cells.len(),
            number(spread(&cells.iter().map(|cell| cell.floor.max_sliced).collect::<Vec<_>>()).mean),
        )),
        Part::Table(accuracy_table(study, &cells, (m, n, amplitude) == TABLE_CELL)),
    ];
    parts.extend(accuracy_figure(study, &cells)?.map(Part::Figure));
    if study.problem == ToyProblem::Gaussian {
        parts.push(Part::Heading("Time by dimension".into()));
        parts.push(Part::Table(speed_table(study)));
    }
    let title = format!("{}: accuracy and time", name(study.problem));
    Ok(Section { id: format!("{}-accuracy", id(study.problem)), title, parts })
}

/// Tables 1 and 4.
fn accuracy_table(study: &Study<'_>, cells: &[&CellResults], comparable: bool) -> Table {
    let reference = reference_steps(cells);
    let relative = reference.map_or("CPU seconds".into(), |steps| format!("time / LANGEVIN {steps}"));
    let columns = [
        "T",
        "method",
        "max-sW",
        "± over seeds",
        "paper's max-sW",
        "paper's ±",
        "sliced W",
        &relative,
        "paper's ratio",
        "diverged samples",
    ];
    let caption =
        format!("{}: accuracy and time (Table {} of the paper)", name(study.problem), table_number(study.problem));
    let mut table = Table::new(format!("table-{}", table_number(study.problem)), caption, 2, &columns);
    for sampler in samplers(cells) {
        let distances = spread(&max_sliced(cells, sampler));
        let sliced: Vec<f64> = cells.iter().filter_map(|cell| Some(of(cell, sampler)?.distances?.sliced)).collect();
        let ratio = match reference {
            Some(steps) => spread(&time_ratios(cells, sampler, steps)).mean,
            None => spread(&cells.iter().filter_map(|c| Some(of(c, sampler)?.seconds)).collect::<Vec<_>>()).mean,
        };
        let theirs = printed(study.problem, sampler.method, sampler.steps).filter(|_| comparable);
        let base = reference.and_then(|steps| printed(study.problem, NamedMethod::Langevin, steps));
        let diverged: u64 = cells.iter().filter_map(|cell| of(cell, sampler)).map(|run| run.diverged).sum();
        let known = |value: Option<f64>, decimals| value.map_or(Cell::Empty, |value| Cell::decimals(value, decimals));
        table.rows.push(vec![
            Cell::count(sampler.steps),
            Cell::text(sampler.method.label()),
            Cell::decimals(distances.mean, 3),
            Cell::decimals(distances.sd, 3),
            known(theirs.map(|printed| printed.mean), 2),
            known(theirs.map(|printed| printed.sd), 2),
            Cell::decimals(spread(&sliced).mean, 3),
            Cell::decimals(ratio, 3),
            known(theirs.zip(base).map(|(printed, base)| printed.seconds / base.seconds), 3),
            Cell::count(diverged as usize),
        ]);
    }
    table
}

/// Distance against time, a curve a method through its numbers of steps.
fn accuracy_figure(study: &Study<'_>, cells: &[&CellResults]) -> Result<Option<Figure>> {
    let Some(steps) = reference_steps(cells) else { return Ok(None) };
    let mut series = Vec::new();
    for method in NamedMethod::ALL {
        let points: Vec<(f64, f64)> = samplers(cells)
            .into_iter()
            .filter(|sampler| sampler.method == method)
            .map(|sampler| (spread(&time_ratios(cells, sampler, steps)).mean, spread(&max_sliced(cells, sampler)).mean))
            .collect();
        if points.iter().any(|point| point.1.is_finite()) {
            series.push(Series::new(method.label(), color(method), points).with_dots(true));
        }
    }
    if series.is_empty() {
        return Ok(None);
    }
    let floor = spread(&cells.iter().map(|cell| cell.floor.max_sliced).collect::<Vec<_>>()).mean;
    let all = || series.iter().flat_map(|series| series.points.iter().copied());
    let chart = LineChart {
        x: Axis::logarithmic(format!("time / LANGEVIN with {steps} steps"), all().map(|point| point.0)),
        y: Axis::logarithmic("max-sliced Wasserstein", all().map(|point| point.1).chain([floor])),
        bands: vec![],
        rules: vec![Rule::Horizontal { label: "two exact samples".into(), at: floor }],
        series,
    };
    let title = format!("{}: what accuracy costs", name(study.problem));
    let figure = chart.figure(&format!("{}-time", id(study.problem)), &title)?;
    Ok(Some(figure.described(
        "Distance to the exact posterior against time; each dot is a number of steps T, more to the right. Lower left is better.",
        format!("The numbers are in the table above; the distance between two exact samples is {}.", number(floor)),
    )))
}

/// Table 2.
fn speed_table(study: &Study<'_>) -> Table {
    let methods = [NamedMethod::Gauss, NamedMethod::Jac];
    let columns = ["m", "GAUSS / LANGEVIN", "±", "paper's", "JAC / LANGEVIN", "±", "paper's", "runs compared"];
    let caption = "Time at the same number of steps T over LANGEVIN's, mean and spread over T, n, ε and seeds (Table 2 of the paper)";
    let mut table = Table::new("table-2", caption, 1, &columns);
    for m in study.dimensions() {
        let cells: Vec<&CellResults> = study.cells.iter().copied().filter(|cell| cell.dimension == m).collect();
        let ratios = |method: NamedMethod| -> Vec<f64> {
            let all = samplers(&cells).into_iter().filter(|sampler| sampler.method == method);
            all.flat_map(|sampler| time_ratios(&cells, sampler, sampler.steps)).collect()
        };
        let mut row = vec![Cell::count(m)];
        for method in methods {
            let found = spread(&ratios(method));
            row.extend([
                Cell::decimals(found.mean, 3),
                Cell::decimals(found.sd, 3),
                printed_ratio(m, method).map_or(Cell::Empty, |ratio| Cell::decimals(ratio, 2)),
            ]);
        }
        row.push(Cell::count(ratios(methods[0]).len()));
        table.rows.push(row);
    }
    table
}
