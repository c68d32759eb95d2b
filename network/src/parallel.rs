//! Gradients of a batch on all threads of the current pool, to the same bytes on any number of them.

use std::ops::Range;

use rayon::prelude::*;

use crate::adam::RANGE;
use crate::kernels::level::dispatch;
use crate::kernels::optimiser::SumInOrder;
use crate::real::Real;

/// Splits a batch into chunks of a fixed number of rows, gives each its own gradient buffer and workspace, and adds the
/// buffers in the order of the chunks.
///
/// Because chunks and order do not depend on the threads, neither does the sum. A batch of one chunk runs on the calling
/// thread and straight into the result. `W` is whatever a chunk needs: traces, input rows, output gradients.
#[derive(Debug)]
pub struct GradientAccumulator<T, W> {
    chunk_rows: usize,
    slots: Vec<Slot<T, W>>,
}

#[derive(Debug)]
struct Slot<T, W> {
    gradient: Vec<T>,
    workspace: W,
    loss: f64,
}

impl<T: Real, W: Send> GradientAccumulator<T, W> {
    /// For batches of up to `max_rows` rows of a model with `parameters` parameters, in chunks of `chunk_rows` rows.
    ///
    /// `make_workspace` is called once for each chunk. Memory: a gradient and a workspace for each chunk.
    pub fn new(parameters: usize, max_rows: usize, chunk_rows: usize, mut make_workspace: impl FnMut() -> W) -> Self {
        assert!(chunk_rows > 0, "chunks need at least one row");
        let chunks = max_rows.div_ceil(chunk_rows).max(1);
        let buffer = if chunks == 1 { 0 } else { parameters };
        let slots = (0..chunks)
            .map(|_| Slot { gradient: vec![T::ZERO; buffer], workspace: make_workspace(), loss: 0.0 })
            .collect();
        Self { chunk_rows, slots }
    }

    /// Rows of a chunk (the last of a batch may have fewer).
    pub fn chunk_rows(&self) -> usize {
        self.chunk_rows
    }

    /// Calls `chunk(rows, gradient, workspace)` for consecutive ranges of `0..rows`; it adds that range's gradient to a
    /// buffer that starts at zero and returns its loss. `gradient` is overwritten with the sum; returns the summed loss.
    pub fn compute<F>(&mut self, rows: usize, gradient: &mut [T], chunk: F) -> f64
    where
        F: Fn(Range<usize>, &mut [T], &mut W) -> f64 + Sync,
    {
        let chunks = rows.div_ceil(self.chunk_rows);
        assert!(chunks <= self.slots.len(), "{rows} rows exceed what the accumulator was made for");
        let rows_of = |index: usize| index * self.chunk_rows..((index + 1) * self.chunk_rows).min(rows);
        if chunks <= 1 {
            gradient.fill(T::ZERO);
            return if rows == 0 { 0.0 } else { chunk(0..rows, gradient, &mut self.slots[0].workspace) };
        }
        let slots = &mut self.slots[..chunks];
        slots.par_iter_mut().with_max_len(1).enumerate().for_each(|(index, slot)| {
            slot.gradient.fill(T::ZERO);
            slot.loss = chunk(rows_of(index), &mut slot.gradient, &mut slot.workspace);
        });
        let buffers: Vec<&[T]> = slots.iter().map(|slot| slot.gradient.as_slice()).collect();
        let reduce = |(range, target): (usize, &mut [T])| {
            let first = range * RANGE;
            let sources: Vec<&[T]> = buffers.iter().map(|buffer| &buffer[first..first + target.len()]).collect();
            dispatch(SumInOrder { target, sources: &sources });
        };
        if gradient.len() <= RANGE {
            reduce((0, gradient));
        } else {
            gradient.par_chunks_mut(RANGE).enumerate().for_each(reduce);
        }
        slots.iter().map(|slot| slot.loss).sum()
    }
}
