//! Kernel densities of samples for plots, in one and two dimensions.
//!
//! Samples are binned linearly on the plotted grid and each occupied bin stamps a Gaussian kernel (Silverman's bandwidth in
//! one dimension, Scott's full-covariance one in two). Mass that a kernel would put beyond a bound of the prior is reflected
//! back: a posterior that leans on its bound does not seem to leave it.

use super::axis::extent;

/// A kernel narrower than this many grid cells would show the grid instead of the density.
const NARROWEST_CELLS: f64 = 0.7;
/// Kernels are cut off at this many standard deviations (density below 10⁻⁴ of the peak).
const REACH: f64 = 4.3;

/// A density at the centres of equal cells between `low` and `high`.
#[derive(Debug, Clone)]
pub struct Curve {
    /// Cell centres.
    pub at: Vec<f64>,
    /// Density, integrating to the share of the samples within the range.
    pub density: Vec<f64>,
}

/// The range of one plotted axis and the bounds of the prior on it.
#[derive(Debug, Clone, Copy)]
pub struct Support {
    /// Plotted range.
    pub low: f64,
    /// End of the plotted range.
    pub high: f64,
    /// Where the prior begins and ends; infinite where it does not.
    pub bounds: (f64, f64),
}

impl Support {
    /// The centres of `cells` equal cells.
    pub fn centres(&self, cells: usize) -> Vec<f64> {
        (0..cells).map(|k| self.low + (k as f64 + 0.5) * self.cell(cells)).collect()
    }

    fn cell(&self, cells: usize) -> f64 {
        (self.high - self.low) / cells as f64
    }

    /// Folds a point beyond a bound of the prior back inside.
    fn fold(&self, value: f64) -> f64 {
        if value < self.bounds.0 {
            2.0 * self.bounds.0 - value
        } else if value > self.bounds.1 {
            2.0 * self.bounds.1 - value
        } else {
            value
        }
    }
}

/// The density of `samples` on `cells` cells.
pub fn curve(samples: &[f64], support: Support, cells: usize) -> Curve {
    let cell = support.cell(cells);
    let width = silverman(samples).max(NARROWEST_CELLS * cell);
    let mut density = vec![0.0; cells];
    let weight = 1.0 / (samples.len().max(1) as f64 * width * (2.0 * std::f64::consts::PI).sqrt());
    for (centre, count) in bins(samples, support.low, cell) {
        let reach = (REACH * width / cell).ceil() as i64;
        let middle = ((centre - support.low) / cell).floor() as i64;
        for k in middle - reach..=middle + reach {
            let at = support.low + (k as f64 + 0.5) * cell;
            let z = (at - centre) / width;
            let landed = ((support.fold(at) - support.low) / cell).floor();
            if landed >= 0.0 && (landed as usize) < cells {
                density[landed as usize] += count * weight * (-0.5 * z * z).exp();
            }
        }
    }
    Curve { at: support.centres(cells), density }
}

/// Samples gathered on quarter cells, as (position, count): as exact as the plot can show, and far fewer.
fn bins(samples: &[f64], low: f64, cell: f64) -> impl Iterator<Item = (f64, f64)> {
    let quarter = cell / 4.0;
    let mut counts = std::collections::BTreeMap::<i64, f64>::new();
    for sample in samples.iter().filter(|v| v.is_finite()) {
        *counts.entry(((sample - low) / quarter).floor() as i64).or_default() += 1.0;
    }
    counts.into_iter().map(move |(k, count)| (low + (k as f64 + 0.5) * quarter, count))
}

/// Silverman's rule: 0.9 min(sd, interquartile range / 1.34) N^(-1/5).
fn silverman(samples: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = samples.iter().copied().filter(|v| v.is_finite()).collect();
    if sorted.len() < 2 {
        return 0.0;
    }
    sorted.sort_unstable_by(f64::total_cmp);
    let (_, sd) = mean_and_sd(&sorted);
    let quartiles = (sorted[3 * sorted.len() / 4] - sorted[sorted.len() / 4]) / 1.34;
    let spread = if quartiles > 0.0 { sd.min(quartiles) } else { sd };
    0.9 * spread * (sorted.len() as f64).powf(-0.2)
}

