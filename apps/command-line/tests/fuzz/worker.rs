//! The process that executes one target, and what it tells the one that started it.

use super::memory;
use super::mutate::damage;
use super::targets::{Input, TARGETS, Target};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tallsbi::StreamKey;

/// Variables that tell a worker what to do and where.
pub const JOB: &str = "TALLSBI_FUZZ_JOB";
pub const FOLDER: &str = "TALLSBI_FUZZ_FOLDER";

/// What lines of the worker begin with.
pub const FAULT: &str = "fuzz-fault ";
pub const DONE: &str = "fuzz-done ";

/// Exit codes after an input that took too long, in our code and in libhdf5.
pub const SLOW: i32 = 97;
pub const SLOW_INSIDE: i32 = 98;

/// Longest time of the processor for one input, hundredths of a second as Linux counts them, and by the clock.
const LONGEST: u64 = 200;
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// Most memory for one input.
const MOST_MEMORY: usize = 1 << 30;

const LOOK: Duration = Duration::from_millis(100);

/// Which inputs of which target.
pub struct Job {
    pub target: usize,
    pub seed: u64,
    pub first: u64,
    pub count: u64,
    pub seconds: u64,
}

impl Job {
    pub fn to_text(&self) -> String {
        format!("{} {} {} {} {}", self.target, self.seed, self.first, self.count, self.seconds)
    }

    fn parse(text: &str) -> Self {
        let numbers: Vec<u64> = text.split(' ').map(|number| number.parse().expect("a number")).collect();
        let [target, seed, first, count, seconds] = numbers[..] else { panic!("five numbers") };
        Self { target: target as usize, seed, first, count, seconds }
    }
}

/// Good files of a target, taken apart.
pub struct Inputs<'a> {
    target: &'a Target,
    seeds: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<'a> Inputs<'a> {
    pub fn load(target: &'a Target, folder: &Path) -> Self {
        let read = |name: &&str| target.shell.open(&std::fs::read(folder.join("corpus").join(name)).expect("a seed"));
        Self { target, seeds: target.seeds.iter().map(read).collect() }
    }

    /// Input `number`: a function of it, the target and the seed.
    pub fn input(&self, seed: u64, target: usize, number: u64) -> Vec<u8> {
        let mut rng = StreamKey::root(seed).indexed(target as u64).rng(number);
        let pick = StreamKey::root(seed).indexed(target as u64).seed(number) as usize;
        let (mut bytes, rest) = self.seeds[pick % self.seeds.len()].clone();
        let other = &self.seeds[(pick >> 16) % self.seeds.len()].0;
        damage(&mut bytes, other, self.target.kind, &mut rng);
        self.target.shell.close(bytes, &rest)
    }
}

/// The input that a worker has begun, and how many it has taken before.
pub fn progress(folder: &Path) -> Option<(u64, u64)> {
    let bytes: [u8; 16] = std::fs::read(folder.join("progress")).ok()?.try_into().ok()?;
    let all = u128::from_le_bytes(bytes);
    Some((all as u64, (all >> 64) as u64))
}

/// Where the last panic was.
static PANIC: Mutex<String> = Mutex::new(String::new());

static BEGUN: AtomicU64 = AtomicU64::new(u64::MAX);

/// Executes what the environment says.
pub fn run() {
    let (Ok(job), Some(folder)) = (std::env::var(JOB), std::env::var_os(FOLDER)) else { return };
    let (job, folder) = (Job::parse(&job), Path::new(&folder));
    let target = &TARGETS[job.target];
    let inputs = Inputs::load(target, folder);
    let own = folder.join(format!("target-{}", job.target));
    std::fs::create_dir_all(&own).expect("created");
    let progress = File::create(folder.join("progress")).expect("created");
    let (corpus, deadline) = (folder.join("corpus"), Instant::now() + Duration::from_secs(job.seconds));
    std::panic::set_hook(Box::new(|panic| *PANIC.lock().expect("no panic in a panic") = panic.to_string()));
    std::thread::spawn(watch);
    let (mut executions, mut taken) = (0, 0_u64);
    while executions < job.count && Instant::now() < deadline {
        let number = job.first + executions;
        let bytes = inputs.input(job.seed, job.target, number);
        let begun = u128::from(number) | u128::from(taken) << 64;
        progress.write_all_at(&begun.to_le_bytes(), 0).expect("progress");
        let input = Input { bytes: &bytes, folder: &own, corpus: &corpus };
        let held = memory::begin();
        BEGUN.store(number, Relaxed);
        let outcome = catch_unwind(AssertUnwindSafe(|| (target.read)(input)));
        BEGUN.store(u64::MAX, Relaxed);
        let most = memory::most() - held;
        match outcome {
            Ok(accepted) => taken += u64::from(accepted),
            Err(_) => {
                println!("\n{FAULT}{number} {}", PANIC.lock().expect("told").lines().collect::<Vec<_>>().join(" "))
            }
        }
        if most > MOST_MEMORY {
            println!("\n{FAULT}{number} took more than {} MiB", MOST_MEMORY >> 20);
        }
        executions += 1;
    }
    println!("\n{DONE}{executions} {taken}");
}

/// Ends the process when an input takes too long.
fn watch() {
    let (mut seen, mut since, mut ticks) = (u64::MAX, Instant::now(), 0);
    loop {
        std::thread::sleep(LOOK);
        let begun = BEGUN.load(Relaxed);
        if begun != seen {
            (seen, since, ticks) = (begun, Instant::now(), processor_time());
        } else if begun != u64::MAX && (processor_time() - ticks > LONGEST || since.elapsed() > LONGEST_WAIT) {
            if is_inside_hdf5() {
                std::process::exit(SLOW_INSIDE);
            }
            println!("\n{FAULT}{begun} took more than two seconds");
            std::process::exit(SLOW);
        }
    }
}

/// Whether the lock of libhdf5, which every call of it holds, is not to be had.
fn is_inside_hdf5() -> bool {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || hdf5::sync::sync(|| sender.send(())));
    receiver.recv_timeout(LOOK).is_err()
}

/// Processor time of this process, hundredths of a second.
fn processor_time() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name in brackets: user and system time are fields 14 and 15 of all.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}
