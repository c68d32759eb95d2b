//! Without MPI: this process has all rows.

use super::{Block, Simulate, Simulated};
use crate::{Error, Result, Session};

/// This process alone.
#[derive(Debug)]
pub struct Team(());

impl Team {
    /// The only process there is.
    pub fn alone() -> Self {
        Self(())
    }

    /// # Errors
    /// When `mpirun` started several processes, which would all write the same file.
    pub fn join() -> Result<Self> {
        match super::launched() {
            None => Ok(Self::alone()),
            Some((_, size)) => Err(Error::Input {
                origin: format!("started as {size} processes"),
                message: "but this tallsbi was built without MPI; build it with the feature mpi, or give each process its shard"
                    .into(),
            }),
        }
    }

    /// How many processes there are.
    pub fn size(&self) -> usize {
        1
    }

    /// Whether another process leads. Never.
    pub fn is_worker(&self) -> bool {
        false
    }

    /// What a worker does; there is none.
    pub fn serve(
        self,
        _session: &Session<'_>,
        _width: usize,
        _simulate: std::result::Result<Simulate<'_>, String>,
    ) -> Result<()> {
        Ok(())
    }

    /// Simulates a block.
    pub fn simulate(
        &self,
        block: Block,
        x: &mut [f32],
        valid: &mut [u8],
        _received: &dyn Fn(usize),
        simulate: Simulate<'_>,
    ) -> Result<Simulated> {
        Ok(Simulated { invalid: simulate(block, x, valid)?, interrupted: false })
    }
}
