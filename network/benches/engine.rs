//! Speed of the engine, as a table of ratios to faer's matrix product taken in the same run, then as divan benchmarks.

use std::time::Instant;

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};
use rand::SeedableRng;
use rand_pcg::Pcg64;
use rayon::prelude::*;
use tallsbi_network::{
    Activation, Adam, AdamSettings, Engine, ForwardWorkspace, GradientAccumulator, LastLayer, Mlp, MlpSpec,
    TangentWorkspace, Trace,
};

/// Rows of an evaluation tile.
const TILE: usize = 128;
/// 1000 particles x 30 observations.
const ROWS: usize = 30_000;
const BATCH: usize = 256;

fn score_spec(activation: Activation, layer_norm: bool) -> MlpSpec {
    MlpSpec { input: 19, hidden: vec![256; 3], output: 5, activation, layer_norm, residual: false }
}

fn classifier_spec() -> MlpSpec {
    MlpSpec::plain(5, vec![50; 2], 1, Activation::Relu)
}

fn network(spec: MlpSpec) -> Mlp<f32> {
    Mlp::random(spec, LastLayer::Random, &mut Pcg64::seed_from_u64(1)).expect("the definition is valid")
}

/// Multiplications and additions of a forward pass of one row.
fn flops(spec: &MlpSpec) -> f64 {
    spec.layout().iter().map(|layer| 2.0 * (layer.input * layer.output) as f64).sum()
}

fn inputs(rows: usize, width: usize) -> Vec<f32> {
    (0..rows * width).map(|index| ((index % 1013) as f32 / 506.5) - 1.0).collect()
}

/// faer's product of square matrices.
struct Product {
    left: Mat<f32>,
    right: Mat<f32>,
    result: Mat<f32>,
    parallelism: Par,
}

impl Product {
    fn new(size: usize, parallelism: Par) -> Self {
        let matrix = || Mat::from_fn(size, size, |i, j| ((i * 7 + j * 3) % 11) as f32 - 5.0);
        Self { left: matrix(), right: matrix(), result: matrix(), parallelism }
    }

    fn run(&mut self) {
        matmul(&mut self.result, Accum::Replace, &self.left, &self.right, 1.0, self.parallelism);
    }

    fn flops(&self) -> f64 {
        2.0 * (self.left.nrows() as f64).powi(3)
    }
}

/// Evaluation of [`ROWS`] rows in tiles over the pool.
struct Evaluation {
    engine: Engine<f32>,
    input: Vec<f32>,
    out: Vec<f32>,
    workspaces: Vec<ForwardWorkspace<f32>>,
}

impl Evaluation {
    fn new(spec: MlpSpec) -> Self {
        let tiles = ROWS.div_ceil(TILE);
        let share = tiles.div_ceil(rayon::current_num_threads());
        Self {
            engine: Engine::new(&network(spec.clone())),
            input: inputs(ROWS, spec.input),
            out: vec![0.0; ROWS * spec.output],
            workspaces: (0..tiles.div_ceil(share)).map(|_| ForwardWorkspace::new(&spec, TILE)).collect(),
        }
    }

    fn run(&mut self) {
        let Self { engine, input, out, workspaces } = self;
        let spec = engine.spec();
        let share = ROWS.div_ceil(TILE).div_ceil(workspaces.len()) * TILE;
        input.par_chunks(share * spec.input).zip(out.par_chunks_mut(share * spec.output)).zip(workspaces).for_each(
            |((input, out), workspace)| {
                for (input, out) in input.chunks(TILE * spec.input).zip(out.chunks_mut(TILE * spec.output)) {
                    engine.forward(input, workspace, out);
                }
            },
        );
    }
}

/// Memory of one chunk of a training step.
struct Chunk {
    trace: Trace<f32>,
    out: Vec<f32>,
}

/// A whole training step on a quadratic loss: forward, backward, reduction, Adam, new packed weights.
struct Training {
    network: Mlp<f32>,
    engine: Engine<f32>,
    adam: Adam<f32>,
    accumulator: GradientAccumulator<f32, Chunk>,
    gradient: Vec<f32>,
    input: Vec<f32>,
    batch: usize,
}

impl Training {
    fn new(spec: MlpSpec, batch: usize, chunk_rows: usize) -> Self {
        let network = network(spec.clone());
        let parameters = network.parameters().len();
        Self {
            engine: Engine::for_training(&network),
            adam: Adam::new(AdamSettings::default(), parameters).expect("the defaults are valid"),
            accumulator: GradientAccumulator::new(parameters, batch, chunk_rows, || Chunk {
                trace: Trace::new(&spec, chunk_rows),
                out: vec![0.0; chunk_rows * spec.output],
            }),
            gradient: vec![0.0; parameters],
            input: inputs(batch, spec.input),
            batch,
            network,
        }
    }

    fn step(&mut self) {
        let Self { network, engine, adam, accumulator, gradient, input, batch } = self;
        let (width, output) = (engine.spec().input, engine.spec().output);
        accumulator.compute(*batch, gradient, |rows, gradient, chunk| {
            let out = &mut chunk.out[..rows.len() * output];
            let input = &input[rows.start * width..rows.end * width];
            engine.forward_traced(input, &mut chunk.trace, out);
            let loss = out.iter().map(|value| f64::from(value * value)).sum::<f64>();
            out.iter_mut().for_each(|value| *value *= 2.0 / *batch as f32);
            engine.backward(input, &mut chunk.trace, out, gradient, None);
            loss
        });
        adam.update(network.parameters_mut(), gradient, 1e-4);
        engine.load(network.parameters());
    }
}

