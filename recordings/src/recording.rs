//! A recording as its file has it.

use crate::error::{file_error, unreadable};
use crate::{Channel, RecordingError, Result, Signal, brainvision, edf};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The format of a recording's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// European Data Format (Kemp et al. 1992) or EDF+ (Kemp & Olivan 2003).
    Edf,
    /// BioSemi Data Format, with 24 bits a sample; also BDF+.
    Bdf,
    /// BrainVision: a header (.vhdr), markers (.vmrk) and samples (.eeg).
    BrainVision,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Edf => "EDF",
            Self::Bdf => "BDF",
            Self::BrainVision => "BrainVision",
        })
    }
}

/// A remark on a stretch of time.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Annotation {
    /// Seconds from the recording's start.
    pub onset: f64,
    /// Seconds, where it has a length.
    pub duration: Option<f64>,
    /// What it says.
    pub text: String,
}

/// A recording: what its file says about it. Samples are read by [`Recording::signal`].
#[derive(Debug, Clone)]
pub struct Recording {
    /// The file.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// Channels of samples; those of annotations are not among them.
    pub channels: Vec<Channel>,
    /// Annotations in the order of time.
    pub annotations: Vec<Annotation>,
    layout: Layout,
}

#[derive(Debug, Clone)]
enum Layout {
    Edf(edf::Layout),
    BrainVision(brainvision::Layout),
}

impl Recording {
    /// Whether a file's name says that it is a recording: .edf, .bdf or .vhdr.
    pub fn is_one(path: &Path) -> bool {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        extension.is_some_and(|extension| ["edf", "bdf", "vhdr"].contains(&extension.as_str()))
    }

    /// Reads a recording's header and annotations. The format is told by the file's first bytes, not by its name.
    ///
    /// # Errors
    /// [`RecordingError::File`] when the file cannot be read, is of no known format, is truncated, or its header does not fit itself or
    /// the file's length.
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(|error| unreadable(path, &error))?;
        let mut start = Vec::new();
        file.by_ref().take(64).read_to_end(&mut start).map_err(|error| unreadable(path, &error))?;
        let mut recording = if start.starts_with(b"0       ") {
            edf::open(path, Format::Edf)?
        } else if start.starts_with(b"\xffBIOSEMI") {
            edf::open(path, Format::Bdf)?
        } else if brainvision::is_header(&start) {
            brainvision::open(path)?
        } else {
            let text = String::from_utf8_lossy(&start);
            let what = match text.trim_start().chars().next() {
                Some('<') => "a web page: download the file itself",
                _ if start.is_empty() => "empty",
                _ => "of no format that is read here: give EDF, BDF, or the .vhdr file of BrainVision",
            };
            return Err(file_error(path, format!("is {what}")));
        };
        recording.annotations.sort_by(|a, b| a.onset.total_cmp(&b.onset).then_with(|| a.text.cmp(&b.text)));
        Ok(recording)
    }

    pub(crate) fn edf(path: &Path, format: Format, channels: Vec<Channel>, layout: edf::Layout) -> Self {
        let annotations = Vec::new();
        Self { path: path.to_owned(), format, channels, annotations, layout: Layout::Edf(layout) }
    }

    pub(crate) fn brainvision(path: &Path, channels: Vec<Channel>, layout: brainvision::Layout) -> Self {
        let layout = Layout::BrainVision(layout);
        Self { path: path.to_owned(), format: Format::BrainVision, channels, annotations: Vec::new(), layout }
    }

    /// The channel called `wanted`, by its place: exactly, or as [`Channel::is_called`] has it; the only channel if none is wanted.
    ///
    /// # Errors
    /// [`RecordingError::Channel`] when there is none of that name, several, or none is wanted of several.
    pub fn find(&self, wanted: Option<&str>) -> Result<usize> {
        let fail = |message: String| {
            Err(RecordingError::Channel {
                path: self.path.clone(),
                message,
                known: self.channels.iter().map(|channel| channel.label.clone()).collect(),
            })
        };
        let Some(wanted) = wanted else {
            return if self.channels.len() == 1 {
                Ok(0)
            } else {
                fail(format!("has {} channels, name the one to use", self.channels.len()))
            };
        };
        let matching = |is: &dyn Fn(&Channel) -> bool| -> Vec<usize> {
            (0..self.channels.len()).filter(|&index| is(&self.channels[index])).collect()
        };
        let mut found = matching(&|channel| channel.label == wanted);
        if found.is_empty() {
            found = matching(&|channel| channel.is_called(wanted));
        }
        match found[..] {
            [index] => Ok(index),
            [] => fail(format!("has no channel {wanted:?}")),
            _ => fail(format!("has {} channels {wanted:?}", found.len())),
        }
    }

    /// Reads the samples of the channel at `index`.
    ///
    /// # Errors
    /// [`RecordingError::File`] when the file cannot be read.
    ///
    /// # Panics
    /// When there is no such channel.
    pub fn signal(&self, index: usize) -> Result<Signal> {
        let channel = &self.channels[index];
        let segments = match &self.layout {
            Layout::Edf(layout) => layout.read(&self.path, index)?,
            Layout::BrainVision(layout) => layout.read(index)?,
        };
        Ok(Signal {
            origin: format!("{}, channel {}", self.path.display(), channel.label),
            unit: channel.unit.clone(),
            rate: channel.rate,
            limits: channel.limits,
            segments,
        })
    }
}
