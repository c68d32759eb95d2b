//! Normal random numbers for many trajectories at once, each trajectory from a stream of its own.
//!
//! One xoshiro128++ generator (Blackman & Vigna 2021) per lane, seeded with 128 hashed bits of its trajectory's
//! [`tallsbi_data::StreamKey`]; normals by Box–Muller. A trajectory's numbers do not depend on its lane or neighbours.
//! Random starting points on a period of 2¹²⁸ overlap with probability below 10⁻¹⁵ even for 10⁸ trajectories of 10⁵ numbers.

use super::elementary::{box_muller_radius, cos_sin};

/// Trajectories simulated together: two AVX-512 or four AVX2 registers of single-precision numbers.
pub const LANES: usize = 32;

/// One value per trajectory.
pub type Lane = [f32; LANES];

/// Generators of [`LANES`] trajectories.
#[derive(Debug, Clone)]
pub struct NormalGenerator {
    state: [[u32; LANES]; 4],
}

impl NormalGenerator {
    /// Generators seeded with the hashed words of their trajectories; the last ones are repeated if there are fewer than
    /// [`LANES`].
    pub fn new(words: &[[u64; 4]]) -> Self {
        let mut state = [[0; LANES]; 4];
        #[expect(clippy::needless_range_loop, reason = "the four parts are indexed by lane")]
        for lane in 0..LANES {
            let [a, b, ..] = words.get(lane).or(words.last()).copied().unwrap_or_default();
            for (part, value) in [a as u32, (a >> 32) as u32, b as u32, (b >> 32) as u32 | 1].into_iter().enumerate() {
                // The set bit keeps the state away from zero, xoshiro's fixed point.
                state[part][lane] = value;
            }
        }
        Self { state }
    }

    /// Fills `normals` with independent N(0, 1) numbers; an even number of rows, two from each Box–Muller transform.
    pub fn fill(&mut self, normals: &mut [Lane]) {
        struct Fill<'a>(&'a mut NormalGenerator, &'a mut [Lane]);
        impl pulp::WithSimd for Fill<'_> {
            type Output = ();
            #[inline(always)]
            fn with_simd<S: pulp::Simd>(self, _: S) {
                self.0.fill_inline(self.1);
            }
        }
        pulp::Arch::new().dispatch(Fill(self, normals));
    }

    /// [`Self::fill`] inside a function that is already compiled for an instruction set.
    #[inline(always)]
    pub(super) fn fill_inline(&mut self, normals: &mut [Lane]) {
        let mut state = self.state;
        for pair in normals.as_chunks_mut::<2>().0 {
            let [first, second] = pair;
            for lane in 0..LANES {
                let radius = box_muller_radius(next(&mut state, lane));
                let (cos, sin) = cos_sin(next(&mut state, lane));
                first[lane] = radius * cos;
                second[lane] = radius * sin;
            }
        }
        self.state = state;
    }
}

/// xoshiro128++ in one lane.
#[inline(always)]
fn next(state: &mut [[u32; LANES]; 4], lane: usize) -> u32 {
    let [mut s0, mut s1, mut s2, mut s3] = [state[0][lane], state[1][lane], state[2][lane], state[3][lane]];
    let result = s0.wrapping_add(s3).rotate_left(7).wrapping_add(s0);
    let shifted = s1 << 9;
    s2 ^= s0;
    s3 ^= s1;
    s1 ^= s2;
    s0 ^= s3;
    s2 ^= shifted;
    s3 = s3.rotate_left(11);
    (state[0][lane], state[1][lane], state[2][lane], state[3][lane]) = (s0, s1, s2, s3);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs from state (1, 2, 3, 4) follow from the definition by hand:
    /// rotl(1+4, 7) + 1 = 641, and so on.
    #[test]
    fn first_outputs_match_the_definition() {
        let mut state = [[1; LANES], [2; LANES], [3; LANES], [4; LANES]];
        assert_eq!(next(&mut state, 5), 641);
        // New state: t = 1024; s2 = 3^1 = 2, s3 = 4^2 = 6, s1 = 2^2 = 0, s0 = 1^6 = 7, s2 ^= t = 1026, s3 = 6 << 11.
        assert_eq!([state[0][5], state[1][5], state[2][5], state[3][5]], [7, 0, 1026, 12288]);
        assert_eq!(next(&mut state, 5), (12295u32 << 7) + 7);
        assert_eq!(state[0][6], 1);
    }

    #[test]
    fn numbers_are_standard_normal_and_independent() {
        let words: Vec<[u64; 4]> = (0..LANES as u64).map(|i| tallsbi_data::StreamKey::root(1).words(i)).collect();
        let mut generator = NormalGenerator::new(&words);
        let rows = 40_000;
        let mut normals = vec![[0.0; LANES]; rows];
        generator.fill(&mut normals);
        let n = (rows * LANES) as f64;
        let mean_of = |f: &dyn Fn(usize, usize) -> f64| {
            (0..rows - 2).flat_map(|row| (0..LANES).map(move |lane| (row, lane))).map(|(r, l)| f(r, l)).sum::<f64>() / n
        };
        let z = |row: usize, lane: usize| f64::from(normals[row][lane]);
        type Moment<'a> = (&'a str, &'a dyn Fn(usize, usize) -> f64, f64, f64);
        // Moment, expectation, standard deviation of one term.
        let moments: [Moment<'_>; 7] = [
            ("mean", &|r, l| z(r, l), 0.0, 1.0),
            ("variance", &|r, l| z(r, l).powi(2), 1.0, 2f64.sqrt()),
            ("skewness", &|r, l| z(r, l).powi(3), 0.0, 15f64.sqrt()),
            ("kurtosis", &|r, l| z(r, l).powi(4), 3.0, 96f64.sqrt()),
            ("pair", &|r, l| z(r, l) * z(r + 1, l), 0.0, 1.0),
            ("pair of squares", &|r, l| (z(r, l).powi(2) - 1.0) * (z(r + 1, l).powi(2) - 1.0), 0.0, 2.0),
            ("neighbours", &|r, l| z(r, l) * z(r, (l + 1) % LANES), 0.0, 1.0),
        ];
        for (name, moment, expected, deviation) in moments {
            let error = (mean_of(moment) - expected) / (deviation / n.sqrt());
            assert!(error.abs() < 4.5, "{name} is off by {error} standard errors");
        }
        let tail = (0..rows).flat_map(|r| normals[r]).filter(|v| v.abs() > 3.0).count() as f64;
        let expected = 0.002_699_796 * n;
        assert!((tail - expected).abs() < 4.5 * expected.sqrt(), "{tail} beyond 3, expected {expected}");
    }
}
