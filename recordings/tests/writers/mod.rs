//! Writers of recordings, by their specifications: the readers' mirror, for tests only.

#![allow(dead_code, reason = "each test file uses some of these")]

use std::path::Path;

type Timed<'a> = (f64, Option<f64>, &'a str);

/// An EDF+ (16 bits) or BDF+ (24 bits) file with records of 1 s; plain EDF or BDF without annotations. Values lie in ±3276.8.
pub struct Edf<'a> {
    bits: u32,
    rate: usize,
    channels: &'a [(&'a str, &'a str, &'a [f64])],
    annotations: Option<&'a [Timed<'a>]>,
    onsets: Option<&'a [f64]>,
}

/// Samples of the annotation signal in a record.
const ANNOTATION_SAMPLES: usize = 60;

impl<'a> Edf<'a> {
    pub fn new(bits: u32, rate: usize, channels: &'a [(&'a str, &'a str, &'a [f64])]) -> Self {
        Self { bits, rate, channels, annotations: None, onsets: None }
    }

    pub fn with_annotations(self, annotations: &'a [Timed<'a>]) -> Self {
        Self { annotations: Some(annotations), ..self }
    }

    /// EDF+D, with the start of each record.
    pub fn discontinuous(self, onsets: &'a [f64]) -> Self {
        Self { onsets: Some(onsets), annotations: Some(&[]), ..self }
    }

    pub fn write(&self, path: &Path) {
        std::fs::write(path, self.bytes()).expect("written");
    }

    pub fn bytes(&self) -> Vec<u8> {
        let records = self.channels[0].2.len() / self.rate;
        let signals = self.channels.len() + usize::from(self.annotations.is_some());
        let mut bytes = Vec::new();
        let field = |bytes: &mut Vec<u8>, text: &str, width: usize| {
            // Latin-1, as older programs have it.
            let latin: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).expect("Latin-1")).collect();
            bytes.extend(latin.iter().copied().chain(std::iter::repeat(b' ')).take(width));
        };
        if self.bits == 16 {
            field(&mut bytes, "0", 8)
        } else {
            bytes.extend(b"\xffBIOSEMI")
        }
        let kind = if self.bits == 16 { "EDF" } else { "BDF" };
        let variant = match (self.annotations, self.onsets) {
            (None, _) => String::new(),
            (_, None) => format!("{kind}+C"),
            (_, Some(_)) => format!("{kind}+D"),
        };
        for (text, width) in [("X X X X", 80), ("Startdate X X X X", 80), ("01.01.25", 8), ("00.00.00", 8)] {
            field(&mut bytes, text, width);
        }
        field(&mut bytes, &(256 * (signals + 1)).to_string(), 8);
        for (text, width) in [(variant, 44), (records.to_string(), 8), ("1".into(), 8), (signals.to_string(), 4)] {
            field(&mut bytes, &text, width);
        }
        let limit = 1_i64 << (self.bits - 1);
        let label = format!("{kind} Annotations");
        let rows: Vec<[String; 10]> = self
            .channels
            .iter()
            .map(|&(label, unit, _)| {
                let numbers = ["-3276.8".into(), "3276.7".into(), (-limit).to_string(), (limit - 1).to_string()];
                let [a, b, c, d] = numbers;
                [
                    label.into(),
                    String::new(),
                    unit.into(),
                    a,
                    b,
                    c,
                    d,
                    String::new(),
                    self.rate.to_string(),
                    String::new(),
                ]
            })
            .chain(self.annotations.map(|_| {
                let [a, b, c, d] = ["-1".into(), "1".into(), (-limit).to_string(), (limit - 1).to_string()];
                let samples = ANNOTATION_SAMPLES.to_string();
                [label.clone(), String::new(), String::new(), a, b, c, d, String::new(), samples, String::new()]
            }))
            .collect();
        for (column, width) in [16, 80, 8, 8, 8, 8, 8, 80, 8, 32].into_iter().enumerate() {
            rows.iter().for_each(|row| field(&mut bytes, &row[column], width));
        }
        for record in 0..records {
            self.record(record, &mut bytes);
        }
        bytes
    }

    fn record(&self, record: usize, bytes: &mut Vec<u8>) {
        let width = self.bits as usize / 8;
        let steps = f64::from(2_u32.pow(self.bits) - 1);
        for (_, _, values) in self.channels {
            for value in &values[record * self.rate..(record + 1) * self.rate] {
                let digital = ((value + 3276.8) / 6553.5 * steps).round() - (steps + 1.0) / 2.0;
                bytes.extend(&(digital as i32).to_le_bytes()[..width]);
            }
        }
        if let Some(annotations) = self.annotations {
            let onset = self.onsets.map_or(record as f64, |onsets| onsets[record]);
            let mut text = format!("+{onset}\x14\x14\0");
            for (onset, duration, label) in annotations.iter().filter(|annotation| annotation.0 as usize == record) {
                let duration = duration.map(|duration| format!("\x15{duration}")).unwrap_or_default();
                text += &format!("+{onset}{duration}\x14{label}\x14\0");
            }
            let mut list = text.into_bytes();
            list.resize(ANNOTATION_SAMPLES * width, 0);
            bytes.extend(list);
        }
    }
}

