//! Recordings wherever observations go: a simulated signal, in files as amplifiers write them.

mod common;
#[path = "../../../recordings/tests/writers/mod.rs"]
mod writers;

use common::Place;
use ndarray::Array2;
use tallsbi::files::{MatrixSource, Posterior};
use writers::{BrainVision, Edf};

/// 26 s of a simulated signal in µV at 256 Hz.
fn signal(place: &Place) -> Vec<f64> {
    let task = "--sampling-rate 256 --duration 26 --record signal";
    place.run(&format!("observe jrnmm_3d {task} --theta 135,220,2000 -n 1 --seed 3 -o signal.h5"));
    let matrix = MatrixSource::parse(place.at("signal.h5").to_str().unwrap()).read().unwrap();
    matrix.values.iter().map(|value| 1e3 * value).collect()
}

fn observed(place: &Place, name: &str) -> Array2<f32> {
    Posterior::read(&place.at(name)).unwrap().observations.expect("observed data")
}

#[test]
fn amplifiers_files_are_observed_like_the_signal_itself() {
    let place = Place::new();
    place.run("simulate jrnmm_3d -n 400 -o train.h5");
    place.run("train train.h5 -o model.st --epochs 2 --hidden 16 --members 1 -q");
    let volts = signal(&place);
    // Limits of the writer are ±3.2768 mV; the model's signal has a mean of several.
    let mean = volts.iter().sum::<f64>() / volts.len() as f64;
    let centred: Vec<f64> = volts.iter().map(|value| (value - mean) / 10.0).collect();
    let edf = [("EEG Oz", "\u{b5}V", &centred[..]), ("EMG", "uV", &centred[..])];
    Edf::new(24, 256, &edf).with_annotations(&[(8.0, Some(17.0), "rest")]).write(&place.at("a.bdf"));
    let channels: &[(&str, &[f64])] = &[("Oz", &centred)];
    BrainVision { rate: 256.0, channels, format: "IEEE_FLOAT_32", orientation: "MULTIPLEXED" }
        .write(&place.at("a.vhdr"));
    let column: String = centred.iter().map(|value| format!("{value:.9}\n")).collect();
    std::fs::write(place.at("a.csv"), column).unwrap();

    let listed = place.json("recording a.bdf");
    assert_eq!(listed["channels"][0]["rate"], 256.0);
    assert_eq!(listed["annotations"][0]["text"], "rest");
    assert!(place.run("recording a.vhdr").contains("BrainVision, 1 channels, 26.0 s"));

    for (source, name) in [
        ("a.bdf --channel Oz", "bdf.nc"),
        ("a.vhdr", "vhdr.nc"),
        ("a.csv --rate 256 --unit uV", "csv.nc"),
        ("a.bdf --channel Oz --annotation rest", "rest.nc"),
    ] {
        place.run(&format!("sample model.st --observations {source} --samples 50 -o {name} -q"));
    }
    let bdf = observed(&place, "bdf.nc");
    assert_eq!(bdf.dim(), (3, 33));
    // Above 30 Hz the simulator's signal is aliased, which a recording's is not: left out.
    let seen = |x: &Array2<f32>| (0..33).filter(|&bin| !x[[0, bin]].is_nan()).collect::<Vec<usize>>();
    assert_eq!(seen(&bdf), (0..=15).collect::<Vec<_>>());
    place.run("sample model.st --observations a.vhdr --frequencies 0..64 --samples 50 -o all.nc -q");
    assert_eq!(seen(&observed(&place, "all.nc")).len(), 33, "asked for");
    for name in ["vhdr.nc", "csv.nc"] {
        let other = observed(&place, name);
        assert_eq!(seen(&other), seen(&bdf), "{name}");
        let worst = bdf.iter().zip(&other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-2, "{name}: {worst}, rounding to 4·10⁻⁴ µV apart");
    }
    assert_eq!(observed(&place, "rest.nc").dim(), (2, 33));
    // What the simulator records at 128 Hz, at the same noise: a tenth of the voltage is 2 less in log10 power.
    place.run("observe jrnmm_3d --duration 26 --record signal --theta 135,220,2000 -n 1 --seed 3 -o slow.h5");
    place.run("sample model.st --observations slow.h5 --samples 50 -o slow.nc -q");
    let slow = observed(&place, "slow.nc");
    assert_eq!(seen(&slow).len(), 33, "the model's own rate");
    // To 28 Hz: above, what the simulator's own sampling at 128 Hz folds down is seen.
    for bin in 1..15 {
        for window in 0..3 {
            let difference = slow[[window, bin]] - bdf[[window, bin]] - 2.0;
            assert!(difference.abs() < 0.03, "bin {bin}, window {window}: {difference}");
        }
    }
    // A part of the frequencies, by leaving out the others as missing values.
    place.run("sample model.st --observations a.vhdr --frequencies 3..10 --samples 50 -o part.nc -q");
    let part = observed(&place, "part.nc");
    assert_eq!((seen(&part), part[[1, 4]]), (vec![2, 3, 4, 5], observed(&place, "vhdr.nc")[[1, 4]]));
    place.fails("sample model.st --observations a.vhdr --frequencies 10 -o p.nc -q", 2, "such as 1..30");
    place.fails(
        "diagnose posterior-sbc model.st --task jrnmm_3d --observations a.vhdr --frequencies 3..10 -q",
        1,
        "frequencies: leaves out values of the summary",
    );
    place.run("diagnose posterior-sbc model.st --task jrnmm_3d --observations a.vhdr --pairs 4 --draws 20 -q");
}

#[test]
fn what_is_no_recording_of_use_is_told_in_a_line() {
    let place = Place::new();
    place.run("simulate jrnmm_3d -n 100 -o train.h5");
    place.run("train train.h5 -o model.st --epochs 1 --hidden 8 --members 1 -q");
    place.run("simulate sir -n 100 -o sir.h5");
    place.run("train sir.h5 -o sir.st --epochs 1 --hidden 8 --members 1 -q");
    let samples: Vec<f64> = (0..256 * 9).map(|k| (f64::from(k) * 0.37).sin() * 20.0).collect();
    let channels = [("Oz", "uV", &samples[..]), ("O1", "uV", &samples[..])];
    Edf::new(16, 256, &channels).write(&place.at("a.edf"));
    std::fs::write(place.at("page.edf"), "<!DOCTYPE html>").unwrap();
    let sample = |rest: &str| format!("sample model.st --observations {rest} -o p.nc -q");
    for (arguments, code, expected) in [
        (sample("a.edf"), 2, "has 2 channels, name the one to use; it has Oz, O1"),
        (sample("a.edf --channel Pz"), 2, "no channel \"Pz\"; it has Oz, O1"),
        (sample("a.edf --channel Oz --start 5"), 2, "as long as one window of 8.000 s"),
        (sample("a.edf --channel Oz --notch 200"), 2, "half the sampling rate"),
        (sample("a.edf --channel Oz --annotation x"), 2, "it has no annotations"),
        (sample("page.edf"), 1, "is a web page"),
        (sample("none.edf"), 1, "cannot be read"),
        (sample("train.h5:theta --channel Oz"), 1, "has 3 columns"),
        (
            "sample sir.st --observations a.edf -o p.nc -q".into(),
            1,
            "is a recording, and this model is not one of signals",
        ),
        ("recording train.h5".into(), 1, "of no format that is read here"),
    ] {
        place.fails(&arguments, code, expected);
    }
}