fn mean_and_sd(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt())
}

/// A density on a square grid of `cells` × `cells`, row by row from the lowest y.
#[derive(Debug, Clone)]
pub struct Surface {
    cells: usize,
    x: Support,
    y: Support,
    density: Vec<f64>,
    thresholds: Vec<f64>,
}

/// Gaussian kernel with covariance `[[xx, xy], [xy, yy]]`.
struct Kernel {
    xx: f64,
    xy: f64,
    yy: f64,
}

impl Kernel {
    /// Scott's rule, N^(-1/3) times the samples' covariance, no narrower than the grid shows.
    fn scott(points: &[(f64, f64)], cell: (f64, f64)) -> Self {
        let n = points.len().max(1) as f64;
        let mean = points.iter().fold((0.0, 0.0), |m, p| (m.0 + p.0 / n, m.1 + p.1 / n));
        let moment =
            |f: &dyn Fn(f64, f64) -> f64| points.iter().map(|p| f(p.0 - mean.0, p.1 - mean.1)).sum::<f64>() / n;
        let factor = n.powf(-1.0 / 3.0);
        let floor = |cell: f64| (NARROWEST_CELLS * cell).powi(2);
        Self {
            xx: factor * moment(&|a, _| a * a) + floor(cell.0),
            xy: factor * moment(&|a, b| a * b),
            yy: factor * moment(&|_, b| b * b) + floor(cell.1),
        }
    }

    fn determinant(&self) -> f64 {
        self.xx * self.yy - self.xy * self.xy
    }

    fn exponent(&self, a: f64, b: f64) -> f64 {
        0.5 * (self.yy * a * a - 2.0 * self.xy * a * b + self.xx * b * b) / self.determinant()
    }
}

impl Surface {
    /// The density of `points` and the levels that bound credible regions of the given `masses`.
    pub fn new(points: &[(f64, f64)], x: Support, y: Support, cells: usize, masses: &[f64]) -> Self {
        let cell = (x.cell(cells), y.cell(cells));
        let kernel = Kernel::scott(points, cell);
        let mut density = vec![0.0; cells * cells];
        let mut counts = std::collections::BTreeMap::<(i64, i64), f64>::new();
        for point in points.iter().filter(|p| p.0.is_finite() && p.1.is_finite()) {
            let column = ((point.0 - x.low) / cell.0).floor() as i64;
            let row = ((point.1 - y.low) / cell.1).floor() as i64;
            *counts.entry((row, column)).or_default() += 1.0;
        }
        let reach = |variance: f64, cell: f64| (REACH * variance.sqrt() / cell).ceil() as i64;
        let (across, up) = (reach(kernel.xx, cell.0), reach(kernel.yy, cell.1));
        let landed = |support: &Support, k: i64, cell: f64| {
            let folded = (support.fold(support.low + (k as f64 + 0.5) * cell) - support.low) / cell;
            (folded >= 0.0 && folded < cells as f64).then_some(folded as usize)
        };
        for (&(row, column), count) in &counts {
            for i in row - up..=row + up {
                let Some(target_row) = landed(&y, i, cell.1) else { continue };
                let b = (i - row) as f64 * cell.1;
                for j in column - across..=column + across {
                    let Some(target) = landed(&x, j, cell.0) else { continue };
                    let a = (j - column) as f64 * cell.0;
                    density[target_row * cells + target] += count * (-kernel.exponent(a, b)).exp();
                }
            }
        }
        let mut surface = Self { cells, x, y, density, thresholds: Vec::new() };
        surface.thresholds = surface.levels(points, masses);
        surface
    }

