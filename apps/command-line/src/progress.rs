//! Progress on standard error: a bar on a terminal, a log line now and then elsewhere.

use crate::interrupt::Interrupt;
use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, Weak};
use std::time::{Duration, Instant};
use tallsbi::data::{Monitor, Progress, Team};

/// Without a terminal, progress is logged this often.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// How often counts are looked at.
const TICK: Duration = Duration::from_secs(1);

/// What rates are measured over.
const WINDOW: Duration = Duration::from_secs(60);

/// Redraws a second on a terminal.
const REDRAWS: u8 = 10;

/// All bars, so that log lines go above them.
static BARS: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS)));

/// Bars that are logged, looked at every [`TICK`].
static LOGGED: LazyLock<Mutex<Vec<Weak<State>>>> = LazyLock::new(|| {
    std::thread::spawn(log_regularly);
    Mutex::default()
});

/// Progress of one piece of work; may be advanced from any thread.
#[derive(Debug)]
pub struct Bar(Arc<State>);

#[derive(Debug)]
struct State {
    label: String,
    unit: &'static str,
    total: u64,
    done: AtomicU64,
    note: Mutex<String>,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Silent,
    Terminal(ProgressBar),
    Log(Mutex<Recent>),
}

impl Bar {
    /// Starts progress over `total` units (0: not known).
    pub fn new(label: &str, unit: &'static str, total: u64, quiet: bool) -> Self {
        let sink = if quiet {
            Sink::Silent
        } else if std::io::stderr().is_terminal() {
            Sink::Terminal(terminal_bar(label, unit, total))
        } else {
            Sink::Log(Mutex::new(Recent::new(Instant::now())))
        };
        let state = Arc::new(State { label: label.into(), unit, total, done: 0.into(), note: Mutex::default(), sink });
        if let (Sink::Log(_), Ok(mut logged)) = (&state.sink, LOGGED.lock()) {
            logged.push(Arc::downgrade(&state));
        }
        Self(state)
    }

    /// Says that `done` units were there before this run.
    pub fn resume_at(&self, done: u64) {
        self.0.done.store(done, Ordering::Relaxed);
        match &self.0.sink {
            Sink::Silent => {}
            Sink::Terminal(bar) => {
                bar.set_position(done);
                bar.reset_eta();
            }
            Sink::Log(recent) => {
                if let Ok(mut recent) = recent.lock() {
                    recent.resume(Instant::now(), done);
                }
            }
        }
    }

    /// Counts `units` more.
    pub fn advance(&self, units: u64) {
        let done = self.0.done.fetch_add(units, Ordering::Relaxed) + units;
        self.show(done);
    }

    /// Sets the number of finished units.
    pub fn set(&self, done: u64) {
        self.0.done.store(done, Ordering::Relaxed);
        self.show(done);
    }

