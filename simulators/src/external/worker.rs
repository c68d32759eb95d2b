//! One worker: a program that stays alive and is started again where it dies, or that is started for each row.

use super::child::{Answer, Child, Patience, Silence};
use super::command::{Command, INPUT, OUTPUT, Protocol, SEED, THETA};
use super::health::{Fault, Health};
use super::npy;
use std::ops::Range;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tempfile::TempDir;

/// After its first answer a program is given this long to say more than it was asked.
const BABBLE: Duration = Duration::from_millis(5);
/// Bytes of a line for each value, and beside them: no number is longer.
const VALUE_BYTES: usize = 64;
const LINE_BYTES: usize = 4096;
/// Characters of what a program said that errors show.
const SHOWN: usize = 200;

/// Rows of one piece of work.
pub(super) struct Batch {
    /// Parameters, (n, m) row by row.
    pub theta: Vec<f64>,
    /// A seed for each.
    pub seeds: Vec<u32>,
}

impl Batch {
    fn row(&self, i: usize) -> &[f64] {
        let m = self.theta.len() / self.seeds.len();
        &self.theta[i * m..][..m]
    }

    /// The line that stands for a row: its seed and parameters.
    fn line(&self, i: usize) -> String {
        let values = self.row(i).iter().map(|value| format!(" {value:?}"));
        format!("{}{}\n", self.seeds[i], values.collect::<String>())
    }
}

/// What became of a batch.
pub(super) struct Answered {
    /// Values, (n, d) row by row; NaN where a row failed.
    pub values: Vec<f64>,
    /// Rows that failed.
    pub faults: Vec<(usize, Fault)>,
}

/// Why a batch has no answer.
pub(super) enum Stop {
    /// Nobody wants it any more.
    Abandoned,
    /// There is no use in going on.
    Hopeless(String),
}

/// Runs a program, row by row or batch by batch.
pub(super) struct Worker {
    command: Arc<Command>,
    names: Arc<[String]>,
    dim_x: usize,
    health: Arc<Health>,
    child: Option<Child>,
    /// Whether the program that runs has answered something.
    proven: bool,
    /// A folder for files of rows, where there are any.
    folder: Option<TempDir>,
}

impl Worker {
    pub fn new(command: Arc<Command>, names: Arc<[String]>, dim_x: usize, health: Arc<Health>) -> Self {
        Self { command, names, dim_x, health, child: None, proven: false, folder: None }
    }

    /// Simulates a batch.
    pub fn run(&mut self, batch: &Batch, abandoned: &AtomicBool) -> Result<Answered, Stop> {
        let n = batch.seeds.len();
        let mut answered = Answered { values: vec![f64::NAN; n * self.dim_x], faults: Vec::new() };
        let patience = Patience { limit: self.command.timeout, abandoned };
        let done = match (self.command.each, self.command.protocol) {
            (true, _) => (0..n).try_for_each(|row| self.call(batch, row, patience, &mut answered)),
            (false, Protocol::Text) => self.converse(batch, patience, &mut answered),
            (false, Protocol::Npy) => self.exchange(batch, 0..n, patience, &mut answered),
        };
        if done.is_err() {
            // In the middle of something.
            self.child = None;
        }
        done.map(|()| answered)
    }

    /// Lets the program end.
    pub fn finish(mut self) {
        if let Some(child) = self.child.take() {
            child.finish();
        }
    }

