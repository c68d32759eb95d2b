//! Readers against damaged inputs: whatever a file says, the answer is one, in two seconds and a gigabyte, and never a panic.
//!
//! Inputs are functions of (seed, target, number). Each target is executed in a process of its own (`worker`), so that an abort, also one in
//! libhdf5, ends that process and not the run. `tools/fuzz` is the long run.

mod corpus;
mod memory;
mod mutate;
mod targets;
mod worker;
#[path = "../../../../recordings/tests/writers/mod.rs"]
mod writers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use targets::{NATIVE, TARGETS};
use worker::Job;

#[global_allocator]
static COUNTED: memory::Counting = memory::Counting;

/// Seconds of one target's turn in the long run, where there is time for more than one.
const TURN: u64 = 20;

/// Address space of a worker, KiB: a bound for what C libraries take.
const ADDRESSES: u64 = 6 << 20;

/// Kept inputs of each fault at most.
const KEPT: u64 = 3;

/// What came of the executions of a target.
#[derive(Debug, Default)]
struct Tally {
    executions: u64,
    /// Inputs that were taken.
    taken: u64,
    /// Crashes and endless loops of libhdf5.
    native: u64,
    /// Faults of ours with the number of inputs.
    faults: BTreeMap<String, u64>,
}

/// What was found is as it should be: each target in turn, from number `next` on.
struct Campaign {
    seed: u64,
    folder: PathBuf,
    /// Where inputs with faults are kept.
    faulty: PathBuf,
    tallies: Vec<Tally>,
}

impl Campaign {
    fn new(seed: u64, folder: &Path, faulty: &Path) -> Self {
        corpus::make(&folder.join("corpus"));
        let tallies = TARGETS.iter().map(|_| Tally::default()).collect();
        Self { seed, folder: folder.to_owned(), faulty: faulty.to_owned(), tallies }
    }

    /// Executes a target `count` times, or for some time.
    fn turn(&mut self, target: usize, count: u64, seconds: u64) {
        let until = self.tallies[target].executions.saturating_add(count);
        let deadline = Instant::now() + Duration::from_secs(seconds);
        while self.tallies[target].executions < until && Instant::now() < deadline {
            let first = self.tallies[target].executions;
            let left = deadline.saturating_duration_since(Instant::now()).as_secs() + 1;
            self.process(target, &Job { target, seed: self.seed, first, count: until - first, seconds: left });
        }
    }

    /// One process, to its end or its death.
    fn process(&mut self, target: usize, job: &Job) {
        let program = std::env::current_exe().expect("this program");
        let shell = format!("ulimit -c 0; ulimit -v {ADDRESSES}; exec \"$0\" worker --exact --ignored --nocapture");
        let mut command = Command::new("sh");
        command.arg("-c").arg(shell).arg(program).env(worker::JOB, job.to_text()).env(worker::FOLDER, &self.folder);
        command.env("RAYON_NUM_THREADS", "1").env("HDF5_USE_FILE_LOCKING", "FALSE");
        let output = command.output().expect("started");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        for line in said.lines().filter_map(|line| line.split_once(worker::FAULT).map(|(_, rest)| rest)) {
            let (number, fault) = line.split_once(' ').expect("number and fault");
            self.fault(target, number.parse().expect("a number"), fault);
        }
        let done = said.lines().find_map(|line| line.split_once(worker::DONE)).map(|(_, rest)| rest);
        let tally = &mut self.tallies[target];
        if let Some((executions, taken)) = done.and_then(|rest| rest.split_once(' ')) {
            tally.executions += executions.parse::<u64>().expect("a number");
            tally.taken += taken.parse::<u64>().expect("a number");
            return;
        }
        // It died on the input it had begun.
        let (at, taken) = worker::progress(&self.folder).expect("progress");
        assert!((job.first..job.first + job.count).contains(&at), "a worker ended before it began: {said}{error}");
        tally.executions = at + 1;
        tally.taken += taken;
        let ours = ["memory allocation", "panicked", "fatal runtime error"].iter().any(|text| error.contains(text));
        let inside = output.status.code().is_none() || output.status.code() == Some(worker::SLOW_INSIDE);
        if target < NATIVE && !ours && inside {
            tally.native += 1;
            if tally.native <= KEPT {
                self.keep(target, at, "native");
            }
        } else if output.status.code() != Some(worker::SLOW) {
            self.fault(target, at, &format!("ended with {}: {}", output.status, error.lines().last().unwrap_or("")));
        }
    }

