//! Forward mode: several tangents of every row in one sweep, sharing the primal pass.

use crate::definition::MlpSpec;
use crate::engine::Engine;
use crate::kernels::gemm::{self, Start};
use crate::kernels::layer::{Forward, Record, Tangent};
use crate::kernels::packing::Strided;
use crate::real::Real;

/// Memory of a tangent sweep: two tiles of primal values, two of tangents, and one layer's derivatives.
#[derive(Debug, Clone)]
pub struct TangentWorkspace<T> {
    max_rows: usize,
    max_tangents: usize,
    current: Vec<T>,
    next: Vec<T>,
    current_tangents: Vec<T>,
    next_tangents: Vec<T>,
    derivative: Vec<T>,
    normalised: Vec<T>,
    inverse_deviation: Vec<T>,
}

impl<T: Real> TangentWorkspace<T> {
    /// For tiles of up to `max_rows` rows with up to `max_tangents` tangents each.
    pub fn new(spec: &MlpSpec, max_rows: usize, max_tangents: usize) -> Self {
        let tile = max_rows * spec.widest_hidden();
        let zeros = |length: usize| vec![T::ZERO; length];
        Self {
            max_rows,
            max_tangents,
            current: zeros(tile),
            next: zeros(tile),
            current_tangents: zeros(tile * max_tangents),
            next_tangents: zeros(tile * max_tangents),
            derivative: zeros(tile),
            normalised: if spec.layer_norm { zeros(tile) } else { Vec::new() },
            inverse_deviation: if spec.layer_norm { zeros(max_rows) } else { Vec::new() },
        }
    }

    /// The largest tile it serves.
    pub fn max_rows(&self) -> usize {
        self.max_rows
    }
}

