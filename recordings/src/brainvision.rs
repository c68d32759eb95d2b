//! BrainVision recordings (Brain Products, "BrainVision Core Data Format 1.0"): a header and markers in the style of INI files, and samples.

use crate::error::{file_error, unreadable};
use crate::{Annotation, Channel, Recording, Result, Segment};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes of a header or marker file at most.
const LARGEST_TEXT: u64 = 1 << 26;
/// Samples of all channels read at once.
const BLOCK: usize = 1 << 16;
const MICROSECOND: f64 = 1e-6;

/// Where the samples are.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    data: PathBuf,
    format: SampleFormat,
    vectorised: bool,
    samples: u64,
    rate: f64,
    /// Physical value of one step, each channel's.
    resolutions: Vec<f64>,
    /// First samples of segments, the first 0.
    starts: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum SampleFormat {
    Int16,
    Int32,
    Float32,
}

impl SampleFormat {
    fn bytes(self) -> usize {
        if self == Self::Int16 { 2 } else { 4 }
    }

    fn value(self, bytes: &[u8]) -> f64 {
        match (self, bytes) {
            (Self::Int16, &[a, b]) => f64::from(i16::from_le_bytes([a, b])),
            (Self::Int32, &[a, b, c, d]) => f64::from(i32::from_le_bytes([a, b, c, d])),
            (Self::Float32, &[a, b, c, d]) => f64::from(f32::from_le_bytes([a, b, c, d])),
            _ => unreachable!("chunks have the sample's bytes"),
        }
    }
}

/// Whether the first bytes of a file are those of a header.
pub(crate) fn is_header(start: &[u8]) -> bool {
    let text = String::from_utf8_lossy(start);
    text.trim_start_matches('\u{feff}').to_lowercase().starts_with("brain vision data exchange header")
        || text.trim_start_matches('\u{feff}').to_lowercase().starts_with("brainvision data exchange header")
}

/// Sections with their keys and values; keys in lower case.
struct Sections<'a> {
    path: &'a Path,
    values: BTreeMap<(String, String), String>,
}

impl<'a> Sections<'a> {
    fn read(path: &'a Path) -> Result<Self> {
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(|error| unreadable(path, &error))?;
        file.take(LARGEST_TEXT).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => error.as_bytes().iter().copied().map(char::from).collect(),
        };
        let mut values = BTreeMap::new();
        let mut section = String::new();
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(';')) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = name.to_lowercase();
            } else if let Some((key, value)) = line.split_once('=').filter(|_| section != "comment") {
                values.insert((section.clone(), key.trim().to_lowercase()), value.trim().to_owned());
            }
        }
        Ok(Self { path, values })
    }

    fn get(&self, section: &str, key: &str) -> Option<&str> {
        self.values.get(&(section.into(), key.into())).map(String::as_str)
    }

    fn need(&self, section: &str, key: &str) -> Result<&str> {
        self.get(section, key).ok_or_else(|| file_error(self.path, format!("has no {key} in its section [{section}]")))
    }

    fn number<T: std::str::FromStr>(&self, section: &str, key: &str) -> Result<T> {
        let text = self.need(section, key)?;
        text.parse().map_err(|_| file_error(self.path, format!("{key} is {text:?}, not a number")))
    }

    /// The file of this name beside the header; `$b` stands for the header's own name.
    fn beside(&self, name: &str) -> Result<PathBuf> {
        let own = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let name = name.replace("$b", &own);
        if name.is_empty() || name.contains(['/', '\\']) || name == ".." {
            return Err(file_error(self.path, format!("refers to {name:?}, which is not a file beside it")));
        }
        Ok(self.path.with_file_name(name))
    }
}

const COMMON: &str = "common infos";
const CHANNELS: &str = "channel infos";

pub(crate) fn open(path: &Path) -> Result<Recording> {
    let header = Sections::read(path)?;
    let count: usize = header.number(COMMON, "numberofchannels")?;
    let interval: f64 = header.number(COMMON, "samplinginterval")?;
    let rate = 1.0 / (interval * MICROSECOND);
    if !(interval > 0.0 && rate.is_finite() && rate > 0.0) {
        return Err(file_error(path, format!("its sampling interval is {interval} µs")));
    }
    let kind = header.get(COMMON, "dataformat").unwrap_or("BINARY");
    if !kind.eq_ignore_ascii_case("binary") {
        return Err(file_error(path, format!("its samples are {kind}, only BINARY ones are read; export it again")));
    }
    let format = match header.need("binary infos", "binaryformat")?.to_uppercase().as_str() {
        "INT_16" => SampleFormat::Int16,
        "INT_32" => SampleFormat::Int32,
        "IEEE_FLOAT_32" => SampleFormat::Float32,
        other => {
            return Err(file_error(
                path,
                format!("its samples are {other:?}, expected INT_16, INT_32 or IEEE_FLOAT_32"),
            ));
        }
    };
    let data = header.beside(header.need(COMMON, "datafile")?)?;
    let length = data.metadata().map_err(|error| unreadable(&data, &error))?.len();
    // Each channel has a line of its own: there are no more of them than the header has bytes.
    let described = header.values.keys().filter(|(section, _)| section == CHANNELS).count();
    if count == 0 || count > described {
        return Err(file_error(path, format!("says that it has {count} channels, and describes {described}")));
    }
    let frame = (count * format.bytes()) as u64;
    if length == 0 || length % frame != 0 {
        return Err(file_error(
            &data,
            format!(
                "is truncated or not that of {}: {length} bytes are no multiple of {frame} for its {count} channels",
                path.display()
            ),
        ));
    }
    let samples = length / frame;
    let (mut channels, mut resolutions) = (Vec::new(), Vec::new());
    for index in 1..=count {
        let (label, unit, resolution) = channel(&header, index)?;
        channels.push(Channel { label, unit, rate, samples, limits: None });
        resolutions.push(resolution);
    }
    let (starts, annotations) = match header.get(COMMON, "markerfile").filter(|name| !name.is_empty()) {
        Some(name) => markers(&header.beside(name)?, rate, samples)?,
        None => (vec![0], Vec::new()),
    };
    let orientation = header.get(COMMON, "dataorientation").unwrap_or("MULTIPLEXED");
    let vectorised = match orientation.to_uppercase().as_str() {
        "MULTIPLEXED" => false,
        "VECTORIZED" => true,
        other => {
            return Err(file_error(path, format!("its samples are {other:?}, expected MULTIPLEXED or VECTORIZED")));
        }
    };
    let layout = Layout { data, format, vectorised, samples, rate, resolutions, starts };
    let mut recording = Recording::brainvision(path, channels, layout);
    recording.annotations = annotations;
    Ok(recording)
}