    fn fault(&mut self, target: usize, number: u64, fault: &str) {
        let count = self.tallies[target].faults.entry(fault.to_owned()).or_default();
        *count += 1;
        if *count <= KEPT {
            let path = self.keep(target, number, "fault");
            eprintln!("{}, input {number} ({}): {fault}", TARGETS[target].name, path.display());
        }
    }

    fn keep(&self, target: usize, number: u64, what: &str) -> PathBuf {
        std::fs::create_dir_all(&self.faulty).expect("created");
        let path = self.faulty.join(format!("{what}-{}-{number}", TARGETS[target].name.replace(' ', "-")));
        let inputs = worker::Inputs::load(&TARGETS[target], &self.folder);
        std::fs::write(&path, inputs.input(self.seed, target, number)).expect("kept");
        path
    }

    fn report(&self) -> String {
        let line = |name: &str, tally: &Tally| {
            let faults: u64 = tally.faults.values().sum();
            format!("{name:34} {:>10} {:>10} {:>6} {:>6}\n", tally.executions, tally.taken, tally.native, faults)
        };
        let mut all = Tally::default();
        let mut text = format!("{:34} {:>10} {:>10} {:>6} {:>6}\n", "target", "inputs", "taken", "native", "faults");
        for (target, tally) in TARGETS.iter().zip(&self.tallies) {
            text += &line(target.name, tally);
            all.executions += tally.executions;
            all.taken += tally.taken;
            all.native += tally.native;
            tally.faults.iter().for_each(|(fault, count)| *all.faults.entry(fault.clone()).or_default() += count);
        }
        text + &line("all", &all)
    }

    fn faults(&self) -> Vec<&String> {
        self.tallies.iter().flat_map(|tally| tally.faults.keys()).collect()
    }
}

#[test]
fn damaged_inputs_are_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut campaign = Campaign::new(1, folder.path(), &folder.path().join("faulty"));
    for (target, of) in TARGETS.iter().enumerate() {
        campaign.turn(target, of.short, 60);
        assert_eq!(campaign.tallies[target].executions, of.short, "{}", of.name);
        // Damage is small: some of it does no harm, and most of every reader is reached.
        assert!(campaign.tallies[target].taken > 0, "{}", of.name);
    }
    assert!(campaign.faults().is_empty(), "{:?}", campaign.faults());
}

/// For the minutes `FUZZ_MINUTES` (1), with the seed `FUZZ_SEED` (1); inputs with faults are kept in `FUZZ_FAULTS`.
#[test]
#[ignore = "the long run: tools/fuzz"]
fn long_run() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(1);
    let folder = tempfile::tempdir().expect("a folder");
    let faulty = std::env::var_os("FUZZ_FAULTS").map_or_else(|| folder.path().join("faulty"), PathBuf::from);
    let mut campaign = Campaign::new(number("FUZZ_SEED"), folder.path(), &faulty);
    let seconds = 60 * number("FUZZ_MINUTES");
    let end = Instant::now() + Duration::from_secs(seconds);
    let targets = TARGETS.len() as u64;
    let turns = (seconds / (TURN * targets)).max(1) * targets;
    for turn in 0..turns {
        // What is left is shared out evenly among the turns to come: a short run reaches every target, too.
        let left = end.saturating_duration_since(Instant::now()).as_secs() / (turns - turn);
        campaign.turn((turn % targets) as usize, u64::MAX, left.max(1));
        if (turn + 1) % targets == 0 {
            println!("{}", campaign.report());
        }
    }
    assert!(campaign.tallies.iter().all(|tally| tally.executions > 0), "every target is reached");
    assert!(campaign.faults().is_empty(), "{:?}", campaign.faults());
}

/// The process of one target; does nothing unless it is told what.
#[test]
#[ignore = "started by the others"]
fn worker() {
    worker::run();
}
