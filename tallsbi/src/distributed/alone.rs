//! Without MPI: there are no other processes.

use super::Leave;
use crate::{Error, Result};
use std::convert::Infallible;
use tallsbi_data::{Cancelled, Team};

/// The processes of a job; there is none.
#[derive(Debug)]
pub struct Processes(Infallible);

impl Processes {
    /// # Errors
    /// When `mpirun` started several processes, which would all write the same files.
    pub fn join(_greeting: &str) -> Result<Option<Self>> {
        match super::launched() {
            None => Ok(None),
            Some((_, size)) => Err(Error::Input {
                origin: format!("started as {size} processes"),
                message: "but this tallsbi was built without MPI; build it with the feature mpi, or give each process its shard"
                    .into(),
            }),
        }
    }

    /// Ends the work of this process.
    pub fn leave(&self, _: Leave<'_>, _: &dyn Fn()) -> Option<Error> {
        match self.0 {}
    }

    /// Ends all processes at once, where there are others.
    pub fn abort() {}
}

impl Team for Processes {
    fn size(&self) -> usize {
        match self.0 {}
    }

    fn rank(&self) -> usize {
        match self.0 {}
    }

    fn is_here(&self) -> bool {
        match self.0 {}
    }

    fn exchange(&self, _: &str, _: Vec<u8>) -> std::result::Result<Vec<Vec<u8>>, Cancelled> {
        match self.0 {}
    }
}
