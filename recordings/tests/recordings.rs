//! Files written byte by byte as their specifications have them, read back; filters by tones; damaged files.

mod writers;

use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;
use std::f64::consts::PI;
use std::path::Path;
use tallsbi_recordings::{Annotation, Cutting, Fault, Recording, RecordingError, Signal, notch, resample};
use writers::{BrainVision, Edf};

/// A wave of 40 µV with noise, in steps of 0.1 µV.
fn wave(rate: f64, seconds: f64, seed: u64) -> Vec<f64> {
    let mut rng = Pcg64::seed_from_u64(seed);
    let samples = (rate * seconds) as usize;
    let noise = |rng: &mut Pcg64| -> f64 { StandardNormal.sample(rng) };
    let value = |k: usize, rng: &mut Pcg64| 40.0 * (2.0 * PI * 10.0 * k as f64 / rate).sin() + 5.0 * noise(rng);
    (0..samples).map(|k| (10.0 * value(k, &mut rng)).round() / 10.0).collect()
}

fn open(path: &Path) -> Recording {
    Recording::open(path).unwrap_or_else(|error| panic!("{error}"))
}

fn values(recording: &Recording, channel: &str) -> Vec<f64> {
    let signal = recording.signal(recording.find(Some(channel)).expect("found")).expect("readable");
    signal.segments.into_iter().flat_map(|segment| segment.values).collect()
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst <= tolerance, "differs by {worst}");
}

#[test]
fn all_formats_give_back_their_samples() {
    let folder = tempfile::tempdir().expect("a folder");
    let [first, second] = [1, 2].map(|seed| wave(160.0, 20.0, seed));
    for bits in [16, 24] {
        let path = folder.path().join(if bits == 16 { "a.edf" } else { "a.bdf" });
        Edf::new(bits, 160, &[("EEG Oz", "\u{b5}V", &first), ("O1", "uV", &second)])
            .with_annotations(&[(1.5, Some(2.0), "eyes closed"), (4.0, None, "blink")])
            .write(&path);
        let recording = open(&path);
        // The limits are ±3276.8 µV: a step is 0.1 µV in 16 bits.
        assert_close(&values(&recording, "oz"), &first, if bits == 16 { 1e-9 } else { 2e-4 });
        assert_close(&values(&recording, "O1"), &second, if bits == 16 { 1e-9 } else { 2e-4 });
        assert_eq!(recording.channels[0].unit, "\u{b5}V", "Latin-1 is read");
        let annotation = |onset, duration, text: &str| Annotation { onset, duration, text: text.into() };
        let expected = [annotation(1.5, Some(2.0), "eyes closed"), annotation(4.0, None, "blink")];
        assert_eq!(recording.annotations, expected);
    }
    for format in ["INT_16", "INT_32", "IEEE_FLOAT_32"] {
        for orientation in ["MULTIPLEXED", "VECTORIZED"] {
            let path = folder.path().join(format!("{format}-{orientation}.vhdr"));
            BrainVision { rate: 160.0, channels: &[("Oz", &first), ("O,1", &second)], format, orientation }
                .write(&path);
            let recording = open(&path);
            assert_close(&values(&recording, "Oz"), &first, 1e-5);
            assert_close(&values(&recording, "O,1"), &second, 1e-5);
            assert_eq!(recording.annotations.len(), 1, "a new segment is none");
            assert_eq!(recording.annotations[0].text, "S  1");
            assert_eq!(recording.annotations[0].onset, 160.0 / 160.0);
        }
    }
}

/// EDF+D: records with times of their own.
#[test]
fn gaps_divide_segments_and_no_window_crosses_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gap.edf");
    let samples = wave(128.0, 20.0, 3);
    let onsets: Vec<f64> =
        (0..20).map(|record| if record < 9 { record as f64 } else { record as f64 + 30.5 }).collect();
    Edf::new(16, 128, &[("Oz", "uV", &samples)]).discontinuous(&onsets).write(&path);
    let recording = open(&path);
    let signal = recording.signal(0).expect("readable");
    let found: Vec<(f64, usize)> = signal.segments.iter().map(|s| (s.start, s.values.len())).collect();
    assert_eq!(found, [(0.0, 9 * 128), (39.5, 11 * 128)]);
    let windows = Cutting::new(128.0, 512).apply(signal, &recording.annotations).expect("windows");
    assert_eq!(windows.starts, [0.0, 4.0, 39.5, 43.5]);
    // In mV, at the same rate: the samples themselves.
    let expected: Vec<f64> = samples[9 * 128..9 * 128 + 512].iter().map(|value| value * 1e-3).collect();
    assert_close(&windows.values[2], &expected, 1e-9);
}

