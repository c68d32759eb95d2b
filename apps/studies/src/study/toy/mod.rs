//! The study of toy problems: samplers on problems with known scores and posteriors (paper Sec. 4.1, App. G).

mod options;
pub mod paper;
mod results;
mod steps;

pub use options::ToyOptions;
pub use results::{CellResults, Distances, ShownPosteriors, ToyResults, ToyRun};
pub use steps::shown_file;

use super::graph::{Graph, Step};
use super::named_sampler::NamedSampler;
use super::record::StudyRecord;
use super::steps::read_json;
use anyhow::Result;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use steps::{Cell, RESULT};
use tallsbi::Session;

/// Runs `options` in the folder `root`.
///
/// # Errors
/// A step that fails, an interruption.
pub fn run(session: &Session<'_>, options: &ToyOptions, preset: &str, root: &Path) -> Result<ToyResults> {
    let mut graph = Graph::new(root);
    let shown = (!options.shown_n_obs.is_empty()).then(|| {
        graph.add(Step {
            name: "shown".into(),
            options: json!({ "n_obs": options.shown_n_obs, "samples": options.samples, "seed": session.seed }),
            inputs: vec![],
            cost: 2.0,
            resumes: false,
            action: Box::new(|folder| steps::shown(session, options, folder)),
        })
    });
    let shown_folder = shown.map(|id| graph.relative_folder(id));
    let mut files = Vec::new();
    for (cell, samplers) in cells(options) {
        let samplers: Vec<NamedSampler> = samplers.into_iter().collect();
        let id = graph.add(Step {
            name: cell.name(),
            options: json!({
                "cell": cell, "samplers": samplers, "samples": options.samples, "projections": options.projections,
                "perturbation": options.perturbation, "seed": session.seed,
            }),
            inputs: vec![],
            cost: cell.cost(&samplers, options.samples),
            resumes: false,
            action: Box::new(move |folder| steps::cell(session, options, &cell, &samplers, folder)),
        });
        files.push(graph.folder(id).join(RESULT));
    }
    let steps = graph.run(session)?;
    let shown = match shown_folder {
        Some(folder) => Some(ShownPosteriors {
            truth: read_json(&root.join(&folder).join(RESULT))?,
            folder,
            n_obs: options.shown_n_obs.clone(),
        }),
        None => None,
    };
    Ok(ToyResults {
        record: StudyRecord::new(session, &options.title, preset, options, steps)?,
        shown,
        cells: files.iter().map(|path| read_json(path)).collect::<Result<_>>()?,
    })
}

/// All combinations of all grids, each once, with the samplers that any grid wants there.
fn cells(options: &ToyOptions) -> BTreeMap<Cell, BTreeSet<NamedSampler>> {
    let mut cells: BTreeMap<Cell, BTreeSet<NamedSampler>> = BTreeMap::new();
    for grid in &options.grids {
        for &dimension in &grid.dimensions {
            for &n_obs in &grid.n_obs {
                for &amplitude in &grid.amplitudes {
                    for seed in 0..grid.seeds as u64 {
                        let cell = Cell::new(grid.problem, dimension, n_obs, amplitude, seed);
                        cells.entry(cell).or_default().extend(grid.samplers.iter().copied());
                    }
                }
            }
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::super::Preset;
    use super::options::ToyGrid;
    use super::*;

    #[test]
    fn overlapping_grids_share_cells() {
        let mut options = ToyOptions::paper_section(Preset::Quick);
        let first = ToyGrid { seeds: 2, n_obs: vec![2, 32], ..options.grids[0].clone() };
        let second = ToyGrid { seeds: 1, samplers: vec!["gauss-7".parse().expect("a sampler")], ..first.clone() };
        let count = first.samplers.len();
        options.grids = vec![first, second];
        let cells = cells(&options);
        assert_eq!(cells.len(), 4);
        let sizes: Vec<usize> = cells.values().map(BTreeSet::len).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 4 * count + 2, "two cells have the extra sampler");
    }
}
