//! Notes of the libraries with the names of columns and parameters in place of their numbers.

use tallsbi_inference::model::TrainedModel;
use tallsbi_inference::notes::Note;

/// What `note` says, with names where it has "column 3" or "parameter 2".
pub fn in_names(model: &TrainedModel, note: &Note) -> String {
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
