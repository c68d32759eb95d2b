//! Every option of every command given a number that cannot be meant: an answer within seconds, in one line that names the option or what is wrong with it.

mod common;

use common::Place;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// Too many, fewer than none, and what is no number.
const NUMBERS: [&str; 6] = ["9223372036854775807", "1000000000000", "1e300", "-1", "inf", "NaN"];

/// An answer that takes longer has done work, or taken memory, for a number that makes no sense.
const PATIENCE: Duration = Duration::from_secs(20);

/// Options that may be any number: seeds, most rows and memory to use, marks of missing values, as many of what there is.
const FREE: [&str; 7] = ["--seed", "--rows", "--memory", "--missing", "--draws", "--pairs", "--subsample"];

/// Values that are names of files, which numbers may be.
const NAMES: [&str; 5] = ["FILE", "SOURCE", "DIR", "FIGURE", "MODEL"];

/// Commands that work as they stand, each on what the ones before it have made.
const COMMANDS: [&str; 20] = [
    "simulate slcp -n 40 -o train.h5",
    "simulate jrnmm_3d -n 2 -o jansen.h5",
    "simulate slcp -n 40 --n-obs 2 --seed 1 -o pairs.h5",
    "observe slcp --from-prior -n 2 -o observations.h5",
    "train train.h5 -o model.safetensors --epochs 1 --hidden 8 --members 1",
    "train train.h5 -o scores.safetensors --architecture anchored --epochs 1 --hidden 8",
    "sample model.safetensors --observations observations.h5 --samples 20 -o posterior.nc",
    "sample scores.safetensors --observations observations.h5 --samples 20 -o of_scores.nc",
    "reference slcp --observations observations.h5 --samples 20 --particles 100 --allow-unconverged -o reference.nc",
    "predict posterior.nc --task slcp --draws 4 -o predictive.nc",
    "compare model.safetensors model.safetensors --observations observations.h5",
    "refine model.safetensors --observations observations.h5 --budget 900 --network off -o refined.safetensors",
    "diagnose c2st posterior.nc --reference reference.nc",
    "diagnose mmd posterior.nc --reference reference.nc",
    "diagnose sliced-wasserstein posterior.nc --reference reference.nc",
    "diagnose sbc model.safetensors --calibration pairs.h5 --pairs 4 --draws 9",
    "diagnose coverage model.safetensors --calibration pairs.h5 --pairs 4 --draws 9",
    "diagnose posterior-sbc model.safetensors --observations observations.h5 --task slcp --pairs 4",
    "diagnose local-c2st model.safetensors --observations observations.h5 --posterior posterior.nc --calibration pairs.h5 --trials 2",
    "plot posterior.nc reference.nc -o posteriors.svg",
];

/// What a command's help says.
fn help(place: &Place, command: &str) -> String {
    let mut words = command.split_whitespace();
    let name = words.next().unwrap();
    let name = if name == "diagnose" { format!("{name} {}", words.next().unwrap()) } else { name.to_owned() };
    place.run(&format!("{name} --help"))
}

/// The options that take a value, as help lists them, each with its heading if that is one of a group's that several commands share.
fn options(help: &str) -> Vec<(Option<String>, String)> {
    let (mut heading, mut found) = (None, Vec::new());
    for line in help.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with(' ')) {
            heading = Some(name.to_owned()).filter(|name| name != "Options");
        }
        let long = line.trim().split_once("--").filter(|(short, _)| short.is_empty() || short.starts_with('-'));
        if let Some((name, value)) = long.and_then(|(_, long)| long.split_once(' '))
            && value.starts_with('<')
            && !NAMES.iter().any(|name| value.contains(name))
        {
            found.push((heading.clone(), format!("--{name}")));
        }
    }
    found
}

/// `command` without `option` and its value.
fn without(command: &str, option: &str) -> String {
    let mut words = command.split_whitespace();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == option {
            words.next();
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}

#[test]
fn numbers_that_cannot_be_meant_are_refused() {
    let place = Place::new();
    let mut shared = HashSet::new();
    for command in COMMANDS {
        place.run(command);
        let help = help(&place, command);
        let force = if help.contains("--force") { "--force" } else { "" };
        for (heading, option) in options(&help) {
            if heading.is_some_and(|heading| !shared.insert((heading, option.clone()))) {
                continue;
            }
            for number in NUMBERS {
                let command = format!("{} {option}={number} {force} --quiet --json", without(command, &option));
                let started = Instant::now();
                let output = place.command(&command).timeout(PATIENCE).output().unwrap();
                let error = String::from_utf8(output.stderr).unwrap();
                assert!(started.elapsed() < PATIENCE, "tallsbi {command}: no answer");
                let answered = match output.status.code() {
                    Some(0) => FREE.contains(&option.as_str()),
                    Some(1 | 2) => error.lines().count() == 1 && !error.contains("internal error"),
                    _ => false,
                };
                assert!(answered, "tallsbi {command}: {:?} {error}", output.status.code());
            }
        }
    }
}
