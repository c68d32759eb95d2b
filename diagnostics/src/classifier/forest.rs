//! Random forest: trees by linfa, each on its own bootstrap sample and columns (Breiman 2001, but columns once a tree).
//!
//! Not linfa's own ensemble: its trees are fitted one after the other and its ties fall differently in every run.

use super::Rows;
use crate::{DiagnosticsError, Result};
use linfa::Dataset;
use linfa::traits::Fit;
use linfa_trees::{DecisionTree, TreeNode};
use ndarray::{Array1, ArrayView2, Axis};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tallsbi_data::StreamKey;

/// Relative spread of the weights that keeps the classes of a leaf from having equal weight.
const TIE_BREAK: f32 = 1e-3;

/// Most rows drawn for a tree. linfa sums their weights in f32 as it looks for splits: of some ten thousands more, what is left on one side
/// is less than the sum's rounding, and an assertion of linfa's fails.
const MOST_DRAWN: usize = 16_384;

/// Settings of the random forest.
///
/// | Name | Default | Purpose | Range |
/// |---|---|---|---|
/// | `trees` | 100 | trees that vote | ≥ 1 |
/// | `max_depth` | 10 | depth of a tree; none for no limit | ≥ 1 |
/// | `min_leaf` | 5 | rows in a leaf | ≥ 1 |
/// | `row_fraction` | 1 | rows drawn with replacement for a tree, at most 16 384 | (0, 1] |
/// | `column_fraction` | 0.7 | columns a tree sees | (0, 1] |
/// | `seed` | 0 | random numbers of `Fit::fit` | any |
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomForestParams {
    /// Number of trees.
    pub trees: usize,
    /// Depth of a tree.
    pub max_depth: Option<usize>,
    /// Rows in a leaf.
    pub min_leaf: usize,
    /// Rows drawn with replacement for a tree, as a share of all.
    pub row_fraction: f64,
    /// Columns a tree sees, as a share of all.
    pub column_fraction: f64,
    /// Seed of `Fit::fit`.
    pub seed: u64,
}

impl Default for RandomForestParams {
    fn default() -> Self {
        Self { trees: 100, max_depth: Some(10), min_leaf: 5, row_fraction: 1.0, column_fraction: 0.7, seed: 0 }
    }
}

impl RandomForestParams {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        let bad = |name, value: String, requirement| Err(DiagnosticsError::Setting { name, value, requirement });
        for (name, value) in [("trees", self.trees), ("min_leaf", self.min_leaf)] {
            if !(1..=100_000).contains(&value) {
                return bad(name, value.to_string(), "must be at least 1 and at most 100000");
            }
        }
        if let Some(depth) = self.max_depth.filter(|depth| !(1..=10_000).contains(depth)) {
            return bad("max_depth", depth.to_string(), "must be at least 1, and at most 10000; none for no limit");
        }
        for (name, value) in [("row_fraction", self.row_fraction), ("column_fraction", self.column_fraction)] {
            if !(value > 0.0 && value <= 1.0) {
                return bad(name, value.to_string(), "must lie in (0, 1]");
            }
        }
        Ok(())
    }

    pub(super) fn fit_rows(
        &self,
        rows: &impl Rows,
        indices: &[usize],
        label: &impl Fn(usize) -> bool,
        key: StreamKey,
    ) -> Result<FittedForest> {
        self.validate()?;
        let records = rows.matrix(indices);
        let targets: Array1<bool> = indices.iter().map(|&index| label(index)).collect();
        let trees = (0..self.trees)
            .into_par_iter()
            .map(|tree| self.fit_tree(records.view(), &targets, &mut key.rng(tree as u64)))
            .collect::<Result<Vec<_>>>()?;
        Ok(FittedForest { width: rows.width(), trees })
    }

    /// A tree of linfa's on rows drawn with replacement, as weights, and on a random choice of columns.
    fn fit_tree(&self, records: ArrayView2<'_, f64>, targets: &Array1<bool>, rng: &mut impl Rng) -> Result<Tree> {
        let drawn = ((records.nrows() as f64 * self.row_fraction).ceil() as usize).clamp(1, MOST_DRAWN);
        let mut weights = vec![0.0f32; records.nrows()];
        (0..drawn).for_each(|_| weights[rng.random_range(0..records.nrows())] += 1.0);
        let chosen: Vec<usize> = (0..records.nrows()).filter(|&row| weights[row] > 0.0).collect();
        // linfa breaks a tie between the classes of a leaf by the order of a hash map, which differs from run to run: weights
        // that are a little apart leave no ties.
        let weights = chosen.iter().map(|&row| weights[row] * (1.0 + TIE_BREAK * rng.random::<f32>())).collect();
        let mut columns: Vec<usize> = (0..records.ncols()).collect();
        columns.shuffle(rng);
        columns.truncate(((records.ncols() as f64 * self.column_fraction).ceil() as usize).max(1));
        let dataset =
            Dataset::new(records.select(Axis(0), &chosen).select(Axis(1), &columns), targets.select(Axis(0), &chosen))
                .with_weights(weights);
        let fitted: DecisionTree<f64, bool> = DecisionTree::params()
            .max_depth(self.max_depth)
            .min_weight_leaf(self.min_leaf as f32)
            .fit(&dataset)
            .map_err(|error| DiagnosticsError::Classifier {
                classifier: "random-forest",
                message: error.to_string(),
            })?;
        Ok(Tree::new(fitted.root_node(), &columns))
    }
}

/// A fitted random forest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FittedForest {
    width: usize,
    trees: Vec<Tree>,
}

impl FittedForest {
    /// Number of columns it was fitted on.
    pub fn width(&self) -> usize {
        self.width
    }

    pub(super) fn probabilities(&self, rows: &impl Rows, indices: &[usize]) -> Vec<f64> {
        let mut row = vec![0.0; self.width];
        indices
            .iter()
            .map(|&index| {
                rows.write(index, &mut row);
                let votes = self.trees.iter().filter(|tree| tree.vote(&row)).count();
                votes as f64 / self.trees.len() as f64
            })
            .collect()
    }
}

/// A tree of linfa's as a flat, serialisable list of nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Tree(Vec<Node>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Node {
    /// Left below the threshold, right from it on.
    Split {
        column: usize,
        threshold: f64,
        left: usize,
        right: usize,
    },
    Leaf(bool),
}

impl Tree {
    /// `columns` are those of the training records the tree has seen.
    fn new(root: &TreeNode<f64, bool>, columns: &[usize]) -> Self {
        let mut nodes = Vec::new();
        Self::push(root, columns, &mut nodes);
        Self(nodes)
    }

    fn push(node: &TreeNode<f64, bool>, columns: &[usize], nodes: &mut Vec<Node>) -> usize {
        let index = nodes.len();
        nodes.push(Node::Leaf(node.prediction().unwrap_or_default()));
        if let [Some(left), Some(right)] = node.children()[..] {
            let (column, threshold, _) = node.split();
            let left = Self::push(left, columns, nodes);
            let right = Self::push(right, columns, nodes);
            nodes[index] = Node::Split { column: columns[column], threshold, left, right };
        }
        index
    }

    fn vote(&self, row: &[f32]) -> bool {
        let mut node = 0;
        loop {
            match &self.0[node] {
                Node::Leaf(vote) => return *vote,
                Node::Split { column, threshold, left, right } => {
                    node = if f64::from(row[*column]) < *threshold { *left } else { *right };
                }
            }
        }
    }
}
