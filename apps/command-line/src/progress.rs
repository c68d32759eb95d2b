//! Progress on standard error: a bar on a terminal, a log line now and then elsewhere.

use crate::context::Context;
use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};
use tallsbi::data::{Monitor, Progress};

/// Without a terminal, progress is logged this often.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Redraws a second on a terminal.
const REDRAWS: u8 = 10;

/// All bars, so that log lines go above them.
static BARS: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS)));

/// Progress of one piece of work; may be advanced from any thread.
#[derive(Debug)]
pub struct Bar {
    label: String,
    unit: &'static str,
    total: u64,
    done: AtomicU64,
    resumed: AtomicU64,
    started: Instant,
    note: Mutex<String>,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Silent,
    Terminal(ProgressBar),
    Log(Mutex<Instant>),
}

impl Bar {
    /// Starts progress over `total` units (0: not known).
    pub fn new(label: &str, unit: &'static str, total: u64, quiet: bool) -> Self {
        let sink = if quiet {
            Sink::Silent
        } else if std::io::stderr().is_terminal() {
            Sink::Terminal(terminal_bar(label, unit, total))
        } else {
            Sink::Log(Mutex::new(Instant::now()))
        };
        Self {
            label: label.into(),
            unit,
            total,
            done: 0.into(),
            resumed: 0.into(),
            started: Instant::now(),
            note: Mutex::default(),
            sink,
        }
    }

    /// Says that `done` units were there before this run.
    pub fn resume_at(&self, done: u64) {
        self.resumed.store(done, Ordering::Relaxed);
        self.done.store(done, Ordering::Relaxed);
        if let Sink::Terminal(bar) = &self.sink {
            bar.set_position(done);
            bar.reset_eta();
        }
    }

    /// Counts `units` more.
    pub fn advance(&self, units: u64) {
        let done = self.done.fetch_add(units, Ordering::Relaxed) + units;
        self.show(done);
    }

    /// Sets the number of finished units.
    pub fn set(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.show(done);
    }

    /// Shows a note beside the progress: a loss, a count.
    pub fn note(&self, note: impl Into<String>) {
        let note = note.into();
        if let Sink::Terminal(bar) = &self.sink {
            bar.set_message(note.clone());
        }
        if let Ok(mut held) = self.note.lock() {
            *held = note;
        }
    }

    /// Units a second in this run.
    pub fn rate(&self) -> f64 {
        let done = self.done.load(Ordering::Relaxed).saturating_sub(self.resumed.load(Ordering::Relaxed));
        done as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Sink::Terminal(bar) = &self.sink {
            bar.finish_and_clear();
        }
    }

    fn show(&self, done: u64) {
        match &self.sink {
            Sink::Silent => {}
            Sink::Terminal(bar) => bar.set_position(done),
            Sink::Log(last) => {
                let Ok(mut last) = last.try_lock() else { return };
                if last.elapsed() >= LOG_INTERVAL {
                    *last = Instant::now();
                    tracing::info!("{}", self.line(done));
                }
            }
        }
    }

    fn line(&self, done: u64) -> String {
        let rate = self.rate();
        let total = self.total;
        let mut line = format!("{}: {done}", self.label);
        if total > 0 {
            line += &format!(" of {total}");
        }
        line += &format!(" {}, {}/s", self.unit, readable(rate));
        if total > done && rate > 0.0 {
            let left = Duration::from_secs_f64(((total - done) as f64 / rate).min(1e9));
            line += &format!(", {} left", HumanDuration(left));
        }
        match self.note.lock() {
            Ok(note) if !note.is_empty() => format!("{line}, {note}"),
            _ => line,
        }
    }
}

/// A bar for each stage of some work, which Ctrl-C stops.
pub struct Bars<'a> {
    context: &'a Context,
    bar: Mutex<Option<(String, Bar)>>,
}

impl<'a> Bars<'a> {
    /// No bar yet.
    pub fn new(context: &'a Context) -> Self {
        Self { context, bar: Mutex::default() }
    }
}

impl Monitor for Bars<'_> {
    fn progress(&self, progress: &Progress<'_>) {
        let Ok(mut held) = self.bar.lock() else { return };
        if held.as_ref().is_none_or(|(stage, _)| stage != progress.stage) {
            let bar = self.context.bar(progress.stage, progress.unit, progress.total);
            // What an earlier run has done is not this one's rate.
            bar.resume_at(progress.done.saturating_sub(1));
            *held = Some((progress.stage.to_owned(), bar));
        }
        if let Some((_, bar)) = held.as_ref() {
            if !progress.note.is_empty() {
                bar.note(progress.note);
            }
            bar.set(progress.done);
        }
    }

    fn cancelled(&self) -> bool {
        self.context.interrupt.is_set()
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.finish();
    }
}

fn readable(rate: f64) -> String {
    if rate >= 100.0 { format!("{rate:.0}") } else { format!("{rate:.3}") }
}

fn terminal_bar(label: &str, unit: &str, total: u64) -> ProgressBar {
    let template = if total > 0 {
        "{prefix} {wide_bar:.cyan/dim} {human_pos}/{human_len} UNIT {per_sec} {eta} {msg}"
    } else {
        "{prefix} {spinner} {human_pos} UNIT {per_sec} {elapsed} {msg}"
    };
    let style = ProgressStyle::with_template(&template.replace("UNIT", unit))
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─");
    let bar = BARS.add(if total > 0 { ProgressBar::new(total) } else { ProgressBar::new_spinner() });
    bar.set_style(style);
    bar.set_prefix(label.to_owned());
    bar
}

/// Standard error for log lines, kept clear of the bars.
#[derive(Debug, Clone, Copy)]
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        BARS.suspend(|| std::io::stderr().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}