    /// Shows a note beside the progress: a loss, a count.
    pub fn note(&self, note: impl Into<String>) {
        let note = note.into();
        if let Sink::Terminal(bar) = &self.0.sink {
            bar.set_message(note.clone());
        }
        if let Ok(mut held) = self.0.note.lock() {
            *held = note;
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Sink::Terminal(bar) = &self.0.sink {
            bar.finish_and_clear();
        }
    }

    fn show(&self, done: u64) {
        if let Sink::Terminal(bar) = &self.0.sink {
            bar.set_position(done);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.finish();
    }
}

impl State {
    /// Logs a line if it is time for one.
    fn tick(&self, now: Instant) {
        let Sink::Log(recent) = &self.sink else { return };
        let Ok(mut recent) = recent.lock() else { return };
        let done = self.done.load(Ordering::Relaxed);
        recent.see(now, done);
        if recent.is_due(now) {
            tracing::info!("{}", self.line(done, recent.rate(now, done)));
        }
    }

    fn line(&self, done: u64, rate: f64) -> String {
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

/// A bar for each stage of some work, which Ctrl-C stops, of one process or several.
pub struct Bars {
    quiet: bool,
    interrupt: Interrupt,
    team: Arc<dyn Team + Send>,
    bar: Mutex<Option<(String, Bar)>>,
}

impl Bars {
    /// No bar yet; none at all if `quiet`.
    pub fn new(quiet: bool, interrupt: Interrupt, team: Arc<dyn Team + Send>) -> Self {
        Self { quiet, interrupt, team, bar: Mutex::default() }
    }
}

impl Monitor for Bars {
    fn progress(&self, progress: &Progress<'_>) {
        let Ok(mut held) = self.bar.lock() else { return };
        if held.as_ref().is_none_or(|(stage, _)| stage != progress.stage) {
            let bar = Bar::new(progress.stage, progress.unit, progress.total, self.quiet);
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
        self.interrupt.is_set()
    }

    fn team(&self) -> &dyn Team {
        &*self.team
    }
}

/// Logs all bars that need it, for ever.
fn log_regularly() {
    loop {
        std::thread::sleep(TICK);
        let Ok(mut logged) = LOGGED.lock() else { return };
        logged.retain(|state| state.strong_count() > 0);
        let bars: Vec<Arc<State>> = logged.iter().filter_map(Weak::upgrade).collect();
        drop(logged);
        bars.iter().for_each(|state| state.tick(Instant::now()));
    }
}

/// When lines were logged, and the counts of the last minute.
#[derive(Debug)]
struct Recent {
    logged: Instant,
    /// Times at which the count was seen to have changed, and the count: the first at the beginning of [`WINDOW`] or before.
    seen: VecDeque<(Instant, u64)>,
}

impl Recent {
    fn new(now: Instant) -> Self {
        Self { logged: now, seen: VecDeque::from([(now, 0)]) }
    }

    /// Counts from `done` on.
    fn resume(&mut self, now: Instant, done: u64) {
        self.seen = VecDeque::from([(now, done)]);
    }

    fn see(&mut self, now: Instant, done: u64) {
        if self.seen.back().is_none_or(|&(_, last)| last != done) {
            self.seen.push_back((now, done));
        }
        // Of work that moves more rarely, the last two changes are kept.
        while self.seen.len() > 2 && now.duration_since(self.seen[1].0) >= WINDOW {
            self.seen.pop_front();
        }
    }

    /// Whether a line is due; then the next one is after [`LOG_INTERVAL`].
    fn is_due(&mut self, now: Instant) -> bool {
        let due = now.duration_since(self.logged) >= LOG_INTERVAL;
        if due {
            self.logged = now;
        }
        due
    }

    /// Units a second over the last minute.
    fn rate(&self, now: Instant, done: u64) -> f64 {
        self.seen.front().map_or(0.0, |&(from, before)| {
            done.saturating_sub(before) as f64 / now.duration_since(from).as_secs_f64().max(1e-9)
        })
    }
}

/// Writes a line to standard error, above the bars. If nobody can read it any more, because the terminal or the reader of a pipe is
/// gone or the device is full, nothing can be done, and it is no reason to stop.
pub fn tell(line: &str) {
    let _ = LogWriter.write_all(format!("{line}\n").as_bytes());
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
    /// Never fails: whoever logs would tell of it on standard error, and panic where that cannot be written to.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = BARS.suspend(|| std::io::stderr().write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts as they are seen second by second; the rate at the end.
    fn rate(counts: impl IntoIterator<Item = (u64, u64)>) -> f64 {
        let start = Instant::now();
        let mut recent = Recent::new(start);
        let (mut now, mut last) = (start, 0);
        for (second, done) in counts {
            now = start + Duration::from_secs(second);
            recent.see(now, done);
            last = done;
        }
        recent.rate(now, last)
    }

    #[test]
    fn rates_are_of_the_last_minute() {
        assert!((rate((1..=300).map(|s| (s, 10 * s))) - 10.0).abs() < 1e-9);
        // Ten a second, an hour's pause, two a second for a minute and a half.
        let slow = (1..=90).map(|s| (3700 + s, 1000 + 2 * s));
        let paused = (1..=100).map(|s| (s, 10 * s)).chain(slow);
        assert!((rate(paused) - 2.0).abs() < 0.1);
        // An epoch every two minutes.
        let epochs = rate((1..=1000).map(|s| (s, s / 120)));
        assert!((1.0 / 240.0..=1.0 / 120.0).contains(&epochs), "{epochs}");
    }

    #[test]
    fn a_line_is_due_every_ten_seconds_whether_or_not_anything_moved() {
        let start = Instant::now();
        let mut recent = Recent::new(start);
        let due = |s: &u64| recent.is_due(start + Duration::from_secs(*s));
        assert_eq!((1..=45).filter(due).collect::<Vec<u64>>(), [10, 20, 30, 40]);
    }
}
