//! Evaluation of a tile of rows.

use crate::definition::MlpSpec;
use crate::engine::Engine;
use crate::kernels::layer::Forward;
use crate::real::Real;

/// Memory of an evaluation: two tiles of the widest hidden layer.
#[derive(Debug, Clone)]
pub struct ForwardWorkspace<T> {
    max_rows: usize,
    current: Vec<T>,
    next: Vec<T>,
}

impl<T: Real> ForwardWorkspace<T> {
    /// For tiles of up to `max_rows` rows.
    pub fn new(spec: &MlpSpec, max_rows: usize) -> Self {
        let length = max_rows * spec.widest_hidden();
        Self { max_rows, current: vec![T::ZERO; length], next: vec![T::ZERO; length] }
    }

    /// The largest tile it serves.
    pub fn max_rows(&self) -> usize {
        self.max_rows
    }
}

impl<T: Real> Engine<T> {
    /// out (rows x output) = network(input), input rows x input width, rows ≤ `workspace.max_rows()`. Never allocates.
    pub fn forward(&self, input: &[T], workspace: &mut ForwardWorkspace<T>, out: &mut [T]) {
        let rows = self.assert_rows(input.len(), out.len(), self.spec.input, workspace.max_rows);
        if self.layout.len() == 1 {
            self.linear(0, input, rows, out);
            return;
        }
        let first = &mut workspace.current[..rows * self.first_width()];
        self.linear(0, input, rows, first);
        self.activate(0, first, None);
        self.remaining_layers(rows, workspace, out);
    }

    /// As [`Engine::forward`], from the first layer's pre-activation W₁ a + b₁ (rows x [`Engine::first_width`], bias
    /// included, see [`Engine::project_first_layer`]).
    pub fn forward_from_first_preactivation(
        &self,
        preactivation: &[T],
        workspace: &mut ForwardWorkspace<T>,
        out: &mut [T],
    ) {
        let width = self.first_width();
        let rows = self.assert_rows(preactivation.len(), out.len(), width, workspace.max_rows);
        if self.layout.len() == 1 {
            out.copy_from_slice(preactivation);
            return;
        }
        let first = &mut workspace.current[..rows * width];
        first.copy_from_slice(preactivation);
        self.activate(0, first, None);
        self.remaining_layers(rows, workspace, out);
    }

    /// Layers from the second on; the output of the first is in `workspace.current`.
    fn remaining_layers(&self, rows: usize, workspace: &mut ForwardWorkspace<T>, out: &mut [T]) {
        for (index, layer) in self.layout.iter().enumerate().skip(1) {
            let input = &workspace.current[..rows * layer.input];
            if !layer.hidden {
                self.linear(index, input, rows, out);
                return;
            }
            let next = &mut workspace.next[..rows * layer.output];
            self.linear(index, input, rows, next);
            self.activate(index, next, layer.residual.then_some(input));
            std::mem::swap(&mut workspace.current, &mut workspace.next);
        }
    }

    /// Normalisation, activation and residual of hidden layer `index`, in place.
    fn activate(&self, index: usize, values: &mut [T], residual: Option<&[T]>) {
        let width = self.layout[index].output;
        Forward { values, width, norm: self.norm(index), activation: self.spec.activation, residual, record: None }
            .run();
    }

    pub(crate) fn assert_rows(&self, input: usize, output: usize, input_width: usize, max_rows: usize) -> usize {
        let rows = output / self.spec.output;
        assert_eq!(output, rows * self.spec.output, "output is not a whole number of rows");
        assert_eq!(input, rows * input_width, "input and output have different numbers of rows");
        assert!(rows <= max_rows, "{rows} rows exceed the workspace's {max_rows}");
        rows
    }
}
