//! The workers of a task: threads that each have a program of their own, and the work that waits for them.

use super::command::Command;
use super::health::Health;
use super::worker::{Answered, Batch, Stop, Worker};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A piece of work.
pub(super) struct Job {
    pub batch: Batch,
    /// Which one of the caller's it is.
    pub index: usize,
    /// Set when the caller does not want it any more.
    pub abandoned: Arc<AtomicBool>,
    pub reply: Sender<(usize, Batch, Option<Answered>)>,
}

/// Threads with programs.
pub(super) struct Pool {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts `workers` threads; programs are started when there is work.
    pub fn start(
        workers: usize,
        command: &Arc<Command>,
        names: &Arc<[String]>,
        dim_x: usize,
        health: &Arc<Health>,
    ) -> Self {
        let (jobs, waiting) = channel::<Job>();
        let waiting = Arc::new(Mutex::new(waiting));
        let serve = |_| {
            let worker = Worker::new(Arc::clone(command), Arc::clone(names), dim_x, Arc::clone(health));
            let (waiting, health) = (Arc::clone(&waiting), Arc::clone(health));
            std::thread::spawn(move || serve(worker, &waiting, &health))
        };
        Self { jobs: Some(jobs), threads: (0..workers).map(serve).collect() }
    }

    /// Hands over work.
    pub fn submit(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // Threads live as long as this.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

fn serve(mut worker: Worker, waiting: &Mutex<Receiver<Job>>, health: &Health) {
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { batch, index, abandoned, reply }) = job else { break };
        let done = if health.hopeless().is_some() || abandoned.load(Ordering::Relaxed) {
            None
        } else {
            match worker.run(&batch, &abandoned) {
                Ok(answered) => Some(answered),
                Err(Stop::Abandoned) => None,
                Err(Stop::Hopeless(reason)) => {
                    health.give_up(reason);
                    None
                }
            }
        };
        // A caller that is gone does not want it.
        let _ = reply.send((index, batch, done));
    }
    worker.finish();
}
