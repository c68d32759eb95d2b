//! Recordings of biosignals, from the files of amplifiers to windows of one channel in millivolt at the rate a model wants.
//!
//! * [`Recording`]: a file's channels, rates, units, annotations; EDF, EDF+, BDF, BDF+ and BrainVision.
//! * [`Signal`]: the samples of one channel in physical units, in segments that no gap interrupts.
//! * [`Cutting`]: which part of it, resampled to which rate, in windows of which length; and what is wrong with those left out.

mod brainvision;
mod channel;
mod edf;
mod error;
mod filter;
mod recording;
mod signal;
mod units;
mod windows;

pub use channel::Channel;
pub use error::{RecordingError, Result};
pub use filter::{notch, resample};
pub use recording::{Annotation, Format, Recording};
pub use signal::{Segment, Signal};
pub use windows::{Cutting, Fault, Rejected, Windows};