    /// A line a row. The first row of a new program goes alone: its answer shows that it answers line by line, after which the first row
    /// without an answer is the one at which it died.
    fn converse(&mut self, batch: &Batch, patience: Patience<'_>, answered: &mut Answered) -> Result<(), Stop> {
        let (n, d) = (batch.seeds.len(), self.dim_x);
        let most = LINE_BYTES + VALUE_BYTES * d;
        let mut next = 0;
        while next < n {
            let fresh = self.started()?;
            let Some(mut child) = self.child.take() else { continue };
            let end = if fresh { next + 1 } else { n };
            let lines: String = (next..end).map(|row| batch.line(row)).collect();
            child.send(lines.into_bytes());
            let mut fault = None;
            while next < end && fault.is_none() {
                let out = &mut answered.values[next * d..][..d];
                match child.line(most, patience) {
                    Ok(line) => match read_values(line, out) {
                        Ok(()) => self.answered(),
                        Err(Fault::Declared) => {
                            self.answered();
                            answered.faults.push((next, Fault::Declared));
                        }
                        Err(broken) => fault = Some(Err(broken)),
                    },
                    Err(silence) => fault = Some(Ok(silence)),
                }
                next += usize::from(fault.is_none());
            }
            match fault {
                // In step as long as it answers as it should.
                None if child.babbles(if fresh { BABBLE } else { Duration::ZERO }) => {
                    return Err(Stop::Hopeless(
                        "it answers more than one line a row; print the values of a row on one line, and nothing else"
                            .into(),
                    ));
                }
                None => self.child = Some(child),
                Some(Err(broken)) => {
                    drop(child);
                    self.blame(next, broken, answered)?;
                    next += 1;
                }
                Some(Ok(silence)) => next += usize::from(self.lost(child, silence, next, answered, patience)?),
            }
        }
        Ok(())
    }

    /// An array a batch; of a batch that fails, halves, down to the rows that fail.
    fn exchange(
        &mut self,
        batch: &Batch,
        rows: Range<usize>,
        patience: Patience<'_>,
        answered: &mut Answered,
    ) -> Result<(), Stop> {
        let (count, d) = (rows.len(), self.dim_x);
        loop {
            self.started()?;
            let Some(mut child) = self.child.take() else { continue };
            let sent = rows
                .clone()
                .flat_map(|row| std::iter::once(f64::from(batch.seeds[row])).chain(batch.row(row).iter().copied()));
            child.send(npy::to_bytes(&sent.collect::<Vec<_>>(), 1 + self.names.len()));
            let mut answer = Answer::new(&mut child, patience);
            let read = npy::read(&mut answer, count, d);
            let silence = answer.silence;
            if let Ok(values) = &read {
                if child.babbles(Duration::ZERO) {
                    return Err(Stop::Hopeless("it answers more than one array a batch".into()));
                }
                self.child = Some(child);
                self.answered();
                for (row, values) in rows.clone().zip(values.chunks_exact(d)) {
                    answered.values[row * d..][..d].copy_from_slice(values);
                    if !finite(values) {
                        answered.faults.push((row, Fault::Declared));
                    }
                }
                return Ok(());
            }
            if silence == Some(Silence::Abandoned) {
                return Err(Stop::Abandoned);
            }
            if count > 1 {
                drop(child);
                let middle = rows.start + count / 2;
                self.exchange(batch, rows.start..middle, patience, answered)?;
                return self.exchange(batch, middle..rows.end, patience, answered);
            }
            let lost = match silence {
                Some(silence) => self.lost(child, silence, rows.start, answered, patience)?,
                None => {
                    self.blame(rows.start, Fault::Broken(format!("it {}", read.unwrap_err())), answered)?;
                    true
                }
            };
            if lost {
                return Ok(());
            }
        }
    }

