//! Progress on standard error: a bar on a terminal, a log line now and then elsewhere.

use crate::interrupt::Interrupt;
use indicatif::{
    HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle, WeakProgressBar,
};
use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, LazyLock, Mutex};
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
static LOGGED: LazyLock<Mutex<Vec<Logged>>> = LazyLock::new(|| {
    std::thread::spawn(log_regularly);
    Mutex::default()
});

/// A bar that is not drawn.
struct Logged {
    bar: WeakProgressBar,
    unit: &'static str,
    recent: Recent,
}

impl Logged {
    /// A line if it is time for one.
    fn tick(&mut self, bar: &ProgressBar, now: Instant) -> Option<String> {
        let (done, total) = (bar.position(), bar.length().unwrap_or(0));
        self.recent.see(now, done);
        if !self.recent.is_due(now) {
            return None;
        }
        let rate = self.recent.rate(now, done);
        let of = if total > 0 { format!(" of {total}") } else { String::new() };
        let mut line = format!("{}: {done}{of} {}, {}/s", bar.prefix(), self.unit, readable(rate));
        if total > done && rate > 0.0 {
            let left = Duration::from_secs_f64(((total - done) as f64 / rate).min(1e9));
            line += &format!(", {} left", HumanDuration(left));
        }
        let note = bar.message();
        Some(if note.is_empty() { line } else { format!("{line}, {note}") })
    }
}

/// Logs all bars that need it, for ever.
fn log_regularly() {
    loop {
        std::thread::sleep(TICK);
        let Ok(mut logged) = LOGGED.lock() else { return };
        let (now, mut lines) = (Instant::now(), Vec::new());
        logged.retain_mut(|one| one.bar.upgrade().map(|bar| lines.extend(one.tick(&bar, now))).is_some());
        drop(logged);
        lines.iter().for_each(|line| tracing::info!("{line}"));
    }
}

/// A bar for each stage of some work, which Ctrl-C stops, of one process or several.
pub struct Bars {
    quiet: bool,
    interrupt: Interrupt,
    team: Arc<dyn Team + Send>,
    bar: Mutex<Option<(String, ProgressBar)>>,
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
        if self.quiet {
            return;
        }
        if held.as_ref().is_none_or(|(stage, bar)| begins(stage, bar, progress)) {
            *held = Some((progress.stage.to_owned(), start(progress)));
        }
        if let Some((_, bar)) = held.as_ref() {
            if !progress.note.is_empty() {
                bar.set_message(progress.note.to_owned());
            }
            bar.set_position(progress.done);
        }
    }

    fn cancelled(&self) -> bool {
        self.interrupt.is_set()
    }

    fn team(&self) -> &dyn Team {
        &*self.team
    }
}

/// Whether this is of another stage than the bar's, or of one of the same name that begins.
fn begins(stage: &str, bar: &ProgressBar, progress: &Progress<'_>) -> bool {
    stage != progress.stage || (progress.done == 0 && bar.position() > 0)
}

/// The bar of a stage that begins: drawn on a terminal, logged elsewhere. What an earlier run has done is not this one's rate.
fn start(progress: &Progress<'_>) -> ProgressBar {
    let (total, before) = ((progress.total > 0).then_some(progress.total), progress.done);
    let terminal = std::io::stderr().is_terminal();
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden()).with_finish(ProgressFinish::AndClear);
    let bar = if terminal { BARS.add(bar) } else { bar };
    let template = match total {
        Some(_) => "{prefix} {wide_bar:.cyan/dim} {human_pos}/{human_len} UNIT {per_sec} {eta} {msg}",
        None => "{prefix} {spinner} {human_pos} UNIT {per_sec} {elapsed} {msg}",
    };
    let style = ProgressStyle::with_template(&template.replace("UNIT", progress.unit));
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
    bar.set_prefix(progress.stage.to_owned());
    bar.set_position(before);
    bar.reset_eta();
    if let (false, Ok(mut logged)) = (terminal, LOGGED.lock()) {
        let recent = Recent::new(Instant::now(), before);
        logged.push(Logged { bar: bar.downgrade(), unit: progress.unit, recent });
    }
    bar
}

/// When lines were logged, and the counts of the last minute.
struct Recent {
    logged: Instant,
    /// Times at which the count was seen to have changed, and the count: the first at the beginning of [`WINDOW`] or before.
    seen: VecDeque<(Instant, u64)>,
}

impl Recent {
    /// Counts from `done` on.
    fn new(now: Instant, done: u64) -> Self {
        Self { logged: now, seen: VecDeque::from([(now, done)]) }
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

    #[test]
    fn a_stage_of_the_same_name_begins_anew() {
        let bar = ProgressBar::hidden();
        let at = |stage, done| Progress { stage, unit: "samples", done, total: 10, note: "" };
        assert!(begins("sample", &bar, &at("train", 3)) && !begins("sample", &bar, &at("sample", 0)));
        bar.set_position(10);
        // Threads may tell in another order than they count.
        assert!(begins("sample", &bar, &at("sample", 0)) && !begins("sample", &bar, &at("sample", 9)));
    }

    /// Counts as they are seen second by second; the rate at the end.
    fn rate(counts: impl IntoIterator<Item = (u64, u64)>) -> f64 {
        let start = Instant::now();
        let mut recent = Recent::new(start, 0);
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
        let mut recent = Recent::new(start, 0);
        let due = |s: &u64| recent.is_due(start + Duration::from_secs(*s));
        assert_eq!((1..=45).filter(due).collect::<Vec<u64>>(), [10, 20, 30, 40]);
    }
}
