//! Filters: resampling, and the notch at the frequency of the mains.

use crate::error::selection;
use crate::{Result, Signal};
use biquad::{Biquad, Coefficients, DirectForm2Transposed, Hertz, Type};
use realfft::RealFftPlanner;
use realfft::num_complex::Complex;
use std::f64::consts::PI;

/// Share of the lower Nyquist frequency up to which resampling changes nothing; from there to the Nyquist frequency it falls to 0 as a cosine does.
const FLAT: f64 = 0.92;
/// Seconds at the lower rate of 128 Hz that a segment is continued by before it is resampled, in samples: the filter's ringing has gone by then.
const CONTINUED: f64 = 512.0;
/// Lengths that are tried for one that is (nearly) a whole number of samples at both rates.
const LENGTHS: usize = 8192;
/// Ratios of rates that recordings have; others come from damaged headers, and would take any memory.
const RATIOS: std::ops::RangeInclusive<f64> = 1e-3..=16.0;
/// Ratio of the notch's frequency to its width at -3 dB, each way (as in MNE and scipy's iirnotch: 30).
const NOTCH_QUALITY: f64 = 30.0;
/// Widths of the notch's ringing that a segment is continued by at both ends, mirrored, before it is filtered.
const RINGING: f64 = 3.0;

/// The signal at `rate` samples per second (Hz), through its Fourier transform, so that nothing aliases: exact to 0.92 of the lower Nyquist frequency, from there
/// falling to nothing at it. Each segment for itself, with its first sample where it was to within half a sample; beyond its ends it goes on as its
/// reflection in the end point. O(N log N).
///
/// # Errors
/// When a rate is not positive, or the two are too far apart for a recording.
pub fn resample(signal: &Signal, rate: f64) -> Result<Signal> {
    let ratio = ratio(signal, rate)?;
    let mut resampled = Signal { rate, ..signal.clone() };
    // Rates of files are decimal numbers of few digits, or ratios of them.
    if (ratio - 1.0).abs() < 1e-9 {
        return Ok(resampled);
    }
    let margin = whole(CONTINUED as usize + (CONTINUED / ratio) as usize, ratio);
    let mut planner = RealFftPlanner::new();
    for segment in resampled.segments.iter_mut().filter(|segment| !segment.values.is_empty()) {
        let mut padded = mirrored(&segment.values, margin);
        let before = (padded.len() - segment.values.len()) / 2;
        let length = whole(padded.len(), ratio);
        let last = padded[padded.len() - 1];
        padded.resize(length, last);
        let output = through_spectrum(&mut planner, padded, (length as f64 * ratio).round() as usize);
        let first = (before as f64 * ratio).round() as usize;
        let count = (segment.values.len() as f64 * ratio).round() as usize;
        segment.values = output.into_iter().skip(first).take(count).collect();
    }
    Ok(resampled)
}

/// `rate` over the signal's.
///
/// # Errors
/// As [`resample`]: to be asked before anything is counted in seconds.
pub(crate) fn ratio(signal: &Signal, rate: f64) -> Result<f64> {
    if !(rate.is_finite() && rate > 0.0) {
        return Err(selection("rate", format!("must be a positive number of Hz, got {rate}")));
    }
    if !(signal.rate.is_finite() && signal.rate > 0.0) {
        return Err(selection("rate", format!("{}: {} Hz is no sampling rate", signal.origin, signal.rate)));
    }
    let ratio = rate / signal.rate;
    if RATIOS.contains(&ratio) {
        return Ok(ratio);
    }
    let message =
        format!("{}: {} Hz and {rate} Hz are too far apart; is the file's rate right?", signal.origin, signal.rate);
    Err(selection("rate", message))
}

/// A length from `least` on that is as nearly as possible a whole number of samples at `ratio` times the rate.
fn whole(least: usize, ratio: f64) -> usize {
    let off = |length: &usize| {
        let samples = *length as f64 * ratio;
        // Differences below 10⁻⁶ of a sample are none, and the shortest serves.
        ((samples - samples.round()).abs() * 1e6).round() as u64
    };
    (least..least + LENGTHS).min_by_key(off).unwrap_or(least)
}

/// `count` samples that have the spectrum of `values` below the lower of both Nyquist frequencies.
fn through_spectrum(planner: &mut RealFftPlanner<f64>, mut values: Vec<f64>, count: usize) -> Vec<f64> {
    let length = values.len();
    let forward = planner.plan_fft_forward(length);
    let inverse = planner.plan_fft_inverse(count.max(1));
    let mut spectrum = forward.make_output_vec();
    let mut output = inverse.make_output_vec();
    let process = forward.process(&mut values, &mut spectrum);
    debug_assert!(process.is_ok(), "buffers are the plan's own");
    let nyquist = length.min(count) as f64 / 2.0;
    for (k, value) in spectrum.iter_mut().enumerate() {
        let place = (k as f64 / nyquist - FLAT) / (1.0 - FLAT);
        *value *= 0.5 * (1.0 + (PI * place.clamp(0.0, 1.0)).cos()) / length as f64;
    }
    let mut kept = inverse.make_input_vec();
    kept.iter_mut().zip(&spectrum).for_each(|(to, from)| *to = *from);
    // Real by definition at both ends.
    kept[0].im = 0.0;
    if count.is_multiple_of(2) {
        kept[count / 2] = Complex::new(kept[count / 2].re, 0.0);
    }
    let process = inverse.process(&mut kept, &mut output);
    debug_assert!(process.is_ok(), "buffers are the plan's own");
    output
}

/// Takes out a narrow band around `frequency` (Hz), by a second-order notch of quality 30 forward and backward, so that phases stay.
///
/// # Errors
/// When the frequency is not between 0 and half the sampling rate.
pub fn notch(signal: &mut Signal, frequency: f64) -> Result<()> {
    let nyquist = 0.5 * signal.rate;
    let refused = || {
        let message =
            format!("{frequency} Hz is not between 0 and {nyquist} Hz, half the sampling rate of {}", signal.origin);
        selection("notch", message)
    };
    if !(frequency > 0.0 && frequency < nyquist) {
        return Err(refused());
    }
    let hertz = |value: f64| Hertz::<f64>::from_hz(value).map_err(|_| refused());
    let coefficients = Coefficients::from_params(Type::Notch, hertz(signal.rate)?, hertz(frequency)?, NOTCH_QUALITY)
        .map_err(|_| refused())?;
    let margin = (RINGING * NOTCH_QUALITY / frequency * signal.rate).ceil() as usize;
    for segment in &mut signal.segments {
        let mut padded = mirrored(&segment.values, margin);
        for _ in 0..2 {
            let mut filter = DirectForm2Transposed::new(coefficients);
            padded.iter_mut().for_each(|value| *value = filter.run(*value));
            padded.reverse();
        }
        let margin = (padded.len() - segment.values.len()) / 2;
        let inner = margin..margin + segment.values.len();
        segment.values.copy_from_slice(&padded[inner]);
    }
    Ok(())
}

/// `values` continued at both ends by `margin` samples (fewer if there are fewer), reflected in the end point.
fn mirrored(values: &[f64], margin: usize) -> Vec<f64> {
    let Some((&first, &last)) = values.first().zip(values.last()) else { return Vec::new() };
    let margin = margin.min(values.len() - 1);
    let before = values[1..=margin].iter().rev().map(|value| 2.0 * first - value);
    let after = values[values.len() - 1 - margin..values.len() - 1].iter().rev().map(|value| 2.0 * last - value);
    before.chain(values.iter().copied()).chain(after).collect()
}
