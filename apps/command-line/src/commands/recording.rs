//! `tallsbi recording`.

use crate::context::Context;
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use tallsbi::recordings::{Annotation, Channel, Recording};

/// List what a recording holds: channels, rates, units, length, annotations
///
/// Reads EDF and EDF+, BDF and BDF+, and BrainVision (give the .vhdr file). Models of signals, such as those of jrnmm, take a recording wherever observations
/// go: --observations FILE --channel LABEL.
///
/// Example: tallsbi recording rest.edf
#[derive(Debug, Args)]
pub struct RecordingArguments {
    /// Recording: FILE.edf, FILE.bdf or FILE.vhdr
    pub file: PathBuf,
}

/// Runs the command.
pub fn run(context: &Context, arguments: &RecordingArguments) -> Result<()> {
    let recording = Recording::open(&arguments.file)?;
    let seconds = recording.channels.iter().map(Channel::seconds).fold(0.0, f64::max);
    let width = recording.channels.iter().map(|channel| channel.label.chars().count()).max().unwrap_or(0);
    let channels = recording.channels.iter().map(|channel| {
        let unit = if channel.unit.is_empty() { "no unit" } else { &channel.unit };
        format!("  {:width$}  {:>8} Hz  {unit}", channel.label, (channel.rate * 1e3).round() / 1e3)
    });
    let mut lines = vec![format!(
        "{}: {}, {} channels, {seconds:.1} s",
        recording.path.display(),
        recording.format,
        recording.channels.len()
    )];
    lines.extend(channels);
    lines.extend(texts(&recording.annotations).into_iter().map(|(text, count, lasting)| {
        let lasting = if lasting > 0.0 { format!(", {lasting:.1} s in all") } else { String::new() };
        format!("  annotation {text:?}: {count} times{lasting}")
    }));
    context.print(lines.join("\n"), || {
        json!({
            "path": recording.path.display().to_string(), "format": recording.format.to_string(), "seconds": seconds,
            "channels": recording.channels, "annotations": recording.annotations,
        })
    })
}

/// Texts of annotations, how often each occurs and how long in all, s.
fn texts(annotations: &[Annotation]) -> Vec<(&str, usize, f64)> {
    let mut found: Vec<(&str, usize, f64)> = Vec::new();
    for annotation in annotations {
        let lasting = annotation.duration.unwrap_or(0.0);
        match found.iter_mut().find(|(text, ..)| *text == annotation.text) {
            Some((_, count, seconds)) => (*count, *seconds) = (*count + 1, *seconds + lasting),
            None => found.push((&annotation.text, 1, lasting)),
        }
    }
    found
}
