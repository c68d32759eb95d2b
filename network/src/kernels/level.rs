//! Kernels compiled for each instruction set, and run for the widest that the machine has.

use pulp::{Arch, WithSimd};

/// Runs a kernel for the instruction set of this machine.
pub(crate) fn dispatch<Kernel: WithSimd>(kernel: Kernel) -> Kernel::Output {
    #[cfg(test)]
    if let Some(level) = tests::forced() {
        return level.dispatch(kernel);
    }
    Arch::new().dispatch(kernel)
}

#[cfg(test)]
mod tests {
    //! What other instruction sets compute: sums are taken in as many parts as a register has lanes, and roundings differ with them. The figures
    //! are in docs/attacks.md.

    use crate::{Activation, Adam, AdamSettings, Engine, ForwardWorkspace, LastLayer, Mlp, MlpSpec, Soap, Trace};
    use pulp::{Scalar, Simd, WithSimd};
    use rand::{RngExt, SeedableRng};
    use std::cell::Cell;

    /// An instruction set that this machine can run.
    #[derive(Debug, Clone, Copy)]
    pub(super) enum Level {
        /// One number at a time.
        None,
        /// Eight numbers of f32.
        #[cfg(target_arch = "x86_64")]
        Avx2(pulp::x86::V3),
        /// Sixteen in one.
        #[cfg(target_arch = "x86_64")]
        Avx512(pulp::x86::V4),
    }

    impl Level {
        pub(super) fn dispatch<Kernel: WithSimd>(self, kernel: Kernel) -> Kernel::Output {
            match self {
                Self::None => Simd::vectorize(Scalar::new(), kernel),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2(simd) => Simd::vectorize(simd, kernel),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512(simd) => Simd::vectorize(simd, kernel),
            }
        }

        fn name(self) -> &'static str {
            match self {
                Self::None => "none",
                #[cfg(target_arch = "x86_64")]
                Self::Avx2(_) => "avx2",
                #[cfg(target_arch = "x86_64")]
                Self::Avx512(_) => "avx512",
            }
        }

        fn all() -> Vec<Self> {
            #[cfg(target_arch = "x86_64")]
            let wide = {
                let (v3, v4) = (pulp::x86::V3::try_new(), pulp::x86::V4::try_new());
                [v3.map(Self::Avx2), v4.map(Self::Avx512)]
            };
            #[cfg(not(target_arch = "x86_64"))]
            let wide = [None; 0];
            std::iter::once(Self::None).chain(wide.into_iter().flatten()).collect()
        }

        /// Does `work` on one thread for which kernels run at this level.
        fn run<T: Send>(self, work: impl FnOnce() -> T + Send) -> T {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
            pool.install(|| {
                FORCED.set(Some(self));
                work()
            })
        }
    }

    thread_local! {
        static FORCED: Cell<Option<Level>> = const { Cell::new(None) };
    }

    pub(super) fn forced() -> Option<Level> {
        FORCED.get()
    }

    fn spec() -> MlpSpec {
        MlpSpec {
            input: 5,
            hidden: vec![96; 4],
            output: 7,
            activation: Activation::Gelu,
            layer_norm: true,
            residual: true,
        }
    }

    const ROWS: usize = 131;

    fn network() -> (Mlp<f32>, Vec<f32>) {
        let mut rng = rand_pcg::Pcg64::seed_from_u64(3);
        let network = Mlp::random(spec(), LastLayer::Random, &mut rng).expect("a network");
        let input = (0..ROWS * spec().input).map(|_| 2.0 * rng.random::<f32>() - 1.0).collect();
        (network, input)
    }

    fn outputs(network: &Mlp<f32>, input: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; ROWS * spec().output];
        let engine = Engine::new(network);
        engine.forward(input, &mut ForwardWorkspace::new(&spec(), ROWS), &mut out);
        out
    }

    /// Regression on a fixed target for `steps` steps: the first gradient, and outputs and mean squared error at the end.
    fn trained(steps: usize, soap: bool) -> (Vec<f32>, Vec<f32>, f64) {
        let (mut network, input) = network();
        let count = network.parameters().len();
        let mut adam = Adam::new(AdamSettings::default(), count).expect("settings");
        let mut matrices = Soap::new(AdamSettings::default(), count, spec().matrices()).expect("settings");
        let mut engine = Engine::for_training(&network);
        let (mut trace, mut out) = (Trace::new(&spec(), ROWS), vec![0.0; ROWS * spec().output]);
        let (mut first, mut error) = (Vec::new(), 0.0);
        for _ in 0..steps {
            engine.forward_traced(&input, &mut trace, &mut out);
            error = 0.0;
            for (row, out) in input.chunks(spec().input).zip(out.chunks_mut(spec().output)) {
                for out in out {
                    let residual = *out - row[0] * row[1];
                    error += f64::from(residual * residual) / (ROWS * spec().output) as f64;
                    *out = 2.0 * residual / ROWS as f32;
                }
            }
            let mut gradient = vec![0.0; count];
            engine.backward(&input, &mut trace, &out, &mut gradient, None);
            if soap {
                matrices.update(network.parameters_mut(), &gradient, 1e-3);
            } else {
                adam.update(network.parameters_mut(), &gradient, 1e-3);
            }
            engine.load(network.parameters());
            if first.is_empty() {
                first = gradient;
            }
        }
        (first, outputs(&network, &input), error)
    }

    /// Largest difference, relative to the largest number.
    fn difference(a: &[f32], b: &[f32]) -> f64 {
        let size = b.iter().fold(0.0, |most: f64, &value| most.max(f64::from(value).abs()));
        a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs()).fold(0.0, f64::max) / size
    }

    /// One evaluation and one gradient differ by roundings, and so do networks that Adam has trained. Those of SOAP are others, of about the same
    /// error.
    #[test]
    fn instruction_sets_differ_by_roundings() {
        let (network, input) = network();
        let at = |level: Level| {
            let evaluated = level.run(|| outputs(&network, &input));
            assert!(
                level.run(|| outputs(&network, &input)) == evaluated,
                "{}: the same bytes at one level",
                level.name()
            );
            (evaluated, [false, true].map(|soap| [1, 10, 100].map(|steps| level.run(|| trained(steps, soap)))))
        };
        let (evaluated, trainings) = at(Level::None);
        for level in Level::all() {
            let (evaluated_there, trainings_there) = at(level);
            let evaluation = difference(&evaluated_there, &evaluated);
            let gradient = difference(&trainings_there[0][0].0, &trainings[0][0].0);
            println!("{}: evaluation {evaluation:.1e}, gradient {gradient:.1e}", level.name());
            assert!(evaluation < 5e-6 && gradient < 5e-6, "{}: {evaluation} {gradient}", level.name());
            for (soap, (there, here)) in trainings_there.iter().zip(&trainings).enumerate() {
                for (there, here) in there.iter().zip(here) {
                    let (outputs, error) = (difference(&there.1, &here.1), there.2 / here.2);
                    println!("  {}: outputs {outputs:.1e}, error {:.6} {:.6}", ["adam", "soap"][soap], there.2, here.2);
                    // SOAP gives directions in which gradients are nothing but rounding as long a step as others.
                    let (most, factor) = [(1e-4, 1.001), (0.5, 1.5)][soap];
                    let near = outputs < most && (1.0 / factor..factor).contains(&error);
                    assert!(near, "{}: {outputs} {error}", level.name());
                }
            }
        }
    }
}