#[test]
fn parts_are_chosen_by_time_and_by_annotation() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.edf");
    let samples = wave(160.0, 60.0, 4);
    Edf::new(16, 160, &[("Oz", "uV", &samples)])
        .with_annotations(&[(10.0, Some(9.0), "closed"), (30.0, Some(20.0), "closed"), (20.0, None, "blink")])
        .write(&path);
    let recording = open(&path);
    let cut = |cutting: Cutting| cutting.apply(recording.signal(0).expect("readable"), &recording.annotations);
    let base = Cutting::new(128.0, 512);
    let closed = cut(Cutting { annotation: Some("closed".into()), ..base.clone() }).expect("windows");
    assert_eq!(closed.starts, [10.0, 14.0, 30.0, 34.0, 38.0, 42.0, 46.0]);
    let part = cut(Cutting { start: Some(12.5), end: Some(21.0), ..base.clone() }).expect("windows");
    assert_eq!(part.starts, [12.5, 16.5]);
    for (cutting, expected) in [
        (Cutting { annotation: Some("open".into()), ..base.clone() }, "it has blink, closed"),
        (Cutting { annotation: Some("blink".into()), ..base.clone() }, "marks moments"),
        (Cutting { start: Some(70.0), ..base.clone() }, "no part of"),
        (Cutting { start: Some(50.0), end: Some(40.0), ..base.clone() }, "no part of"),
        (Cutting { unit: Some("kg".into()), ..base.clone() }, "no unit of voltage"),
        (Cutting { notch: Some(90.0), ..base.clone() }, "half the sampling rate"),
        (Cutting::new(128.0, 1 << 20), "as long as one window"),
        (Cutting::new(f64::NAN, 512), "positive number of Hz"),
        (Cutting::new(1e5, 512), "is the file's rate right?"),
    ] {
        let error = cut(cutting).expect_err(expected).to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{error}");
    }
}

/// Of a header with a sample in years: 10¹¹ windows are not counted first.
#[test]
fn rates_that_no_recording_has_are_told() {
    let signal = Signal::continuous("x", wave(128.0, 9.0, 1), 1e-13, "mV");
    let error = Cutting::new(128.0, 512).apply(signal, &[]).expect_err("a rate").to_string();
    assert!(error.contains("too far apart"), "{error}");
}

#[test]
fn windows_that_are_flat_clipped_or_huge_are_left_out_and_told() {
    let mut samples = wave(128.0, 36.0, 5);
    samples[600..800].fill(3.0);
    samples[4 * 512 + 100] = 5000.0;
    samples[6 * 512 + 7] = f64::NAN;
    for k in 0..4 {
        samples[8 * 512 + 11 * k] = 80.0;
    }
    let mut signal = Signal::continuous("made", samples, 128.0, "uV");
    signal.limits = Some((-80.0, 80.0));
    let windows = Cutting::new(128.0, 512).apply(signal.clone(), &[]).expect("windows");
    assert_eq!(windows.starts, [0.0, 8.0, 12.0, 20.0, 28.0]);
    let faults: Vec<(f64, Fault)> = windows.rejected.iter().map(|r| (r.start, r.fault)).collect();
    assert!(
        matches!(
            faults[..],
            [
                (4.0, Fault::Flat),
                (16.0, Fault::Huge { .. }),
                (24.0, Fault::NotFinite),
                (32.0, Fault::Clipped { samples: 4 })
            ]
        ),
        "{faults:?}"
    );
    signal.segments[0].values.fill(1.0);
    let error = Cutting::new(128.0, 512).apply(signal, &[]).expect_err("nothing left").to_string();
    assert!(error.contains("none of 9 windows") && error.contains("flat"), "{error}");
}

/// Amplitude of a tone of `frequency` Hz in the middle of a signal, by projection.
fn amplitude(signal: &Signal, frequency: f64) -> f64 {
    let values = &signal.segments[0].values;
    let margin = 2 * signal.rate as usize;
    let inner = &values[margin..values.len() - margin];
    let (mut cosine, mut sine) = (0.0, 0.0);
    for (k, value) in inner.iter().enumerate() {
        // A Hann window keeps what other frequencies leak in below -100 dB over ten seconds and more.
        let weight = 1.0 - (2.0 * PI * (k as f64 + 0.5) / inner.len() as f64).cos();
        let phase = 2.0 * PI * frequency * (k + margin) as f64 / signal.rate;
        cosine += weight * value * phase.cos();
        sine += weight * value * phase.sin();
    }
    2.0 * cosine.hypot(sine) / inner.len() as f64
}

fn tone(rate: f64, frequency: f64) -> Signal {
    let values = (0..(20.0 * rate) as usize).map(|k| (2.0 * PI * frequency * k as f64 / rate).sin()).collect();
    Signal::continuous("tone", values, rate, "mV")
}

