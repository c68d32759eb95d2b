//! The header: text fields of fixed width.

use crate::error::{file_error, unreadable};
use crate::{Format, Result};
use std::io::Read;
use std::path::Path;

/// Bytes of the fixed part, and of each signal's.
const BLOCK: u64 = 256;
/// Signals at most: four digits.
const MOST_SIGNALS: u64 = 9999;
/// Bytes of a record at most: 60 s of 1000 signals at 2 kHz in 24 bits; more is a damaged header.
const LARGEST_RECORD: usize = 1 << 29;

/// What a header says.
pub(super) struct Header {
    /// Its own bytes.
    pub bytes: u64,
    /// Data records in the file.
    pub records: u64,
    /// Seconds of one record.
    pub seconds: f64,
    /// Bytes of one record.
    pub record: usize,
    /// Bytes of one sample.
    pub width: usize,
    /// Whether records have times of their own (EDF+D).
    pub discontinuous: bool,
    pub signals: Vec<SignalHeader>,
}

/// What a header says about one signal.
pub(super) struct SignalHeader {
    pub label: String,
    pub unit: String,
    /// Samples in one record.
    pub samples: usize,
    physical: (f64, f64),
    digital: (f64, f64),
}

/// Fields of equal width, a signal after the other.
struct Fields<'a> {
    path: &'a Path,
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The next `width` bytes as text: UTF-8, or Latin-1 as older programs write it.
    fn text(&mut self, width: usize) -> String {
        let (field, rest) = self.bytes.split_at(width);
        self.bytes = rest;
        let text = match std::str::from_utf8(field) {
            Ok(text) => text.to_owned(),
            Err(_) => field.iter().copied().map(char::from).collect(),
        };
        text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned()
    }

    fn number(&mut self, width: usize, what: &str) -> Result<f64> {
        let text = self.text(width);
        // Some programs write a decimal comma.
        let number = text.replace(',', ".").parse::<f64>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| file_error(self.path, format!("its header is damaged: {what} is {text:?}")))
    }

    fn count(&mut self, width: usize, what: &str, most: u64) -> Result<u64> {
        let number = self.number(width, what)?;
        if number.fract() != 0.0 || !(0.0..=most as f64).contains(&number) {
            return Err(file_error(self.path, format!("its header is damaged: {what} is {number}")));
        }
        Ok(number as u64)
    }
}

impl Header {
    pub(super) fn read(path: &Path, file: &mut impl Read, length: u64, format: Format) -> Result<Self> {
        let mut bytes = Vec::new();
        file.by_ref().take(BLOCK).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
        let short = || file_error(path, format!("is truncated: it has {length} bytes, fewer than its header"));
        if bytes.len() < BLOCK as usize {
            return Err(short());
        }
        let mut fields = Fields { path, bytes: &bytes };
        for width in [8, 80, 80, 8, 8] {
            fields.text(width);
        }
        let own = fields.count(8, "the number of header bytes", (MOST_SIGNALS + 1) * BLOCK)?;
        let variant = fields.text(44);
        let declared = fields.number(8, "the number of data records")?;
        let seconds = fields.number(8, "the duration of a data record")?;
        let count = fields.count(4, "the number of signals", MOST_SIGNALS)?;
        if own != BLOCK * (count + 1) {
            return Err(file_error(
                path,
                format!(
                    "its header is damaged: it says it has {own} bytes, but {count} signals need {}",
                    BLOCK * (count + 1)
                ),
            ));
        }
        if own > length {
            return Err(short());
        }
        let mut bytes = Vec::new();
        file.by_ref().take(BLOCK * count).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
        if bytes.len() as u64 != BLOCK * count {
            return Err(short());
        }
        let signals = read_signals(&mut Fields { path, bytes: &bytes }, count as usize)?;
        if seconds <= 0.0 {
            return Err(file_error(path, format!("a data record lasts {seconds} s; there are no samples in time")));
        }
        let width = if format == Format::Bdf { 3 } else { 2 };
        let samples: usize = signals.iter().map(|signal| signal.samples).sum();
        let record = samples.saturating_mul(width);
        if record == 0 || record > LARGEST_RECORD {
            return Err(file_error(path, format!("its header is damaged: a data record has {record} bytes")));
        }
        let records = records(path, declared, length - own, record as u64)?;
        let discontinuous = variant.starts_with("EDF+D") || variant.starts_with("BDF+D");
        Ok(Self { bytes: own, records, seconds, record, width, discontinuous, signals })
    }
}

/// The number of records; -1 stands for a recording that was not closed: as many as are there.
fn records(path: &Path, declared: f64, data: u64, record: u64) -> Result<u64> {
    let present = data / record;
    if declared == -1.0 {
        if present == 0 {
            return Err(file_error(path, "has a header only, no samples"));
        }
        return Ok(present);
    }
    if declared < 1.0 || declared.fract() != 0.0 {
        return Err(file_error(path, format!("its header says that it has {declared} data records")));
    }
    if declared > present as f64 {
        return Err(file_error(
            path,
            format!(
                "is truncated: its header says {declared} data records of {record} bytes, {present} are there; copy it again"
            ),
        ));
    }
    Ok(declared as u64)
}

fn read_signals(fields: &mut Fields<'_>, count: usize) -> Result<Vec<SignalHeader>> {
    let all =
        |fields: &mut Fields<'_>, width: usize| -> Vec<String> { (0..count).map(|_| fields.text(width)).collect() };
    let numbers = |fields: &mut Fields<'_>, what: &str| -> Result<Vec<f64>> {
        (0..count).map(|_| fields.number(8, what)).collect()
    };
    let labels = all(fields, 16);
    all(fields, 80);
    let units = all(fields, 8);
    let physical = (numbers(fields, "a physical minimum")?, numbers(fields, "a physical maximum")?);
    let digital = (numbers(fields, "a digital minimum")?, numbers(fields, "a digital maximum")?);
    all(fields, 80);
    let samples: Vec<u64> = (0..count)
        .map(|_| fields.count(8, "a number of samples in a data record", LARGEST_RECORD as u64))
        .collect::<Result<_>>()?;
    let signals = labels.into_iter().zip(units).enumerate().map(|(i, (label, unit))| SignalHeader {
        label,
        unit,
        samples: samples[i] as usize,
        physical: (physical.0[i], physical.1[i]),
        digital: (digital.0[i], digital.1[i]),
    });
    Ok(signals.collect())
}

impl SignalHeader {
    pub(super) fn is_annotations(&self) -> bool {
        ["EDF Annotations", "BDF Annotations"].contains(&self.label.as_str())
    }

    /// (gain, zero) of physical = gain × digital + zero.
    pub(super) fn scale(&self, path: &Path) -> Result<(f64, f64)> {
        let gain = (self.physical.1 - self.physical.0) / (self.digital.1 - self.digital.0);
        if !(self.digital.1 > self.digital.0 && gain.is_finite() && gain != 0.0) || self.samples == 0 {
            return Err(file_error(
                path,
                format!(
                    "its header is damaged: channel {:?} maps {} .. {} to {} .. {}, {} samples a record",
                    self.label, self.digital.0, self.digital.1, self.physical.0, self.physical.1, self.samples
                ),
            ));
        }
        Ok((gain, self.physical.0 - gain * self.digital.0))
    }

    /// Smallest and largest physical value; a file may map them upside down.
    pub(super) fn limits(&self) -> (f64, f64) {
        (self.physical.0.min(self.physical.1), self.physical.0.max(self.physical.1))
    }
}
