//! Pair plots of posteriors given more and more observations.

use super::sentence::listed;
use crate::plot::{Figure, PairAxis, PairPlot, Result, SampleSet, sequential, with_unit};
use ndarray::ArrayView2;
use plotters::style::RGBColor;
use tallsbi::data::Prior;

/// Colour of a reference posterior.
const REFERENCE: RGBColor = RGBColor(0x00, 0x00, 0x00);

/// What is drawn.
pub struct Pairs<'a> {
    /// Beginning of the figures' names.
    pub name: &'a str,
    /// Title.
    pub title: &'a str,
    /// What the samples are, for the caption.
    pub what: &'a str,
    /// The prior.
    pub prior: &'a Prior,
    /// Units of the parameters.
    pub units: &'a [String],
    /// True parameters.
    pub truth: Option<&'a [f64]>,
    /// n and samples (S, m), by increasing n.
    pub posteriors: Vec<(usize, ArrayView2<'a, f64>)>,
    /// Reference samples at the largest n.
    pub reference: Option<ArrayView2<'a, f64>>,
    /// A sentence for those who cannot see the figures.
    pub described: String,
}

impl Pairs<'_> {
    /// All posteriors on the range of the widest; and, of three or more, those given more observations on their own range.
    ///
    /// # Errors
    /// When they cannot be drawn.
    pub fn figures(&self) -> Result<Vec<Figure>> {
        let mut figures = vec![self.figure(0, "", self.title)?];
        if self.posteriors.len() > 2 {
            figures.push(self.figure(1, "-close", &format!("{}, close up", self.title))?);
        }
        Ok(figures)
    }

    fn figure(&self, from: usize, ending: &str, title: &str) -> Result<Figure> {
        let support = self.prior.support();
        let count = self.posteriors.len();
        let axis = |i: usize| PairAxis {
            label: with_unit(&self.prior.names()[i], &self.units[i]),
            range: None,
            bounds: support[i],
            truth: self.truth.map(|truth| truth[i]),
            prior: Vec::new(),
        };
        let ours = self.posteriors.iter().enumerate().skip(from).map(|(i, (n, samples))| SampleSet {
            label: format!("n = {n}"),
            color: sequential(i, count),
            samples: *samples,
            outline: false,
        });
        let most = self.posteriors.last().map_or(0, |(n, _)| *n);
        let reference = self.reference.map(|samples| SampleSet {
            label: format!("reference, n = {most}"),
            color: REFERENCE,
            samples,
            outline: true,
        });
        let plot = PairPlot {
            slices: None,
            axes: (0..self.prior.dim()).map(axis).collect(),
            sets: ours.chain(reference).collect(),
        };
        let n = |from: usize| listed(self.posteriors[from..].iter().map(|(n, _)| n.to_string()));
        let reference = if self.reference.is_some() {
            format!(" Dashed black outlines: the reference posterior given n = {most}.")
        } else {
            String::new()
        };
        let truth = if self.truth.is_some() { " Dashed lines mark the true values." } else { "" };
        let caption = format!(
            "{} given n = {} observations, from light to dark. Diagonal: marginal densities, each scaled to its own peak. Below: \
             regions that hold 50 % and 95 % of the posterior.{reference}{truth}",
            self.what,
            n(from)
        );
        let alternative = format!("Pair plot of the posterior samples for n = {}. {}", n(0), self.described);
        Ok(plot.figure(&format!("{}-pairs{ending}", self.name), title)?.described(caption, alternative))
    }
}
