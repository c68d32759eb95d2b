//! The European Data Format and its kin: EDF (Kemp et al. 1992), EDF+ (Kemp & Olivan 2003), BDF and BDF+ (BioSemi: 24 bits).
//!
//! A header of 256 bytes, 256 bytes for each signal, and data records: all samples of the first signal in a stretch of time, then of the
//! second, … An own reader, since the one on crates.io (edf-rs 0.2) refuses plain BDF files and headers that are not ASCII, such as those
//! with a µ in the unit; both are common.

mod annotations;
mod header;

use crate::error::{file_error, unreadable};
use crate::{Channel, Format, Recording, Result, Segment};
use header::Header;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// Two records are next to each other if their times differ from that by less than this share of a record.
const GAP: f64 = 1e-3;

/// Where the samples are.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// Bytes before the first record.
    header: u64,
    /// Bytes of one record.
    record: usize,
    /// Bytes of one sample.
    width: usize,
    /// Start of each record, s.
    onsets: Vec<f64>,
    /// Signals that are channels, in order.
    signals: Vec<Placed>,
}

/// A signal's samples within a record.
#[derive(Debug, Clone)]
struct Placed {
    offset: usize,
    samples: usize,
    /// physical = gain × digital + zero.
    gain: f64,
    zero: f64,
    rate: f64,
}

pub(crate) fn open(path: &Path, format: Format) -> Result<Recording> {
    let mut file = BufReader::new(File::open(path).map_err(|error| unreadable(path, &error))?);
    let length = file.get_ref().metadata().map_err(|error| unreadable(path, &error))?.len();
    let header = Header::read(path, &mut file, length, format)?;
    let (mut channels, mut signals, mut texts) = (Vec::new(), Vec::new(), Vec::new());
    let mut offset = 0;
    for signal in &header.signals {
        if signal.is_annotations() {
            texts.push(offset..offset + signal.samples * header.width);
        } else {
            let (gain, zero) = signal.scale(path)?;
            let rate = signal.samples as f64 / header.seconds;
            channels.push(Channel {
                label: signal.label.clone(),
                unit: signal.unit.clone(),
                rate,
                samples: signal.samples as u64 * header.records,
                limits: Some(signal.limits()),
            });
            signals.push(Placed { offset, samples: signal.samples, gain, zero, rate });
        }
        offset += signal.samples * header.width;
    }
    if channels.is_empty() {
        return Err(file_error(path, "has annotations only, no channel of samples"));
    }
    let mut annotations = Vec::new();
    let mut onsets = Vec::new();
    let mut bytes = vec![0; header.record];
    if texts.is_empty() {
        onsets.extend((0..header.records).map(|record| record as f64 * header.seconds));
    } else {
        for record in 0..header.records {
            file.seek(SeekFrom::Start(header.bytes + record * header.record as u64))
                .and_then(|_| file.read_exact(&mut bytes))
                .map_err(|error| unreadable(path, &error))?;
            let regular = record as f64 * header.seconds;
            let parts = texts.iter().map(|range| &bytes[range.clone()]);
            let found = annotations::parse(parts, &mut annotations);
            onsets.push(if header.discontinuous { found.unwrap_or(regular) } else { regular });
        }
    }
    let layout = Layout { header: header.bytes, record: header.record, width: header.width, onsets, signals };
    layout.check_order(path, header.seconds)?;
    let mut recording = Recording::edf(path, format, channels, layout);
    recording.annotations = annotations;
    Ok(recording)
}

impl Layout {
    /// That records do not overlap or run backwards.
    fn check_order(&self, path: &Path, seconds: f64) -> Result<()> {
        let overlap = |pair: &[f64]| pair[1] - pair[0] <= seconds * (1.0 - GAP);
        match self.onsets.windows(2).position(overlap) {
            Some(record) => Err(file_error(
                path,
                format!("its data records {record} and {} overlap in time; it is damaged", record + 1),
            )),
            None => Ok(()),
        }
    }

    /// The samples of a channel, a segment wherever records are next to each other.
    pub(crate) fn read(&self, path: &Path, channel: usize) -> Result<Vec<Segment>> {
        let placed = &self.signals[channel];
        let mut file = BufReader::new(File::open(path).map_err(|error| unreadable(path, &error))?);
        let mut bytes = vec![0; placed.samples * self.width];
        let seconds = placed.samples as f64 / placed.rate;
        let mut segments: Vec<Segment> = Vec::new();
        let mut expected = f64::NEG_INFINITY;
        for (record, &onset) in self.onsets.iter().enumerate() {
            let position = self.header + record as u64 * self.record as u64 + placed.offset as u64;
            file.seek(SeekFrom::Start(position))
                .and_then(|_| file.read_exact(&mut bytes))
                .map_err(|error| unreadable(path, &error))?;
            let values = bytes.chunks_exact(self.width).map(|bytes| placed.gain * digital(bytes) + placed.zero);
            match segments.last_mut() {
                Some(last) if (onset - expected).abs() < GAP * seconds => last.values.extend(values),
                _ => segments.push(Segment { start: onset, values: values.collect() }),
            }
            expected = onset + seconds;
        }
        Ok(segments)
    }
}

/// A little-endian two's complement number of two or three bytes.
fn digital(bytes: &[u8]) -> f64 {
    match *bytes {
        [low, high] => f64::from(i16::from_le_bytes([low, high])),
        [low, middle, high] => f64::from(i32::from_le_bytes([0, low, middle, high]) >> 8),
        _ => unreachable!("samples have two or three bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_three_bytes_have_their_sign() {
        assert_eq!(digital(&[0xff, 0xff, 0xff]), -1.0);
        assert_eq!(digital(&[0x00, 0x00, 0x80]), -8_388_608.0);
        assert_eq!(digital(&[0xff, 0xff, 0x7f]), 8_388_607.0);
        assert_eq!(digital(&[0x00, 0x80]), -32_768.0);
    }
}