/// The shortest of many timings: other work on the machine only ever makes a run longer.
struct Best(f64);

impl Best {
    fn time(&mut self, run: impl FnOnce()) {
        let start = Instant::now();
        run();
        self.0 = self.0.min(start.elapsed().as_secs_f64());
    }
}

const ROUNDS: usize = 25;

/// One row of the table: name, floating-point operations, best time.
fn report(name: &str, operations: f64, best: &Best, product_rate: f64) {
    let rate = operations / best.0;
    println!("{name:<46} {:>9.3} ms {:>8.1} GFLOP/s {:>6.2} of faer", best.0 * 1e3, rate / 1e9, rate / product_rate);
}

fn table(threads: usize) {
    let parallelism = if threads == 1 { Par::Seq } else { Par::rayon(threads) };
    // The smaller one takes as long as a training step and is as likely to run undisturbed on a busy machine.
    let mut products = [1536, 512].map(|size| Product::new(size, parallelism));
    let specs = [score_spec(Activation::Relu, false), score_spec(Activation::Silu, true)];
    let mut evaluations = specs.clone().map(Evaluation::new);
    let mut trainings: Vec<Training> =
        specs.iter().flat_map(|spec| [64, 128].map(|chunk| Training::new(spec.clone(), BATCH, chunk))).collect();
    let mut small = Training::new(classifier_spec(), 200, 200);
    let best = || Best(f64::INFINITY);
    let (mut of_product, mut of_evaluation, mut of_training, mut of_small) =
        ([best(), best()], [best(), best()], [best(), best(), best(), best()], best());
    for _ in 0..ROUNDS {
        for (product, (best, repeats)) in products.iter_mut().zip(of_product.iter_mut().zip([1, 20])) {
            (0..repeats).for_each(|_| best.time(|| product.run()));
        }
        for (evaluation, best) in evaluations.iter_mut().zip(&mut of_evaluation) {
            best.time(|| evaluation.run());
        }
        for (training, best) in trainings.iter_mut().zip(&mut of_training) {
            for _ in 0..10 {
                best.time(|| training.step());
            }
        }
        for _ in 0..20 {
            of_small.time(|| small.step());
        }
    }
    let rate = products.iter().zip(&of_product).map(|(product, best)| product.flops() / best.0).fold(0.0, f64::max);
    println!("threads: {threads}");
    for (product, best) in products.iter().zip(&of_product) {
        report(&format!("faer f32 product, square, {}", product.left.nrows()), product.flops(), best, rate);
    }
    for (name, (spec, best)) in ["ReLU", "layer norm, SiLU"].iter().zip(specs.iter().zip(&of_evaluation)) {
        report(&format!("forward 3x256 {name}, {ROWS} rows"), ROWS as f64 * flops(spec), best, rate);
    }
    for (index, best) in of_training.iter().enumerate() {
        let name = format!("training step 3x256 {}, chunk {}", ["ReLU", "LN SiLU"][index / 2], [64, 128][index % 2]);
        let spec = &specs[index / 2];
        // No gradient of the input: its product is not counted.
        let unused = 2.0 * (spec.input * spec.hidden[0]) as f64;
        report(&name, BATCH as f64 * (3.0 * flops(spec) - unused), best, rate);
    }
    report("classifier step 2x50, batch 200", 200.0 * (3.0 * flops(&classifier_spec()) - 500.0), &of_small, rate);
}

fn main() {
    // A name given on the command line selects divan benchmarks only.
    let selective = std::env::args().skip(1).any(|argument| !argument.starts_with("--"));
    let all = rayon::current_num_threads();
    for threads in if selective { vec![] } else { vec![1, all] } {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool can be built");
        pool.install(|| table(threads));
    }
    divan::main();
}

#[divan::bench(args = [true, false])]
fn forward_tile(bencher: divan::Bencher, layer_norm: bool) {
    let spec = score_spec(Activation::Silu, layer_norm);
    let engine = Engine::new(&network(spec.clone()));
    let mut workspace = ForwardWorkspace::new(&spec, TILE);
    let input = inputs(TILE, spec.input);
    let mut out = vec![0.0; TILE * spec.output];
    bencher.bench_local(|| engine.forward(&input, &mut workspace, &mut out));
}

#[divan::bench]
fn tangents_of_a_tile(bencher: divan::Bencher) {
    let spec = score_spec(Activation::Silu, true);
    let engine = Engine::new(&network(spec.clone()));
    let (rows, count) = (32, 5);
    let mut workspace = TangentWorkspace::new(&spec, rows, count);
    let (input, tangents) = (inputs(rows, spec.input), inputs(rows * count, spec.input));
    let (mut out, mut out_tangents) = (vec![0.0; rows * spec.output], vec![0.0; rows * count * spec.output]);
    bencher.bench_local(|| engine.tangent(&input, &tangents, count, &mut workspace, &mut out, &mut out_tangents));
}

#[divan::bench]
fn training_step(bencher: divan::Bencher) {
    let mut training = Training::new(score_spec(Activation::Silu, true), BATCH, 64);
    bencher.bench_local(|| training.step());
}

#[divan::bench]
fn classifier_step(bencher: divan::Bencher) {
    let mut training = Training::new(classifier_spec(), 200, 200);
    bencher.bench_local(|| training.step());
}
