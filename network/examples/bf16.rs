//! What bfloat16 would add to the matrix products, in speed and in error: why the engine computes in f32.
//!
//!     cargo run --release -p tallsbi-network --example bf16
//!
//! Speed: the inner loop of a product with the AVX-512 BF16 instruction `vdpbf16ps` (pairs of bf16 multiplied and added in f32)
//! beside the same loop with f32 fused multiply-adds, on operands in the first-level cache, so that only arithmetic counts.
//! Error: a 3x256 network evaluated with weights and the inputs of each layer rounded to bf16, and in f32, against f64.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use tallsbi_network::{Activation, Engine, ForwardWorkspace, LastLayer, Mlp, MlpSpec};

const ROWS: usize = 512;

fn main() {
    #[cfg(target_arch = "x86_64")]
    speed::print();
    #[cfg(not(target_arch = "x86_64"))]
    println!("speed: not an x86-64 processor");
    error();
}

/// The nearest bf16 number, ties to even: the upper half of an f32.
fn rounded(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

/// Root mean square error of the outputs, relative to their root mean square, of networks as training starts them.
fn error() {
    let spec = MlpSpec {
        input: 19,
        hidden: vec![256; 3],
        output: 5,
        activation: Activation::Silu,
        layer_norm: true,
        residual: false,
    };
    let mut rng = Pcg64::seed_from_u64(1);
    let network = Mlp::<f64>::random(spec.clone(), LastLayer::Random, &mut rng).expect("the definition is valid");
    let inputs: Vec<f64> = (0..ROWS * spec.input).map(|_| rng.random_range(-1.7..1.7)).collect();
    let exact = evaluate(&network, &inputs);
    let single: Vec<f32> = network.parameters().iter().map(|&value| value as f32).collect();
    let single = Mlp::from_parameters(spec, single).expect("the definition is valid");
    let narrow: Vec<f32> = inputs.iter().map(|&value| value as f32).collect();
    let of_f32 = relative(&evaluate(&single, &narrow), &exact);
    let of_bf16 = relative(&evaluate_rounded(&single, &narrow), &exact);
    println!("relative error of the outputs: f32 {of_f32:.1e}, bf16 {of_bf16:.1e}");
}

fn evaluate<T: tallsbi_network::Real>(network: &Mlp<T>, inputs: &[T]) -> Vec<f64> {
    let mut workspace = ForwardWorkspace::new(network.spec(), ROWS);
    let mut out = vec![T::ZERO; ROWS * network.spec().output];
    Engine::new(network).forward(inputs, &mut workspace, &mut out);
    out.iter().map(|value| value.to_f64()).collect()
}

/// Layer by layer, so that what goes into each product can be rounded; sums and everything between products stay f32.
fn evaluate_rounded(network: &Mlp<f32>, inputs: &[f32]) -> Vec<f64> {
    let spec = network.spec();
    let widths: Vec<usize> = std::iter::once(spec.input).chain(spec.hidden.iter().copied()).collect();
    let mut values = inputs.to_vec();
    for (index, layer) in network.layers().iter().enumerate() {
        values.iter_mut().for_each(|value| *value = rounded(*value));
        let one = MlpSpec {
            input: widths[index],
            hidden: if layer.hidden { vec![layer.output] } else { Vec::new() },
            output: layer.output,
            ..spec.clone()
        };
        let end = layer.norm.as_ref().map_or(layer.bias.end, |(_, bias)| bias.end);
        let mut parameters = network.parameters()[layer.weight.start..end].to_vec();
        parameters[..layer.weight.len()].iter_mut().for_each(|weight| *weight = rounded(*weight));
        if layer.hidden {
            // A hidden layer alone, followed by the identity.
            let identity = |index: usize| f32::from(u8::from(index / layer.output == index % layer.output));
            parameters.extend((0..layer.output * layer.output).map(identity));
            parameters.extend(std::iter::repeat_n(0.0, layer.output));
        }
        let one = Mlp::from_parameters(one, parameters).expect("a layer of a valid network");
        values = evaluate(&one, &values).iter().map(|&value| value as f32).collect();
    }
    values.iter().map(|&value| f64::from(value)).collect()
}

fn relative(found: &[f64], exact: &[f64]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    (square(&mut found.iter().zip(exact).map(|(a, b)| a - b)) / square(&mut exact.iter().copied())).sqrt()
}

#[cfg(target_arch = "x86_64")]
mod speed {
    use std::arch::x86_64::*;
    use std::hint::black_box;
    use std::time::Instant;

    /// Depth of the product: numbers of the left operand, as f32.
    const DEPTH: usize = 256;
    /// Accumulators: enough to hide the latency of either instruction.
    const SUMS: usize = 24;
    const REPEATS: usize = 20_000;

    pub fn print() {
        if !(is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")) {
            return println!("speed: this processor has no AVX-512 BF16");
        }
        let right = [1.0f32; DEPTH * 16];
        let best = |run: &dyn Fn() -> f32| {
            let time = |_| {
                let start = Instant::now();
                black_box((0..REPEATS).map(|_| run()).sum::<f32>());
                start.elapsed().as_secs_f64()
            };
            (0..10).map(time).fold(f64::INFINITY, f64::min)
        };
        // SAFETY: the features were detected above; both loops read within the array they are given.
        let (single, half) = unsafe { (best(&|| f32_loop(black_box(&right))), best(&|| bf16_loop(black_box(&right)))) };
        let operations = (2 * SUMS * 16 * DEPTH * REPEATS) as f64;
        println!(
            "speed of the inner loop: f32 {:.0} GFLOP/s, bf16 {:.0} GFLOP/s, ratio {:.2}",
            operations / single / 1e9,
            2.0 * operations / half / 1e9,
            2.0 * single / half
        );
    }

    /// One vector of 16 numbers a depth into every accumulator.
    #[target_feature(enable = "avx512f")]
    fn f32_loop(right: &[f32; DEPTH * 16]) -> f32 {
        let mut sums = [_mm512_setzero_ps(); SUMS];
        let factor = _mm512_set1_ps(black_box(0.5));
        for vector in right.chunks_exact(16) {
            // SAFETY: the chunk has 16 numbers; unaligned reads are allowed.
            let vector = unsafe { _mm512_loadu_ps(vector.as_ptr()) };
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(factor, vector, *sum);
            }
        }
        sums.iter().map(|&sum| _mm512_reduce_add_ps(sum)).sum()
    }

    /// The same number of vectors, each of 32 bf16 numbers.
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn bf16_loop(right: &[f32; DEPTH * 16]) -> f32 {
        let mut sums = [_mm512_setzero_ps(); SUMS];
        let one = _mm512_set1_ps(black_box(0.5));
        let factor = _mm512_cvtne2ps_pbh(one, one);
        for vector in right.chunks_exact(16) {
            // SAFETY: the chunk has 64 bytes, as many as 32 bf16 numbers; every bit pattern is one.
            let vector = unsafe { vector.as_ptr().cast::<__m512bh>().read_unaligned() };
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, factor, vector);
            }
        }
        sums.iter().map(|&sum| _mm512_reduce_add_ps(sum)).sum()
    }
}
