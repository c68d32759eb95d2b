//! Notes of the libraries in the user's words: names of columns and parameters in place of numbers, and what can be done.

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
    let text = named(model, note);
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

/// The text with names where it has "column 3" or "parameter 2".
fn named(model: &TrainedModel, note: &Note) -> String {
    let text = note.to_string();
    let (columns, parameters) = (&model.info.observation_names, model.latent.prior().names());
    let text = replace(&text, "column ", columns);
    replace(&text, "parameter ", parameters)
}

/// Replaces numbers after `before` by the names that have them.
fn replace(text: &str, before: &str, names: &[String]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(before) {
        let after = &rest[at + before.len()..];
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        out += &rest[..at + before.len()];
        match after[..digits].parse::<usize>().ok().and_then(|index| names.get(index)) {
            Some(name) => out += name,
            None => out += &after[..digits],
        }
        rest = &after[digits..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_names() {
        let names = ["pressure".to_owned(), "b".to_owned()];
        let text = replace("row 1, column 0: 1e10; row 2, column 7: 3, column 1", "column ", &names);
        assert_eq!(text, "row 1, column pressure: 1e10; row 2, column 7: 3, column b");
    }
}