fn decibel(ratio: f64) -> f64 {
    20.0 * ratio.log10()
}

#[test]
fn resampling_keeps_what_it_should_and_nothing_aliases() {
    for rate in [160.0, 200.0, 250.0, 256.0, 500.0, 512.5, 1000.0, 5000.0] {
        for frequency in [0.5, 1.0, 10.0, 30.0, 45.0, 55.0] {
            let found = resample(&tone(rate, frequency), 128.0).expect("resampled");
            let gain = decibel(amplitude(&found, frequency));
            assert!(gain.abs() < 0.01, "{rate} Hz, {frequency} Hz: {gain} dB");
        }
        // 64 Hz is half the new rate: a tone above would appear at 128 Hz less its own.
        for frequency in [66.0, 70.0, 75.0, 79.0, 95.0, 120.0] {
            if frequency < rate / 2.0 {
                let found = resample(&tone(rate, frequency), 128.0).expect("resampled");
                let gain = decibel(amplitude(&found, (128.0 - frequency).abs()));
                assert!(gain < -80.0, "{rate} Hz, {frequency} Hz: {gain} dB");
            }
        }
    }
}

/// Samples stay where they were in time, to half a sample at the new rate; upwards as well.
#[test]
fn resampling_shifts_nothing() {
    for rate in [100.0, 160.0, 250.0, 256.0, 500.0, 512.5, 5000.0] {
        let found = resample(&tone(rate, 13.0), 128.0).expect("resampled");
        let values = &found.segments[0].values;
        let step = 2.0 * PI * 13.0 / 128.0;
        let error =
            |shift: f64| (256..2000).map(|k| (values[k] - (step * (k as f64 + shift)).sin()).abs()).fold(0.0, f64::max);
        let shift =
            (-400..=400).map(|k| f64::from(k) / 100.0).min_by(|a, b| error(*a).total_cmp(&error(*b))).expect("some");
        assert!(error(shift) < 0.005 && shift.abs() <= 0.5, "{rate} Hz, shifted by {shift}: {}", error(shift));
        assert_eq!(values.len(), 2560, "{rate} Hz");
    }
}

/// White noise of variance 1 at 500 Hz keeps the share of its variance that lies below the filter's end.
#[test]
fn white_noise_keeps_the_power_that_fits() {
    let mut rng = Pcg64::seed_from_u64(8);
    let values: Vec<f64> = (0..500 * 400).map(|_| StandardNormal.sample(&mut rng)).collect();
    let found = resample(&Signal::continuous("noise", values, 500.0, "mV"), 128.0).expect("resampled");
    let values = &found.segments[0].values;
    let variance = values.iter().map(|value| value * value).sum::<f64>() / values.len() as f64;
    // All below 0.92 of 64 Hz and 3/8, the mean square of the cosine's fall, of the rest: 0.2432 of 250 Hz; 51 200 samples know their variance to 0.6 %.
    assert!((variance / (0.95 * 64.0 / 250.0) - 1.0).abs() < 0.03, "{variance}");
}

#[test]
fn the_notch_takes_out_its_tone_and_keeps_phases() {
    let mut at = tone(256.0, 50.0);
    notch(&mut at, 50.0).expect("filtered");
    assert!(decibel(amplitude(&at, 50.0)) < -60.0, "{}", decibel(amplitude(&at, 50.0)));
    // |H| once is (f² - f₀²) / hypot(f² - f₀², f f₀/Q) in the analogue prototype; the bilinear transform moves it by less than 0.01 dB here.
    let mut beside = tone(256.0, 45.0);
    notch(&mut beside, 50.0).expect("filtered");
    let gain = decibel(amplitude(&beside, 45.0));
    assert!(gain.abs() < 0.3 && gain < 0.0, "{gain}");
    let inner = 1000..4000;
    let original = tone(256.0, 45.0);
    let worst =
        inner.map(|k| (beside.segments[0].values[k] - original.segments[0].values[k]).abs()).fold(0.0, f64::max);
    assert!(worst < 0.04, "forward and backward: no shift in time, {worst}");
}

type Damage<'a> = Box<dyn Fn(&mut Vec<u8>) + 'a>;

