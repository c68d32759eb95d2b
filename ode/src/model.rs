//! A model from its text.

use diffsl::discretise::{DiscreteModel, Tensor};
use diffsl::execution::compiler::CompilerOptions;
use diffsl::parser::parse_ds_string;
use diffsl::{Compiler, CraneliftJitModule};
use pest::error::LineColLocation;

/// A text that is no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", line.map_or_else(String::new, |line| format!("line {line}: ")))]
pub struct CompileError {
    /// The line in the text, from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong, on one line.
    pub message: String,
}

/// Equations compiled to machine code. Threads may share one.
pub struct Model {
    compiler: Compiler<CraneliftJitModule, f64>,
    inputs: Vec<String>,
    outputs: Vec<Option<String>>,
    stops: usize,
    has_mass: bool,
    has_reset: bool,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("inputs", &self.inputs).field("outputs", &self.outputs).finish_non_exhaustive()
    }
}

impl Model {
    /// The model that `code` states in DiffSL: `in_i` with the inputs by name, `u_i` with the initial state, `F_i` with its derivative by time, `out_i` with what is
    /// observed. With `dudt_i` and `M_i`, a mass matrix, M du/dt = F; `stop_i` and `reset_i` are events.
    ///
    /// # Errors
    /// What DiffSL has to say, with its line; inputs without a name, no `out`, and what is not supported: a mass matrix that depends on inputs.
    pub fn compile(code: &str) -> Result<Self, CompileError> {
        let other = |message: String| CompileError { line: None, message };
        let parsed = parse_ds_string(code).map_err(|error| {
            let (LineColLocation::Pos((line, column)) | LineColLocation::Span((line, column), _)) = error.line_col;
            let message = format!("column {column}: {}", one_line(&error.variant.message()));
            CompileError { line: Some(line), message }
        })?;
        let model = DiscreteModel::build("model", &parsed).map_err(|error| first_of(&error.as_error_message(code)))?;
        let inputs = names(model.input()).into_iter().collect::<Option<Vec<_>>>();
        let inputs = inputs.ok_or_else(|| other("in: give each input a name, such as in_i { k = 1 }".into()))?;
        let states: Vec<String> = names(Some(model.state())).into_iter().flatten().collect();
        for (tensor, names) in [("in", &inputs), ("u", &states)] {
            if let Some((_, name)) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
                return Err(other(format!("{tensor}: {name} is named twice")));
            }
        }
        let outputs = names(model.out());
        if outputs.is_empty() {
            return Err(other("out: there is none; say what is observed, such as out_i { y }".into()));
        }
        let compiler = Compiler::from_discrete_model(&model, CompilerOptions::default(), Some(code))
            .map_err(|error| other(one_line(&error.to_string())))?;
        let (.., stops, has_mass, has_reset) = compiler.get_dims();
        let model = Self { compiler, inputs, outputs, stops, has_mass, has_reset };
        if has_mass && model.mass_follows_inputs() {
            return Err(other("M: the mass matrix depends on inputs; let F depend on them instead".into()));
        }
        Ok(model)
    }

    /// Whether the mass matrix depends on the inputs: solvers' derivatives by them would be wrong.
    fn mass_follows_inputs(&self) -> bool {
        let n = self.states();
        let matrix = |input: f64| -> Vec<f64> {
            let (mut data, mut matrix) = (self.compiler.get_new_data(), vec![0.0; n * n]);
            // Numbers that are alike in nothing.
            let inputs: Vec<f64> = (0..self.inputs.len()).map(|at| input + (at as f64 * input).sin()).collect();
            self.compiler.set_inputs(&inputs, &mut data, 0);
            self.compiler.set_u0(&mut vec![0.0; n], &mut data);
            for (at, column) in matrix.chunks_exact_mut(n).enumerate() {
                let mut unit = vec![0.0; n];
                unit[at] = 1.0;
                self.compiler.mass(0.0, &unit, &mut data, column);
            }
            matrix
        };
        matrix(1.3) != matrix(2.9)
    }

    /// Number of events that there can be.
    pub fn stops(&self) -> usize {
        self.stops
    }

    /// Whether there is a mass matrix: implicit methods alone solve such equations.
    pub fn has_mass(&self) -> bool {
        self.has_mass
    }

    /// Whether the state changes at events; else it stays what it is from there on.
    pub fn has_reset(&self) -> bool {
        self.has_reset
    }

    /// Names of the inputs.
    pub fn inputs(&self) -> &[String] {
        &self.inputs
    }

    /// Names of the outputs, where they are plain names or assigned to one.
    pub fn outputs(&self) -> &[Option<String>] {
        &self.outputs
    }

    /// Number of states.
    pub fn states(&self) -> usize {
        self.compiler.number_of_states()
    }

    pub(crate) fn compiler(&self) -> &Compiler<CraneliftJitModule, f64> {
        &self.compiler
    }
}

/// Names of a tensor's elements: of assignments, and of expressions that are a name.
fn names(tensor: Option<&Tensor<'_>>) -> Vec<Option<String>> {
    let blocks = tensor.map(Tensor::elmts).unwrap_or_default();
    blocks
        .iter()
        .flat_map(|block| {
            // A scalar has no axes.
            let count = block.shape().iter().product();
            let name = match (count, block.name()) {
                (1, None) => Some(block.expr().to_string()).filter(|text| is_name(text)),
                (1, name) => name.map(str::to_owned),
                _ => None,
            };
            std::iter::repeat_n(name, count)
        })
        .collect()
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(|c| c.is_ascii_alphanumeric())
}

/// The first of DiffSL's messages, `Line 3, Column 5: Error: what`.
fn first_of(messages: &str) -> CompileError {
    let first = messages.trim_start().lines().next().unwrap_or_default();
    let place = first.strip_prefix("Line ").and_then(|rest| rest.split_once(", Column "));
    let (line, rest) = match place {
        Some((line, rest)) => (line.parse().ok(), format!("column {rest}")),
        None => (None, first.to_owned()),
    };
    CompileError { line, message: rest.replace("Error: ", "") }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
