//! Ctrl-C: the first asks the work to stop at a safe place, the second stops at once.

use anyhow::{Context as _, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static STOP: AtomicBool = AtomicBool::new(false);

/// Signals this soon after the first are its echoes: a terminal that closes tells its processes once itself and once through the
/// shell, and what stops a service sends several.
const ECHO: Duration = Duration::from_millis(700);

/// Exit code after an interruption, as shells have it: 128 + SIGINT.
pub const EXIT_CODE: u8 = 130;

/// Asks the work to stop as the first Ctrl-C does.
pub fn stop() {
    STOP.store(true, Ordering::SeqCst);
}

/// Whether the user asked to stop (Ctrl-C, or a termination signal).
#[derive(Debug, Clone, Copy)]
pub struct Interrupt(());

impl Interrupt {
    /// Starts listening.
    pub fn install() -> Result<Self> {
        let mut first = None;
        ctrlc::set_handler(move || {
            if first.get_or_insert_with(Instant::now).elapsed() > ECHO {
                std::process::exit(EXIT_CODE.into());
            }
            if STOP.swap(true, Ordering::SeqCst) {
                return;
            }
            tracing::warn!("stopping at the next safe place; once more to stop at once");
        })
        .context("cannot listen for Ctrl-C")?;
        Ok(Self(()))
    }

    /// Without listening to signals.
    #[cfg(test)]
    pub fn for_tests() -> Self {
        Self(())
    }

    /// Whether to stop.
    pub fn is_set(self) -> bool {
        STOP.load(Ordering::Relaxed)
    }
}
