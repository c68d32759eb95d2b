//! Long work: on a thread of its own without the interpreter's lock, while the calling thread looks for signals and tells of progress.

use crate::error::exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tallsbi::{MOST_THREADS, Monitor, Progress, Result};

/// How often signals are looked for.
const TICK: Duration = Duration::from_millis(50);

/// Threads that work is done on, where their number was set.
static POOL: RwLock<Option<Arc<rayon::ThreadPool>>> = RwLock::new(None);

/// Sets the number of threads that work is done on; results do not depend on it.
#[pyfunction]
pub fn set_threads(threads: usize) -> PyResult<()> {
    if !(1..=MOST_THREADS.into()).contains(&threads) {
        return Err(PyValueError::new_err(format!("threads: must be from 1 to {MOST_THREADS}, got {threads}")));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|error| PyValueError::new_err(format!("threads: {error}")))?;
    *POOL.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(pool));
    Ok(())
}

#[derive(Clone, PartialEq)]
struct Snapshot {
    stage: String,
    unit: &'static str,
    done: u64,
    total: u64,
    note: String,
}

/// What the working and the calling thread share.
#[derive(Default)]
struct Shared {
    progress: Mutex<Option<Snapshot>>,
    cancelled: AtomicBool,
    finished: Mutex<bool>,
    finish: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Monitor for Shared {
    fn progress(&self, progress: &Progress<'_>) {
        *lock(&self.progress) = Some(Snapshot {
            stage: progress.stage.to_owned(),
            unit: progress.unit,
            done: progress.done,
            total: progress.total,
            note: progress.note.to_owned(),
        });
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// Says that the work is over, even where it panicked.
struct Finish<'a>(&'a Shared);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        *lock(&self.0.finished) = true;
        self.0.finish.notify_all();
    }
}

impl Shared {
    /// Waits a tick; whether the work is over.
    fn wait(&self) -> bool {
        let finished = lock(&self.finished);
        if *finished {
            return true;
        }
        *self.finish.wait_timeout(finished, TICK).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Does `work` and hears of it: `progress`, if given, is called with (stage, unit, done, total, note) on the calling thread. What a signal
/// handler or `progress` raises stops the work and is raised here.
pub fn run<T: Send>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&dyn Monitor) -> Result<T> + Send,
) -> PyResult<T> {
    let shared = Shared::default();
    let pool = POOL.read().unwrap_or_else(PoisonError::into_inner).clone();
    let outcome = std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let _finish = Finish(&shared);
            match pool {
                Some(pool) => pool.install(|| work(&shared)),
                None => work(&shared),
            }
        });
        let mut told = None;
        let mut raised = Ok(());
        while !py.detach(|| shared.wait()) {
            if raised.is_ok() {
                raised = py.check_signals().and_then(|()| tell(&shared, progress, &mut told));
                if raised.is_err() {
                    shared.cancelled.store(true, Ordering::Relaxed);
                }
            }
        }
        let result = py.detach(|| worker.join());
        match (raised, result) {
            (Ok(()), result) => Ok((result, told)),
            (Err(raised), Ok(Err(error))) if !error.is_cancelled() => {
                // It went wrong while it was stopping: a checkpoint could not be kept, say.
                raised.set_cause(py, Some(exception(error)));
                Err(raised)
            }
            (Err(raised), _) => Err(raised),
        }
    });
    let (result, mut told) = outcome?;
    tell(&shared, progress, &mut told)?;
    match result {
        Ok(result) => result.map_err(exception),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn tell(shared: &Shared, progress: Option<&Bound<'_, PyAny>>, told: &mut Option<Snapshot>) -> PyResult<()> {
    let Some(progress) = progress else { return Ok(()) };
    let now = lock(&shared.progress).clone();
    if now != *told
        && let Some(Snapshot { stage, unit, done, total, note }) = now.clone()
    {
        progress.call1((stage, unit, done, total, note))?;
    }
    *told = now;
    Ok(())
}