#[test]
fn foreign_and_damaged_files_are_told_in_a_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.edf");
    let samples = wave(160.0, 10.0, 6);
    let make = || Edf::new(16, 160, &[("Oz", "uV", &samples), ("O1", "uV", &samples)]).bytes();
    let text = |bytes: &mut [u8], at: usize, text: &str| bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
    let cases: [(&str, Damage<'_>); 9] = [
        ("a web page", Box::new(|b| *b = b"<!DOCTYPE html><html>".to_vec())),
        ("is empty", Box::new(Vec::clear)),
        ("of no format", Box::new(|b| *b = b"\x89HDF\r\n\x1a\n".to_vec())),
        ("truncated", Box::new(|b| b.truncate(100))),
        ("truncated", Box::new(|b| b.truncate(700))),
        ("truncated", Box::new(|b| b.truncate(256 * 3 + 640 * 4 + 10))),
        ("header bytes is \"7x8\"", Box::new(move |b| text(b, 184, "7x8     "))),
        ("but 3 signals need 1024", Box::new(move |b| text(b, 252, "3   "))),
        (
            "maps 5 .. 5",
            Box::new(move |b| {
                text(b, 256 + 2 * (16 + 80 + 8 + 8 + 8), "5       ");
                text(b, 256 + 2 * (16 + 80 + 8 + 8 + 8 + 8), "5       ");
            }),
        ),
    ];
    for (expected, damage) in cases {
        let mut bytes = make();
        damage(&mut bytes);
        std::fs::write(&path, bytes).expect("written");
        let error = Recording::open(&path).map(|_| ()).expect_err(expected).to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "expected {expected:?}: {error}");
    }
    std::fs::write(&path, make()).expect("written");
    let recording = open(&path);
    for (wanted, expected) in [(None, "2 channels, name the one"), (Some("Pz"), "no channel \"Pz\"; it has Oz, O1")] {
        let error = recording.find(wanted).expect_err(expected);
        assert!(matches!(error, RecordingError::Channel { .. }) && error.to_string().contains(expected), "{error}");
    }
}

/// 10 000 damaged files: cut short, bits flipped, digits changed, fields swapped. Whatever they hold, reading ends with samples or a line.
#[test]
fn ten_thousand_damaged_files_do_no_harm() {
    let folder = tempfile::tempdir().expect("a folder");
    let samples = wave(32.0, 6.0, 7);
    let channels: [(&str, &str, &[f64]); 2] = [("Oz", "uV", &samples), ("O1", "mV", &samples)];
    let annotated = [(1.0, Some(2.0), "closed")];
    let edf = Edf::new(16, 32, &channels).with_annotations(&annotated).bytes();
    let bdf = Edf::new(24, 32, &channels).with_annotations(&annotated).bytes();
    let vhdr = folder.path().join("b.vhdr");
    BrainVision { rate: 32.0, channels: &[("Oz", &samples)], format: "INT_16", orientation: "MULTIPLEXED" }
        .write(&vhdr);
    let header = std::fs::read(&vhdr).expect("written");
    let markers = std::fs::read(vhdr.with_extension("vmrk")).expect("written");
    let mut rng = Pcg64::seed_from_u64(9);
    let (mut read, mut refused) = (0, 0);
    for round in 0..10_000 {
        let (path, whole) = match round % 4 {
            0 => (folder.path().join("m.edf"), &edf),
            1 => (folder.path().join("m.bdf"), &bdf),
            2 => (vhdr.clone(), &header),
            _ => (vhdr.with_extension("vmrk"), &markers),
        };
        std::fs::write(&path, damaged(whole, &mut rng)).expect("written");
        let path = if round % 4 == 3 { vhdr.clone() } else { path };
        match Recording::open(&path).and_then(|recording| recording.signal(0)) {
            Ok(signal) => {
                read += 1;
                assert!(signal.samples() < 1 << 20, "no more samples than the file has");
                // Whatever it says of rates and units, cutting ends.
                drop(Cutting::new(signal.rate, 16).apply(signal, &[]));
            }
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().contains('\n'), "{error}");
            }
        }
        if round % 4 == 2 {
            std::fs::write(&vhdr, &header).expect("written");
        } else if round % 4 == 3 {
            std::fs::write(path.with_extension("vmrk"), &markers).expect("written");
        }
    }
    assert!(read > 1000 && refused > 1000, "{read} read, {refused} refused");
}

fn damaged(whole: &[u8], rng: &mut Pcg64) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    if rng.random_bool(0.2) {
        bytes.truncate(rng.random_range(0..=whole.len()));
    }
    // Most damage where structure is.
    let reach = bytes.len().min(1100);
    for _ in 0..rng.random_range(1..6) {
        if reach < 2 {
            break;
        }
        let at = rng.random_range(0..reach);
        match rng.random_range(0..4) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = rng.random_range(b'0'..=b'9'),
            2 => bytes[at] = [0, 0xff, b'-', b'e', b' ', b'\n', b'='][rng.random_range(0..7)],
            _ => {
                let other = rng.random_range(0..reach);
                bytes.swap(at, other);
            }
        }
    }
    bytes
}