    /// A call for one row.
    fn call(&mut self, batch: &Batch, row: usize, patience: Patience<'_>, answered: &mut Answered) -> Result<(), Stop> {
        let d = self.dim_x;
        let (input, output) = self.files(batch, row)?;
        let value = |name: &str| match name {
            SEED => vec![batch.seeds[row].to_string()],
            THETA => batch.row(row).iter().map(|value| format!("{value:?}")).collect(),
            INPUT => vec![input.clone()],
            OUTPUT => vec![output.clone()],
            name => {
                let at = self.names.iter().position(|known| known == name).unwrap_or_default();
                vec![format!("{:?}", batch.row(row)[at])]
            }
        };
        let mut child = self.start(&value)?;
        child.send(batch.line(row).into_bytes());
        child.end_input();
        let out = &mut answered.values[row * d..][..d];
        let most = LINE_BYTES + VALUE_BYTES * d;
        let said = child.rest(most, patience).map(<[u8]>::to_vec);
        let status = match said {
            Ok(_) => child.status(patience.limit),
            Err(_) => None,
        };
        let fault = match (said, status) {
            (Err(Silence::Abandoned), _) => return Err(Stop::Abandoned),
            (Ok(said), Some(status)) if status.success() => {
                let said = if output.is_empty() { Ok(said) } else { std::fs::read(&output) };
                let read = said.map_err(|error| Fault::Broken(format!("it wrote no {{{OUTPUT}}} ({error})")));
                match read.and_then(|said| read_values(&said, out)) {
                    Ok(()) => {
                        self.health.works();
                        return Ok(());
                    }
                    Err(fault) => fault,
                }
            }
            (Err(Silence::TooMuch), _) => Fault::Broken("it prints without end".into()),
            (Ok(_), Some(status)) => Fault::Broken(format!("it {}{}", ended(status), quoted(&child.kill()))),
            _ => Fault::TimedOut(format!("{}{}", self.too_slow(), quoted(&child.kill()))),
        };
        self.blame(row, fault, answered)
    }

    /// The names of the files of a row, the input written; empty where the program takes none.
    fn files(&mut self, batch: &Batch, row: usize) -> Result<(String, String), Stop> {
        let uses = |name: &str| {
            self.command.run.iter().flatten().any(|piece| *piece == super::command::Piece::Place(name.into()))
        };
        let (input, output) = (uses(INPUT), uses(OUTPUT));
        if !input && !output {
            return Ok(Default::default());
        }
        let failed = |error: std::io::Error| Stop::Hopeless(format!("files of rows cannot be written: {error}"));
        let folder = match &self.folder {
            Some(folder) => folder,
            None => self.folder.insert(tempfile::tempdir().map_err(failed)?),
        };
        let at = |name: &str, used: bool| if used { folder.path().join(name) } else { Default::default() };
        let paths = (at(INPUT, input), at(OUTPUT, output));
        if input {
            std::fs::write(&paths.0, batch.line(row)).map_err(failed)?;
        }
        if output && paths.1.exists() {
            std::fs::remove_file(&paths.1).map_err(failed)?;
        }
        Ok((paths.0.to_string_lossy().into_owned(), paths.1.to_string_lossy().into_owned()))
    }

    /// Starts the program unless it runs; whether it was started.
    fn started(&mut self) -> Result<bool, Stop> {
        if self.child.is_some() {
            return Ok(false);
        }
        self.child = Some(self.start(&|_| Vec::new())?);
        self.proven = false;
        Ok(true)
    }

    fn start(&self, value: &dyn Fn(&str) -> Vec<String>) -> Result<Child, Stop> {
        Child::start(self.command.process(value)).map_err(|error| {
            let program = self.command.program();
            let beside = self.command.folder.join(&program).is_file();
            let remedy = match error.kind() {
                std::io::ErrorKind::NotFound if beside => {
                    format!("write ./{program} for the one beside the model file")
                }
                std::io::ErrorKind::NotFound => "is it installed? Paths are meant from the model file's folder".into(),
                _ => error.to_string(),
            };
            Stop::Hopeless(format!("the program {program:?} cannot be started; {remedy}"))
        })
    }

    fn answered(&mut self) {
        self.proven = true;
        self.health.works();
    }