    /// A density that is known at the centres of the cells, row by row from the lowest y, with the levels that bound regions of the given `masses`.
    pub fn known(density: Vec<f64>, x: Support, y: Support, cells: usize, masses: &[f64]) -> Self {
        let mut sorted: Vec<f64> = density.iter().copied().filter(|value| *value > 0.0).collect();
        sorted.sort_unstable_by(|a, b| b.total_cmp(a));
        let total: f64 = sorted.iter().sum();
        let level = |mass: &f64| {
            let mut held = 0.0;
            let inside = |value: &&f64| {
                held += **value;
                held >= mass * total
            };
            sorted.iter().find(inside).copied().unwrap_or(0.0)
        };
        Self { thresholds: masses.iter().map(level).collect(), cells, x, y, density }
    }

    /// The density that the given share of the samples exceeds: the boundary of the highest-density region.
    fn levels(&self, points: &[(f64, f64)], masses: &[f64]) -> Vec<f64> {
        let mut at: Vec<f64> = points.iter().map(|p| self.density_at(*p)).collect();
        at.sort_unstable_by(|a, b| b.total_cmp(a));
        masses
            .iter()
            .map(|mass| {
                at.get(((mass * at.len() as f64) as usize).min(at.len().saturating_sub(1))).copied().unwrap_or(0.0)
            })
            .collect()
    }

    /// Density (up to a factor) in the cell of a point; 0 outside the grid.
    fn density_at(&self, point: (f64, f64)) -> f64 {
        let column = (point.0 - self.x.low) / self.x.cell(self.cells);
        let row = (point.1 - self.y.low) / self.y.cell(self.cells);
        // Samples exactly on the upper end (on a bound of the prior, say) belong to the last cell.
        let inside = |v: f64| v >= 0.0 && v <= self.cells as f64;
        let index = |v: f64| (v as usize).min(self.cells - 1);
        if inside(column) && inside(row) { self.density[index(row) * self.cells + index(column)] } else { 0.0 }
    }

    /// Closed curves around the credible region number `index`, in the samples' coordinates.
    pub fn region(&self, index: usize) -> Vec<Vec<(f64, f64)>> {
        // Where the region reaches beyond the grid, its outline is that of the visible density.
        let peak = self.density.iter().copied().fold(0.0, f64::max);
        let threshold = self.thresholds.get(index).copied().unwrap_or(0.0).max(1e-4 * peak);
        if threshold <= 0.0 {
            return Vec::new();
        }
        let step = (self.x.cell(self.cells), self.y.cell(self.cells));
        let builder = contour::ContourBuilder::new(self.cells, self.cells, true)
            .x_origin(self.x.low)
            .y_origin(self.y.low)
            .x_step(step.0)
            .y_step(step.1);
        let Ok(contours) = builder.contours(&self.density, &[threshold]) else { return Vec::new() };
        let mut rings = Vec::new();
        for contour in &contours {
            for polygon in &contour.geometry().0 {
                let outlines = std::iter::once(polygon.exterior()).chain(polygon.interiors());
                rings.extend(outlines.map(|ring| ring.coords().map(|c| (c.x, c.y)).collect::<Vec<_>>()));
            }
        }
        rings
    }
}

