//! The processes of an MPI job.
//!
//! Each round the leader broadcasts a [`Header`]; for rows, every worker answers with a [`Report`] and, if it succeeded, its x and
//! valid. All blocking, on the main thread. Whatever happens to the leader between rounds, dropping its [`Team`] tells the
//! workers to stop; within a round it first takes in what they send. A panic ends the whole job: nothing else could free
//! processes that wait for the one that died.

use super::{Block, Simulate, Simulated, part};
use crate::{Error, Result, Session, one_line};
use mpi::Threading;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Destination, Root, Source};

/// What the leader says: [`STOP`] or [`ROWS`], the first row, the number of rows.
type Header = [u64; 3];
/// How a worker's part went: [`DONE`] or [`FAILED`], failed simulations (or bytes of the message), 1 if it was asked to stop.
type Report = [u64; 3];

const STOP: u64 = 0;
const ROWS: u64 = 1;
const DONE: u64 = 0;
const FAILED: u64 = 1;
const LEADER: i32 = 0;

/// Exit code of a job that a panic ended.
const PANIC_CODE: i32 = 1;

/// The processes that simulate together.
pub struct Team {
    job: Option<Job>,
}

struct Job {
    world: SimpleCommunicator,
    // Ends MPI when dropped.
    _universe: Universe,
}

impl Team {
    /// This process alone.
    pub fn alone() -> Self {
        Self { job: None }
    }

    /// The processes `mpirun` started, or this one alone. At most once in a process.
    ///
    /// # Errors
    /// When MPI does not start.
    pub fn join() -> Result<Self> {
        if super::launched().is_none() {
            return Ok(Self::alone());
        }
        let (universe, _) = mpi::initialize_with_threading(Threading::Funneled).ok_or_else(|| Error::Input {
            origin: "MPI".into(),
            message: "does not start: it was started before".into(),
        })?;
        let world = universe.world();
        Ok(Self { job: (world.size() > 1).then_some(Job { world, _universe: universe }) })
    }

    /// How many processes there are.
    pub fn size(&self) -> usize {
        self.job.as_ref().map_or(1, |job| job.world.size() as usize)
    }

    /// Whether another process leads.
    pub fn is_worker(&self) -> bool {
        self.job.as_ref().is_some_and(|job| job.world.rank() != LEADER)
    }

    /// What a worker does until the leader says stop: simulate its part of every block, or say why it cannot. `width`: values
    /// of x in a row.
    pub fn serve(
        self,
        session: &Session<'_>,
        width: usize,
        simulate: std::result::Result<Simulate<'_>, String>,
    ) -> Result<()> {
        let Some(Job { world, .. }) = &self.job else { return Ok(()) };
        let leader = world.process_at_rank(LEADER);
        loop {
            let mut header: Header = [STOP; 3];
            leader.broadcast_into(&mut header);
            let [kind, first, count] = header;
            if kind == STOP {
                return Ok(());
            }
            let rows = part(count as usize, world.rank() as usize, world.size() as usize);
            let mut x = vec![0.0; rows.len() * width];
            let mut valid = vec![0; rows.len()];
            let block = Block { first: first + rows.start as u64, count: rows.len() };
            let result = match &simulate {
                Ok(simulate) => simulate(block, &mut x, &mut valid).map_err(|error| one_line(&error)),
                Err(message) => Err(message.clone()),
            };
            let interrupted = u64::from(session.monitor.cancelled());
            match result {
                Ok(invalid) => {
                    let report: Report = [DONE, invalid as u64, interrupted];
                    leader.send(&report[..]);
                    leader.send(&x[..]);
                    leader.send(&valid[..]);
                }
                Err(error) => {
                    let message = error.into_bytes();
                    let report: Report = [FAILED, message.len() as u64, interrupted];
                    leader.send(&report[..]);
                    leader.send(&message[..]);
                }
            }
        }
    }

    /// Simulates a block on all processes; for the leader. `received` is told of rows that came from workers.
    ///
    /// # Errors
    /// The first process's error, with its rank where it is a worker's.
    pub fn simulate(
        &self,
        block: Block,
        x: &mut [f32],
        valid: &mut [u8],
        received: &dyn Fn(usize),
        simulate: Simulate<'_>,
    ) -> Result<Simulated> {
        let Some(Job { world, .. }) = &self.job else {
            return Ok(Simulated { invalid: simulate(block, x, valid)?, interrupted: false });
        };
        let size = world.size() as usize;
        let width = x.len() / block.count.max(1);
        let mut header: Header = [ROWS, block.first, block.count as u64];
        world.process_at_rank(LEADER).broadcast_into(&mut header);
        let own = part(block.count, 0, size);
        let own_block = Block { first: block.first, count: own.len() };
        let mut total = simulate(own_block, &mut x[..own.len() * width], &mut valid[..own.len()])
            .map(|invalid| Simulated { invalid, interrupted: false });
        // Also after an error: workers wait until what they send is taken.
        for rank in 1..size {
            let rows = part(block.count, rank, size);
            let x = &mut x[rows.start * width..rows.end * width];
            let theirs = receive(world, rank as i32, x, &mut valid[rows.clone()]);
            received(rows.len());
            total = match (total, theirs) {
                (Ok(a), Ok(b)) => {
                    Ok(Simulated { invalid: a.invalid + b.invalid, interrupted: a.interrupted || b.interrupted })
                }
                (Err(error), _) | (_, Err(error)) => Err(error),
            };
        }
        total
    }
}

/// Takes in a worker's part of a block.
fn receive(world: &SimpleCommunicator, rank: i32, x: &mut [f32], valid: &mut [u8]) -> Result<Simulated> {
    let worker = world.process_at_rank(rank);
    let mut report: Report = [DONE; 3];
    worker.receive_into(&mut report[..]);
    let [outcome, number, interrupted] = report;
    if outcome == FAILED {
        let mut message = vec![0u8; number as usize];
        worker.receive_into(&mut message[..]);
        return Err(Error::Process { rank: rank as usize, message: String::from_utf8_lossy(&message).into_owned() });
    }
    worker.receive_into(x);
    worker.receive_into(valid);
    Ok(Simulated { invalid: number as usize, interrupted: interrupted != 0 })
}

impl Drop for Team {
    fn drop(&mut self) {
        let Some(Job { world, .. }) = &self.job else { return };
        if std::thread::panicking() {
            world.abort(PANIC_CODE);
        }
        if world.rank() == LEADER {
            let mut header: Header = [STOP; 3];
            world.process_at_rank(LEADER).broadcast_into(&mut header);
        }
    }
}