    /// The program died or hangs at a row; whether the row is to blame. One that ends by itself after some answers is only started again.
    fn lost(
        &mut self,
        mut child: Child,
        silence: Silence,
        row: usize,
        answered: &mut Answered,
        patience: Patience<'_>,
    ) -> Result<bool, Stop> {
        let fault = match silence {
            Silence::Abandoned => return Err(Stop::Abandoned),
            Silence::TooMuch => Fault::Broken("it prints a line without end".into()),
            Silence::TimedOut => {
                let flush = if self.proven { "" } else { "; does it flush its output after each answer?" };
                Fault::TimedOut(format!("{}{}{flush}", self.too_slow(), quoted(&child.kill())))
            }
            Silence::Closed => match child.status(patience.limit) {
                Some(status) if status.success() && self.proven => return Ok(false),
                Some(status) => Fault::Broken(format!("it {}{}", ended(status), quoted(&child.kill()))),
                None => Fault::Broken(format!("it closed its output{}", quoted(&child.kill()))),
            },
        };
        self.blame(row, fault, answered)?;
        Ok(true)
    }

    fn too_slow(&self) -> String {
        format!("it gave no answer within {} s", self.command.timeout.as_secs_f64())
    }

    fn blame(&self, row: usize, fault: Fault, answered: &mut Answered) -> Result<(), Stop> {
        answered.values[row * self.dim_x..][..self.dim_x].fill(f64::NAN);
        let hope = self.health.failed(&fault).map_err(Stop::Hopeless);
        answered.faults.push((row, fault));
        hope
    }
}

/// How a program ended, in words.
fn ended(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("was ended by signal {signal}");
    }
    match status.code() {
        Some(0) => "ended without an answer".into(),
        Some(code) => format!("ended with status {code}"),
        None => "ended".into(),
    }
}

/// The last line of what a program complained of, for errors.
fn quoted(complaint: &str) -> String {
    match complaint.lines().rev().find(|line| !line.trim().is_empty()) {
        None => String::new(),
        Some(line) => format!(" (it said: {})", shortened(line.trim())),
    }
}

fn shortened(text: &str) -> String {
    let shown: String = text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if shown.len() < text.len() { shown + ".." } else { shown }
}

fn finite(values: &[f64]) -> bool {
    values.iter().all(|&value| (value as f32).is_finite())
}

/// Reads the values of an answer, separated by blanks or commas; one "nan" alone declares that the row failed.
fn read_values(line: &[u8], out: &mut [f64]) -> Result<(), Fault> {
    let text = String::from_utf8_lossy(line);
    let parts = || text.split(|c: char| c.is_whitespace() || c == ',' || c == ';').filter(|part| !part.is_empty());
    let number = |part: &str| match part {
        "NA" | "NaN" | "nan" => Some(f64::NAN),
        part => part.parse::<f64>().ok(),
    };
    let mut count = 0;
    for part in parts() {
        let value = number(part).ok_or_else(|| {
            Fault::Broken(format!("it answered {:?} where {} numbers belong", shortened(text.trim()), out.len()))
        })?;
        if let Some(place) = out.get_mut(count) {
            *place = value;
        }
        count += 1;
    }
    if count == 1 && out[0].is_nan() || count == out.len() && !finite(out) {
        return Err(Fault::Declared);
    }
    if count != out.len() {
        return Err(Fault::Broken(format!("it answered {count} values where {} belong", out.len())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let read = |line: &str| {
            let mut out = [0.0; 3];
            read_values(line.as_bytes(), &mut out).map(|()| out)
        };
        assert_eq!(read("1 2.5\t-3e-2\r"), Ok([1.0, 2.5, -0.03]));
        assert_eq!(read("1, 2; 3"), Ok([1.0, 2.0, 3.0]));
        for failed in ["nan", "NaN", "NA", "1 2 inf", "1 nan 2", "1 2 1e300"] {
            assert_eq!(read(failed), Err(Fault::Declared), "{failed}");
        }
        for (line, expected) in
            [("1 2", "2 values where 3"), ("", "0 values"), ("1 2 3 4", "4 values"), ("ok 1 2", "\"ok 1 2\"")]
        {
            let Err(Fault::Broken(reason)) = read(line) else { panic!("{line}") };
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