/// The smallest range that holds the central 99.8 % of all samples, with some room, kept inside the prior's bounds.
pub fn sample_range<'a>(
    sets: impl IntoIterator<Item = &'a [f64]>,
    bounds: (f64, f64),
    also: Option<f64>,
) -> (f64, f64) {
    let mut ends: Vec<f64> = also.into_iter().collect();
    for samples in sets {
        let mut sorted: Vec<f64> = samples.iter().copied().filter(|v| v.is_finite()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        if let (Some(low), Some(high)) =
            (sorted.get(sorted.len() / 1000), sorted.get(sorted.len().saturating_sub(1 + sorted.len() / 1000)))
        {
            ends.extend([*low, *high]);
        }
    }
    let (low, high) = extent(ends);
    let room = 0.08 * (high - low);
    ((low - room).max(bounds.0), (high + room).min(bounds.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_distr::{Distribution, StandardNormal};

    const FREE: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);

    fn normals(n: usize, seed: u64) -> Vec<f64> {
        let mut rng = rand_pcg::Pcg64::seed_from_u64(seed);
        (0..n).map(|_| StandardNormal.sample(&mut rng)).collect()
    }

    /// Regions of a known density are those that hold its mass: of independent normals, circles.
    #[test]
    fn regions_of_known_densities_hold_their_mass() {
        let support = Support { low: -4.0, high: 4.0, bounds: FREE };
        let at = support.centres(64);
        let density = at.iter().flat_map(|y| at.iter().map(move |x| (-0.5 * (x * x + y * y)).exp())).collect();
        let surface = Surface::known(density, support, support, 64, &[0.95, 0.5]);
        for (region, mass) in [0.95f64, 0.5].into_iter().enumerate() {
            let radius = (-2.0 * (1.0 - mass).ln()).sqrt();
            let rings = surface.region(region);
            assert_eq!(rings.len(), 1);
            assert!(rings[0].iter().all(|(x, y)| ((x * x + y * y).sqrt() - radius).abs() < 0.15), "{mass}");
        }
    }

    #[test]
    fn a_curve_is_the_density_of_its_samples() {
        let samples = normals(20_000, 1);
        let curve = curve(&samples, Support { low: -5.0, high: 5.0, bounds: FREE }, 200);
        let mass: f64 = curve.density.iter().sum::<f64>() * 0.05;
        assert!((mass - 1.0).abs() < 1e-3, "{mass}");
        for (at, density) in curve.at.iter().zip(&curve.density) {
            let exact = (-0.5 * at * at).exp() / (2.0 * std::f64::consts::PI).sqrt();
            assert!((density - exact).abs() < 0.025, "{at}: {density} instead of {exact}");
        }
    }

    /// A uniform sample stays flat up to the prior's bounds, and nothing lies beyond them.
    #[test]
    fn bounds_reflect() {
        let samples: Vec<f64> = (0..10_000).map(|i| (i as f64 + 0.5) / 10_000.0).collect();
        let curve = curve(&samples, Support { low: -0.2, high: 1.2, bounds: (0.0, 1.0) }, 140);
        for (at, density) in curve.at.iter().zip(&curve.density) {
            let exact = if (0.0..=1.0).contains(at) { 1.0 } else { 0.0 };
            assert!((density - exact).abs() < 0.05, "{at}: {density}");
        }
    }

    /// The 68 % region of a correlated Gaussian is its ellipse: it holds 68 % of the samples and is centred.
    #[test]
    fn credible_regions_hold_their_mass() {
        let (a, b) = (normals(20_000, 2), normals(20_000, 3));
        let points: Vec<(f64, f64)> =
            a.iter().zip(&b).map(|(a, b)| (*a, 0.9 * a + (1.0f64 - 0.81).sqrt() * b)).collect();
        let support = Support { low: -5.0, high: 5.0, bounds: FREE };
        let surface = Surface::new(&points, support, support, 128, &[0.68]);
        let rings = surface.region(0);
        assert!(!rings.is_empty());
        let ring = rings.iter().max_by_key(|ring| ring.len()).expect("one");
        let radius2 = -2.0 * (1.0f64 - 0.68).ln();
        for (x, y) in ring {
            let mahalanobis = (x * x - 1.8 * x * y + y * y) / 0.19;
            assert!((mahalanobis / radius2 - 1.0).abs() < 0.45, "({x}, {y}): {mahalanobis} instead of {radius2}");
        }
        let n = ring.len() as f64;
        let centre = ring.iter().fold((0.0, 0.0), |c, p| (c.0 + p.0 / n, c.1 + p.1 / n));
        assert!(centre.0.abs() < 0.15 && centre.1.abs() < 0.15, "{centre:?}");
    }
}