/// A BrainVision recording with a new segment at its start and a stimulus after one second.
pub struct BrainVision<'a> {
    pub rate: f64,
    pub channels: &'a [(&'a str, &'a [f64])],
    pub format: &'a str,
    pub orientation: &'a str,
}

impl BrainVision<'_> {
    pub fn write(&self, path: &Path) {
        let resolution = if self.format == "IEEE_FLOAT_32" { 1.0 } else { 0.1 };
        let channel = |(index, (label, _)): (usize, &(&str, &[f64]))| {
            format!("Ch{}={},,{resolution},µV\n", index + 1, label.replace(',', "\\1"))
        };
        let header = format!(
            "Brain Vision Data Exchange Header File Version 1.0\n; a comment\n\n[Common Infos]\nCodepage=UTF-8\nDataFile=$b.eeg\n\
             MarkerFile=$b.vmrk\nDataFormat=BINARY\nDataOrientation={}\nNumberOfChannels={}\nSamplingInterval={}\n\n\
             [Binary Infos]\nBinaryFormat={}\n\n[Channel Infos]\n{}\n[Comment]\nA = comment with = signs\n",
            self.orientation,
            self.channels.len(),
            1e6 / self.rate,
            self.format,
            self.channels.iter().enumerate().map(channel).collect::<String>()
        );
        std::fs::write(path, header).expect("written");
        let markers = format!(
            "Brain Vision Data Exchange Marker File, Version 1.0\n[Marker Infos]\nMk1=New Segment,,1,1,0,20250101000000000000\n\
             Mk2=Stimulus,S  1,{},1,0\n",
            self.rate as u64 + 1
        );
        std::fs::write(path.with_extension("vmrk"), markers).expect("written");
        let samples = self.channels[0].1.len();
        let order: Vec<(usize, usize)> = if self.orientation == "VECTORIZED" {
            (0..self.channels.len()).flat_map(|c| (0..samples).map(move |k| (c, k))).collect()
        } else {
            (0..samples).flat_map(|k| (0..self.channels.len()).map(move |c| (c, k))).collect()
        };
        let mut bytes = Vec::new();
        for (c, k) in order {
            let value = self.channels[c].1[k] / resolution;
            match self.format {
                "INT_16" => bytes.extend((value.round() as i16).to_le_bytes()),
                "INT_32" => bytes.extend((value.round() as i32).to_le_bytes()),
                _ => bytes.extend((value as f32).to_le_bytes()),
            }
        }
        std::fs::write(path.with_extension("eeg"), bytes).expect("written");
    }
}
