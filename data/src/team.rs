//! Several processes on one piece of work: all run the same program, and share out what is independent.
//!
//! Every process of a [`Team`] does the same steps in the same order with the same random numbers, which are functions of seed, purpose and index.
//! Where a step is many independent items, each process does a part of them and all get the results of all, by [`share`](crate::Monitor#method.share): what
//! follows is the same everywhere, and the same as in one process. What only one process can know, such as what an interrupted run left on its disk,
//! [`lead`](crate::Monitor#method.lead) takes from the first.

use crate::cancelled::Cancelled;

/// The processes that do one piece of work together.
pub trait Team: Sync {
    /// How many there are.
    fn size(&self) -> usize;

    /// Which of them this is, from 0; 0 leads.
    fn rank(&self) -> usize;

    /// Whether the calling thread is the one through which this process speaks to the others. On others nothing is shared: every process does it all.
    fn is_here(&self) -> bool;

    /// Gives `own` to all and returns what all gave, in order of rank. Every process must come to the same exchanges in the same order; `label` says
    /// which one this is, so that processes that have come apart are told rather than mixed up.
    ///
    /// # Errors
    /// When another process has failed or was asked to stop, or they have come apart. The team knows why.
    fn exchange(&self, label: &str, own: Vec<u8>) -> Result<Vec<Vec<u8>>, Cancelled>;
}

/// This process alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Team for Alone {
    fn size(&self) -> usize {
        1
    }

    fn rank(&self) -> usize {
        0
    }

    fn is_here(&self) -> bool {
        false
    }

    fn exchange(&self, _: &str, own: Vec<u8>) -> Result<Vec<Vec<u8>>, Cancelled> {
        Ok(vec![own])
    }
}
