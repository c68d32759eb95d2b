//! Simulation on several processes started by `mpirun` (cargo feature `mpi`), or on this one alone.
//!
//! The leader (rank 0) decides which block of rows comes next and alone writes; every process, the leader too, simulates an
//! equal part of each block and workers send theirs to the leader. Rows are pure functions of their number, so the file is the
//! one a single process writes, and a run that was interrupted can be resumed with any number of processes. Memory: one
//! block at the leader, its part of it at a worker.

#[cfg(not(feature = "mpi"))]
mod alone;
#[cfg(feature = "mpi")]
mod mpi;

#[cfg(not(feature = "mpi"))]
pub use alone::Team;
#[cfg(feature = "mpi")]
pub use mpi::Team;

use crate::Result;
use std::ops::Range;

/// Rank and number of processes as `mpirun` of Open MPI and MPICH (and Slurm's PMI) announce them; `None` for one process.
pub fn launched() -> Option<(u64, u64)> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let found = [("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), ("PMI_RANK", "PMI_SIZE")]
        .into_iter()
        .find_map(|(rank, size)| Some((number(rank)?, number(size)?)));
    found.filter(|&(_, size)| size > 1)
}

/// Whether this process is one that works for another and leaves all messages to it.
pub fn is_worker() -> bool {
    cfg!(feature = "mpi") && launched().is_some_and(|(rank, _)| rank > 0)
}

/// What the processes did with a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Simulated {
    /// Rows whose simulation failed.
    pub invalid: usize,
    /// Whether any process was asked to stop.
    pub interrupted: bool,
}

/// Rows of a block: the number of the first in the whole run, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Number of the first row.
    pub first: u64,
    /// Rows.
    pub count: usize,
}

/// Simulates the given rows into x and valid; returns how many failed.
pub type Simulate<'a> = &'a dyn Fn(Block, &mut [f32], &mut [u8]) -> Result<usize>;

/// Rows of a block of `count` that process `rank` of `size` simulates: contiguous, sizes differing by one at most.
#[cfg_attr(not(feature = "mpi"), allow(dead_code, reason = "one process has all rows"))]
fn part(count: usize, rank: usize, size: usize) -> Range<usize> {
    let start = |rank: usize| (count as u128 * rank as u128 / size as u128) as usize;
    start(rank)..start(rank + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_block_once() {
        for (count, size) in [(10, 3), (2, 5), (0, 4), (16_384, 7), (5, 1)] {
            let parts: Vec<_> = (0..size).map(|rank| part(count, rank, size)).collect();
            assert_eq!(parts[0].start, 0);
            assert_eq!(parts[size - 1].end, count);
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
            let lengths = || parts.iter().map(Range::len);
            assert!(lengths().max() <= lengths().min().map(|least| least + 1), "{parts:?}");
        }
    }
}
