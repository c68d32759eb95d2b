//! Notes of the libraries, and what can be done on a command line.

use tallsbi::in_names;
use tallsbi::inference::model::TrainedModel;
use tallsbi::inference::notes::{Note, SymmetryGround};

/// Says notes that call a result into question on standard error; returns the others as lines for the result.
pub fn tell(model: &TrainedModel, notes: &[Note]) -> Vec<String> {
    let mut lines = Vec::new();
    for note in notes {
        let text = words(model, note);
        match note {
            Note::Missing { .. } => tracing::info!("{text}"),
            _ if note.is_warning() => tracing::warn!("{text}"),
            _ => lines.push(format!("  {text}")),
        }
    }
    lines
}

/// A note with the names of what it is about, and the remedy.
pub fn words(model: &TrainedModel, note: &Note) -> String {
    let text = in_names(model, note);
    match remedy(model, note) {
        Some(remedy) => format!("{text}; {remedy}"),
        None => text,
    }
}

fn remedy(model: &TrainedModel, note: &Note) -> Option<&'static str> {
    match note {
        Note::Symmetry { ground: SymmetryGround::Tested, .. } => {
            Some("--symmetry off trains without, --symmetry a,a=b declares one")
        }
        Note::Marks { .. } => Some("--outliers keep takes them as numbers"),
        Note::FarRows { bounded: true, dropped: false, .. } => {
            Some("--outliers drop leaves such rows out, --outliers keep uses them as they are")
        }
        Note::Success { informs: true, .. } => {
            Some("--failures condition leaves it out, where observations were chosen to succeed")
        }
        Note::ManyObservations { .. } => Some("train on more rows"),
        Note::BeyondTrust { .. } | Note::ThinSupport { .. } if model.info.conditions > 0 => Some("train on more rows"),
        Note::BeyondTrust { .. } | Note::ThinSupport { .. } => {
            Some("`tallsbi refine` simulates where the posterior is")
        }
        _ => None,
    }
}
