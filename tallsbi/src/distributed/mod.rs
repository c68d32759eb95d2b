//! The processes that `mpirun` started (cargo feature `mpi`), as a [`Team`](tallsbi_data::Team).
//!
//! All run the same command with the same seed, and share out simulations, networks, posteriors and classifiers that do not depend on each other. Only the
//! first writes and speaks. Whoever fails or is asked to stop says so where the others next exchange something, and all end in order; a process that
//! waits in vain for them to get there ends the job. Results are those of one process, as long as all compute alike: processes that run another program
//! or have another kind of processor are refused.

#[cfg(not(feature = "mpi"))]
mod alone;
#[cfg(feature = "mpi")]
mod mpi;

#[cfg(not(feature = "mpi"))]
pub use alone::Processes;
#[cfg(feature = "mpi")]
pub use mpi::Processes;

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

/// How a process ends its part of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave<'a> {
    /// It is done.
    Done,
    /// It was asked to stop.
    Interrupted,
    /// It failed, with this message.
    Failed(&'a str),
}
