//! Which part of a recording is observed.

use clap::Args;
use tallsbi::RecordingOptions;

/// What help calls these options; said of each, as a heading of all would be that of what follows them too.
const HEADING: &str = "Recordings (EDF, BDF, BrainVision, a signal in a table)";

/// Options of recordings, for commands that read observations.
#[derive(Debug, Args)]
pub struct RecordingArguments {
    /// Channel; `tallsbi recording FILE` lists them [default: the only one]
    #[arg(long, help_heading = HEADING, value_name = "LABEL")]
    pub channel: Option<String>,
    /// Samples per second of a signal in a table [default: the model's]
    #[arg(long, help_heading = HEADING, value_name = "HZ")]
    pub rate: Option<f64>,
    /// Unit of the values, in place of the file's: V, mV, uV, nV
    #[arg(long, help_heading = HEADING, value_name = "UNIT")]
    pub unit: Option<String>,
    /// Where to start, s
    #[arg(long, help_heading = HEADING, value_name = "SECONDS")]
    pub start: Option<f64>,
    /// Where to end, s
    #[arg(long, help_heading = HEADING, value_name = "SECONDS")]
    pub end: Option<f64>,
    /// Only where annotations of this text last
    #[arg(long, help_heading = HEADING, value_name = "TEXT")]
    pub annotation: Option<String>,
    /// Take out the mains at this frequency (50 or 60)
    #[arg(long, help_heading = HEADING, value_name = "HZ")]
    pub notch: Option<f64>,
    /// Use the power at these frequencies only, without training again, such as 1..30 [default: 0..30 of a signal at another rate
    /// than the model's, where values may be missing; else all]
    #[arg(long, help_heading = HEADING, value_name = "LOW..HIGH", value_parser = range)]
    pub frequencies: Option<[f64; 2]>,
    /// Leave out windows with a sample so many robust standard deviations from the median [default: 20]
    #[arg(long, help_heading = HEADING, value_name = "SD")]
    pub largest: Option<f64>,
}

impl RecordingArguments {
    /// `base` with what is given here.
    pub fn over(&self, base: RecordingOptions) -> RecordingOptions {
        RecordingOptions {
            channel: self.channel.clone().or(base.channel),
            rate: self.rate.or(base.rate),
            unit: self.unit.clone().or(base.unit),
            start: self.start.or(base.start),
            end: self.end.or(base.end),
            annotation: self.annotation.clone().or(base.annotation),
            notch: self.notch.or(base.notch),
            largest: self.largest.unwrap_or(base.largest),
            frequencies: self.frequencies.or(base.frequencies),
        }
    }

    /// The options.
    pub fn options(&self) -> RecordingOptions {
        self.over(RecordingOptions::default())
    }
}

/// `LOW..HIGH` in Hz.
fn range(text: &str) -> Result<[f64; 2], String> {
    let ends = text.split_once("..").map(|(low, high)| (low.trim().parse::<f64>(), high.trim().parse::<f64>()));
    match ends {
        Some((Ok(low), Ok(high))) if low >= 0.0 && low < high && high.is_finite() => Ok([low, high]),
        _ => Err("give the lowest and the highest frequency in Hz, such as 1..30".into()),
    }
}