/// Label, unit and resolution: `Ch1=Oz,reference,0.1,µV`; a comma in a label is written `\1`, the unit is µV if there is none.
fn channel(header: &Sections<'_>, index: usize) -> Result<(String, String, f64)> {
    let text = header.need(CHANNELS, &format!("ch{index}"))?;
    let fields: Vec<String> = text.split(',').map(|field| field.replace("\\1", ",").trim().to_owned()).collect();
    let resolution = fields.get(2).filter(|text| !text.is_empty()).map_or(Ok(1.0), |text| text.parse());
    let resolution = resolution.ok().filter(|value: &f64| value.is_finite() && *value != 0.0);
    let resolution = resolution
        .ok_or_else(|| file_error(header.path, format!("channel {index} is {text:?}: its resolution is no number")))?;
    let unit = fields.get(3).filter(|unit| !unit.is_empty()).map_or("µV", String::as_str);
    Ok((fields[0].clone(), unit.to_owned(), resolution))
}

/// Starts of segments, and annotations: `Mk2=Stimulus,S  1,487,1,0` (type, description, first sample from 1, length, channel).
fn markers(path: &Path, rate: f64, samples: u64) -> Result<(Vec<u64>, Vec<Annotation>)> {
    let file = Sections::read(path)?;
    let mut starts = vec![0];
    let mut annotations = Vec::new();
    let marks = file.values.iter().filter(|((section, key), _)| section == "marker infos" && key.starts_with("mk"));
    for (_, value) in marks {
        let fields: Vec<String> = value.split(',').map(|field| field.replace("\\1", ",").trim().to_owned()).collect();
        let position = fields.get(2).and_then(|text| text.parse::<u64>().ok()).filter(|&at| at >= 1 && at <= samples);
        let Some(position) = position else { continue };
        if fields[0].eq_ignore_ascii_case("new segment") {
            starts.push(position - 1);
            continue;
        }
        let text = if fields[1].is_empty() { fields[0].clone() } else { fields[1].clone() };
        // One sample is a moment, not a stretch.
        let length = fields.get(3).and_then(|text| text.parse::<f64>().ok()).filter(|&length| length > 1.0);
        annotations.push(Annotation {
            onset: (position - 1) as f64 / rate,
            duration: length.map(|length| length / rate),
            text,
        });
    }
    starts.sort_unstable();
    starts.dedup();
    Ok((starts, annotations))
}

impl Layout {
    /// The samples of a channel.
    pub(crate) fn read(&self, channel: usize) -> Result<Vec<Segment>> {
        let values = self.values(channel).map_err(|error| unreadable(&self.data, &error))?;
        let ends = self.starts[1..].iter().copied().chain([self.samples]);
        let segment = |(&start, end): (&u64, u64)| Segment {
            start: start as f64 / self.rate,
            values: values[start as usize..end as usize].to_vec(),
        };
        Ok(self.starts.iter().zip(ends).map(segment).collect())
    }

    fn values(&self, channel: usize) -> std::io::Result<Vec<f64>> {
        let bytes = self.format.bytes();
        let (channels, resolution) = (self.resolutions.len(), self.resolutions[channel]);
        let mut file = BufReader::new(File::open(&self.data)?);
        let (stride, first) = if self.vectorised { (1, 0) } else { (channels, channel) };
        if self.vectorised {
            file.seek(SeekFrom::Start(channel as u64 * self.samples * bytes as u64))?;
        }
        let mut values = Vec::new();
        let mut block = vec![0; (BLOCK / stride).max(1) * stride * bytes];
        let mut left = self.samples as usize;
        while left > 0 {
            let frames = left.min(block.len() / (stride * bytes));
            let part = &mut block[..frames * stride * bytes];
            file.read_exact(part)?;
            let samples = part.chunks_exact(stride * bytes).map(|frame| &frame[first * bytes..(first + 1) * bytes]);
            values.extend(samples.map(|sample| resolution * self.format.value(sample)));
            left -= frames;
        }
        Ok(values)
    }
}
