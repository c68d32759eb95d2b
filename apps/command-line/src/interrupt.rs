//! Ctrl-C: the first asks the work to stop at a safe place, the second stops at once.

use anyhow::{Context as _, Result};
use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);

/// Exit code after an interruption, as shells have it: 128 + SIGINT.
pub const EXIT_CODE: u8 = 130;

/// Whether the user asked to stop (Ctrl-C, or a termination signal).
#[derive(Debug, Clone, Copy)]
pub struct Interrupt(());

impl Interrupt {
    /// Starts listening.
    pub fn install() -> Result<Self> {
        ctrlc::set_handler(|| {
            if STOP.swap(true, Ordering::SeqCst) {
                std::process::exit(EXIT_CODE.into());
            }
            tracing::warn!("stopping at the next safe place; once more to stop at once");
        })
        .context("cannot listen for Ctrl-C")?;
        Ok(Self(()))
    }

    /// Whether to stop.
    pub fn is_set(self) -> bool {
        STOP.load(Ordering::Relaxed)
    }
}