/// Tangents of the first layer's pre-activation.
#[derive(Debug, Clone, Copy)]
pub enum FirstTangents<'a, T> {
    /// The same for every row, count x first width: along inputs that enter the first layer directly these are columns
    /// of its weight ([`Engine::first_layer_columns`]).
    Shared(&'a [T]),
    /// One set for each row, rows x count x first width.
    PerRow(&'a [T]),
}

impl<T: Real> Engine<T> {
    /// Values and tangents of the network: `tangents` is rows x count x input width, `out_tangents` rows x count x
    /// output. Along the unit vectors of `count` inputs, `out_tangents[r]` is the transposed Jacobian of row r.
    ///
    /// Cost: 1 + count forward passes. Never allocates.
    pub fn tangent(
        &self,
        input: &[T],
        tangents: &[T],
        count: usize,
        workspace: &mut TangentWorkspace<T>,
        out: &mut [T],
        out_tangents: &mut [T],
    ) {
        let rows = self.assert_rows(input.len(), out.len(), self.spec.input, workspace.max_rows);
        self.assert_tangents(rows, count, workspace, out_tangents);
        assert_eq!(tangents.len(), rows * count * self.spec.input, "tangents have another number of rows");
        if self.layout.len() == 1 {
            self.linear(0, input, rows, out);
            self.linear_tangent(0, tangents, rows * count, out_tangents);
            return;
        }
        let width = self.first_width();
        self.linear(0, input, rows, &mut workspace.current[..rows * width]);
        self.linear_tangent(0, tangents, rows * count, &mut workspace.current_tangents[..rows * count * width]);
        self.finish_first(rows, count, workspace);
        self.remaining_tangents(rows, count, workspace, out, out_tangents);
    }

    /// As [`Engine::tangent`], from the first layer's pre-activation (bias included, rows x first width) and its
    /// tangents.
    pub fn tangent_from_first_preactivation(
        &self,
        preactivation: &[T],
        tangents: FirstTangents<'_, T>,
        count: usize,
        workspace: &mut TangentWorkspace<T>,
        out: &mut [T],
        out_tangents: &mut [T],
    ) {
        let width = self.first_width();
        let rows = self.assert_rows(preactivation.len(), out.len(), width, workspace.max_rows);
        self.assert_tangents(rows, count, workspace, out_tangents);
        let linear = self.layout.len() == 1;
        let target = if linear { &mut *out_tangents } else { &mut workspace.current_tangents[..rows * count * width] };
        match tangents {
            FirstTangents::Shared(shared) => {
                assert_eq!(shared.len(), count * width, "shared tangents have another size");
                for row in target.chunks_exact_mut(count * width) {
                    row.copy_from_slice(shared);
                }
            }
            FirstTangents::PerRow(tangents) => target.copy_from_slice(tangents),
        }
        if linear {
            out.copy_from_slice(preactivation);
            return;
        }
        workspace.current[..rows * width].copy_from_slice(preactivation);
        self.finish_first(rows, count, workspace);
        self.remaining_tangents(rows, count, workspace, out, out_tangents);
    }

    fn assert_tangents(&self, rows: usize, count: usize, workspace: &TangentWorkspace<T>, out_tangents: &[T]) {
        assert!(count > 0, "at least one tangent is needed");
        assert!(count <= workspace.max_tangents, "{count} tangents exceed the workspace's {}", workspace.max_tangents);
        assert_eq!(out_tangents.len(), rows * count * self.spec.output, "output tangents have another size");
    }

    fn linear_tangent(&self, index: usize, tangents: &[T], lines: usize, out: &mut [T]) {
        let layer = &self.layout[index];
        let a = Strided::row_major(tangents, lines, layer.input);
        gemm::multiply(a, &self.forward_weights[index], Start::Zero, out, layer.output);
    }

    /// Nonlinear part of the first layer, in place.
    fn finish_first(&self, rows: usize, count: usize, workspace: &mut TangentWorkspace<T>) {
        let TangentWorkspace { current, current_tangents, derivative, normalised, inverse_deviation, .. } = workspace;
        let width = self.first_width();
        let record = Record { derivative, normalised, inverse_deviation };
        let values = (&mut current[..rows * width], &mut current_tangents[..rows * count * width]);
        self.activate_with_tangents(0, count, values, None, record);
    }

    /// Layers from the second on; value and tangents of the first are in `current` and `current_tangents`.
    fn remaining_tangents(
        &self,
        rows: usize,
        count: usize,
        workspace: &mut TangentWorkspace<T>,
        out: &mut [T],
        out_tangents: &mut [T],
    ) {
        for (index, layer) in self.layout.iter().enumerate().skip(1) {
            let input = &workspace.current[..rows * layer.input];
            let tangents = &workspace.current_tangents[..rows * count * layer.input];
            if !layer.hidden {
                self.linear(index, input, rows, out);
                self.linear_tangent(index, tangents, rows * count, out_tangents);
                return;
            }
            let next = &mut workspace.next[..rows * layer.output];
            let next_tangents = &mut workspace.next_tangents[..rows * count * layer.output];
            self.linear(index, input, rows, next);
            self.linear_tangent(index, tangents, rows * count, next_tangents);
            let record = Record {
                derivative: &mut workspace.derivative,
                normalised: &mut workspace.normalised,
                inverse_deviation: &mut workspace.inverse_deviation,
            };
            let residual = layer.residual.then_some((input, tangents));
            self.activate_with_tangents(index, count, (next, next_tangents), residual, record);
            std::mem::swap(&mut workspace.current, &mut workspace.next);
            std::mem::swap(&mut workspace.current_tangents, &mut workspace.next_tangents);
        }
    }

    /// Normalisation, activation and residual of hidden layer `index` on values and tangents, in place.
    fn activate_with_tangents(
        &self,
        index: usize,
        count: usize,
        (values, tangents): (&mut [T], &mut [T]),
        residual: Option<(&[T], &[T])>,
        record: Record<'_, T>,
    ) {
        let width = self.layout[index].output;
        let Record { derivative, normalised, inverse_deviation } = record;
        Forward {
            values,
            width,
            norm: self.norm(index),
            activation: self.spec.activation,
            residual: residual.map(|(values, _)| values),
            record: Some(Record {
                derivative: &mut *derivative,
                normalised: &mut *normalised,
                inverse_deviation: &mut *inverse_deviation,
            }),
        }
        .run();
        Tangent {
            values: tangents,
            width,
            count,
            gain: self.norm(index).map(|norm| norm.gain),
            derivative,
            normalised,
            inverse_deviation,
            residual: residual.map(|(_, tangents)| tangents),
        }
        .run();
    }
}
