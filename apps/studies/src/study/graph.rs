//! A study as a graph of content-addressed steps: what is done is not done again, a change redoes what depends on it.
//!
//! The key of a step is the SHA-256 of its name, its options, the version of the program and the keys of its inputs. Its
//! folder `steps/<name>-<key>` appears, by a rename, when the step is complete. Until then it works in
//! `steps/.<name>-<key>.partial`: a step that can continue finds there what it had, others start from an empty folder. The record of
//! a finished step has the SHA-256 of each of its files: one whose files are damaged is done again.

use super::record::StepRecord;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tallsbi::Session;
use tallsbi::data::InJson;
use tallsbi::files::sha256_file;

/// Hexadecimal digits of a key that name its folder.
const KEY_DIGITS: usize = 12;

/// What a finished step leaves beside its files.
const RECORD: &str = "step.json";

/// How long file systems may take to show other machines what was written.
const SEEN_WITHIN: Duration = Duration::from_secs(60);

/// Changes to what steps compute, between versions of the program, are counted here: old results are not taken for new ones.
const REVISION: u32 = 1;

/// A step of a [`Graph`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepId(usize);

/// Work that writes into the folder it is given.
pub type Action<'a> = Box<dyn FnOnce(&Path) -> Result<()> + 'a>;

/// What a step is.
pub struct Step<'a> {
    /// Name, unique in its graph; letters, digits, `-` and `_`.
    pub name: String,
    /// All that its result depends on, besides its inputs.
    pub options: serde_json::Value,
    /// Steps whose files it reads.
    pub inputs: Vec<StepId>,
    /// Rough seconds on two cores, to share out the time left.
    pub cost: f64,
    /// Whether it continues what an interruption left in its folder.
    pub resumes: bool,
    /// Does the work.
    pub action: Action<'a>,
}

struct Node<'a> {
    step: Step<'a>,
    key: String,
}

/// Steps in an order in which they can run.
pub struct Graph<'a> {
    root: PathBuf,
    nodes: Vec<Node<'a>>,
}

impl<'a> Graph<'a> {
    /// A graph whose steps live in `root/steps`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), nodes: Vec::new() }
    }

    /// Adds a step after its inputs, unless it is there already. Its folder is known from now on.
    pub fn add(&mut self, step: Step<'a>) -> StepId {
        let inputs: Vec<&str> = step.inputs.iter().map(|id| self.nodes[id.0].key.as_str()).collect();
        let key = key(&step.name, &step.options, &inputs);
        if let Some(known) = self.nodes.iter().position(|node| node.key == key) {
            return StepId(known);
        }
        self.nodes.push(Node { step, key });
        StepId(self.nodes.len() - 1)
    }

    /// Where the files of a step are once it is done.
    pub fn folder(&self, id: StepId) -> PathBuf {
        self.root.join(self.relative(id.0))
    }

    /// The same, relative to the study's folder.
    pub fn relative_folder(&self, id: StepId) -> String {
        self.relative(id.0)
    }

    fn relative(&self, index: usize) -> String {
        let node = &self.nodes[index];
        format!("steps/{}-{}", node.step.name, &node.key[..KEY_DIGITS])
    }

    fn partial(&self, index: usize) -> String {
        let node = &self.nodes[index];
        format!("steps/.{}-{}.partial", node.step.name, &node.key[..KEY_DIGITS])
    }

    /// The record of a step that is done, and whose files are as it left them.
    fn record(&self, index: usize) -> Option<StepRecord> {
        let relative = self.relative(index);
        let folder = self.root.join(&relative);
        let Held { record, files } = serde_json::from_slice(&std::fs::read(folder.join(RECORD)).ok()?).ok()?;
        let node = &self.nodes[index];
        let own = record.name == node.step.name && record.key == node.key && record.folder == relative;
        if own && files.iter().flatten().all(|(name, digest)| is_as_written(&folder, name, digest)) {
            return Some(record);
        }
        tracing::warn!("{}: is not as it was written; the step is done again", folder.display());
        None
    }

    /// Runs all steps that are not done, in order.
    ///
    /// # Errors
    /// The first step that fails, with its name; what was done before it stays.
    pub fn run(self, session: &Session<'_>) -> Result<Vec<StepRecord>> {
        let leads = session.monitor.leads();
        let found = || -> Result<_> {
            let steps = self.root.join("steps");
            std::fs::create_dir_all(&steps).with_context(|| format!("{}: cannot be created", steps.display()))?;
            Ok(InJson((0..self.nodes.len()).map(|i| self.record(i)).collect()))
        };
        let InJson(done): InJson<Vec<Option<StepRecord>>> = session.monitor.lead("steps that are done", found)?;
        // Where several processes work together only the first leaves something: the others write into a folder of their own.
        let own = (!leads).then(tempfile::tempdir).transpose().context("no temporary folder can be made")?;
        let mut clock =
            Clock::new(self.nodes.iter().zip(&done).filter(|(_, done)| done.is_none()).map(|(n, _)| n.step.cost));
        let total = self.nodes.len();
        let reused = done.iter().flatten().count();
        if reused > 0 {
            tracing::info!("{reused} of {total} steps are done already");
        }
        let at = own.as_ref().map_or(self.root.as_path(), tempfile::TempDir::path).to_owned();
        let folders: Vec<(String, PathBuf)> =
            (0..total).map(|i| (self.relative(i), at.join(self.partial(i)))).collect();
        let mut records = Vec::with_capacity(total);
        for (index, (node, done)) in self.nodes.into_iter().zip(done).enumerate() {
            if let Some(record) = done {
                records.push(record);
                continue;
            }
            session.monitor.check()?;
            tracing::info!("step {} of {total}: {}{}", index + 1, node.step.name, clock.left());
            let (folder, partial) = &folders[index];
            // All begin after the first has finished the step before.
            session.monitor.lead(&node.step.name, || Ok::<_, anyhow::Error>(()))?;
            let record = if leads {
                execute(&self.root, folder, partial, node)?
            } else {
                let inputs = node.step.inputs.iter().map(|id| self.root.join(&folders[id.0].0));
                inputs.into_iter().try_for_each(|folder| wait_for(&folder))?;
                attend(folder, partial, node)?
            };
            clock.finish(record.seconds);
            records.push(record);
        }
        session.monitor.lead("all steps", || Ok::<_, anyhow::Error>(()))?;
        Ok(records)
    }
}

/// A step in a process that leaves nothing: its files are there for as long as the step itself reads them.
fn attend(folder: &str, partial: &Path, node: Node<'_>) -> Result<StepRecord> {
    let started = Instant::now();
    std::fs::create_dir_all(partial).with_context(|| format!("{}: cannot be created", partial.display()))?;
    (node.step.action)(partial).with_context(|| format!("step {}", node.step.name))?;
    std::fs::remove_dir_all(partial).with_context(|| format!("{}: cannot be removed", partial.display()))?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(StepRecord { name: node.step.name, key: node.key, folder: folder.to_owned(), seconds })
}

/// Waits until a folder that another machine made is seen here, too.
fn wait_for(folder: &Path) -> Result<()> {
    let started = Instant::now();
    while !folder.exists() {
        anyhow::ensure!(
            started.elapsed() < SEEN_WITHIN,
            "{}: is not seen by all processes; use a folder that all machines share",
            folder.display()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn execute(root: &Path, folder: &str, partial: &Path, node: Node<'_>) -> Result<StepRecord> {
    let Step { name, options, resumes, action, .. } = node.step;
    let trouble = |doing: &str| format!("{}: cannot be {doing}", partial.display());
    if !resumes && partial.exists() {
        std::fs::remove_dir_all(partial).with_context(|| trouble("removed"))?;
    }
    std::fs::create_dir_all(partial).with_context(|| trouble("created"))?;
    let started = Instant::now();
    if let Err(error) = action(partial) {
        if !resumes {
            // Nothing can continue from it; the error that stopped the step is what matters.
            let _ = std::fs::remove_dir_all(partial);
        }
        return Err(error.context(format!("step {name}")));
    }
    let record =
        StepRecord { name, key: node.key, folder: folder.to_owned(), seconds: started.elapsed().as_secs_f64() };
    let files = digests(partial)?;
    let text = serde_json::to_vec_pretty(&Written { record: &record, options: &options, files })?;
    std::fs::write(partial.join(RECORD), text).with_context(|| trouble("written to"))?;
    let target = root.join(folder);
    if target.exists() {
        // Without its record it was not made by us to the end.
        std::fs::remove_dir_all(&target).with_context(|| format!("{}: cannot be removed", target.display()))?;
    }
    std::fs::rename(partial, &target).with_context(|| trouble("renamed"))?;
    Ok(record)
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    record: &'a StepRecord,
    options: &'a serde_json::Value,
    files: BTreeMap<String, String>,
}

/// What is read of it: version 0.1.0 wrote no digests.
#[derive(Deserialize)]
struct Held {
    #[serde(flatten)]
    record: StepRecord,
    files: Option<BTreeMap<String, String>>,
}

/// SHA-256 of the files of a folder, by name.
fn digests(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("{}: cannot be read", folder.display()))? {
        let path = entry?.path();
        if let (true, Some(name)) = (path.is_file(), path.file_name().and_then(|name| name.to_str())) {
            files.insert(name.to_owned(), sha256_file(&path)?);
        }
    }
    Ok(files)
}

/// Whether a file still has its digest.
fn is_as_written(folder: &Path, name: &str, digest: &str) -> bool {
    // A name that was damaged may lead anywhere.
    super::is_inner(name) && sha256_file(&folder.join(name)).is_ok_and(|found| found == digest)
}

fn key(name: &str, options: &serde_json::Value, inputs: &[&str]) -> String {
    let all = serde_json::json!({
        "name": name, "options": options, "inputs": inputs, "version": env!("CARGO_PKG_VERSION"), "revision": REVISION,
    });
    hex::encode(Sha256::digest(all.to_string()))
}

/// Estimates the time left from the costs of the steps and how long the finished ones took.
struct Clock {
    costs: std::collections::VecDeque<f64>,
    expected: f64,
    taken: f64,
}

impl Clock {
    fn new(costs: impl Iterator<Item = f64>) -> Self {
        Self { costs: costs.collect(), expected: 0.0, taken: 0.0 }
    }

    fn finish(&mut self, seconds: f64) {
        self.expected += self.costs.pop_front().unwrap_or(0.0);
        self.taken += seconds;
    }

    fn left(&self) -> String {
        let rest: f64 = self.costs.iter().sum();
        // Costs are guesses until some seconds were measured.
        let factor = if self.taken > 1.0 && self.expected > 0.0 { self.taken / self.expected } else { 1.0 };
        let left = jiff::SignedDuration::from_secs((rest * factor).ceil() as i64);
        format!(" ({} steps left, about {left:#})", self.costs.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::cell::RefCell;

    /// data → model → posterior, data → check; each writes its option into a file. Returns the names of the steps that ran.
    fn run(root: &Path, data: i32, model: i32, fail: Option<&str>) -> (Vec<String>, Result<Vec<StepRecord>>) {
        let ran = RefCell::new(Vec::new());
        let mut graph = Graph::new(root);
        let mut add = |name: &'static str, option: i32, inputs: Vec<StepId>, resumes: bool| {
            let ran = &ran;
            graph.add(Step {
                name: name.into(),
                options: json!(option),
                inputs,
                cost: 1.0,
                resumes,
                action: Box::new(move |folder| {
                    ran.borrow_mut().push(name.to_owned());
                    let earlier = std::fs::read_to_string(folder.join("value")).unwrap_or_default();
                    std::fs::write(folder.join("value"), format!("{earlier}{option}"))?;
                    if fail == Some(name) { anyhow::bail!("broken") } else { Ok(()) }
                }),
            })
        };
        // The same step, asked for twice, is one.
        let twice = [add("data", data, vec![], true), add("data", data, vec![], true)];
        assert_eq!(twice[0], twice[1]);
        let data = twice[0];
        let model = add("model", model, vec![data], false);
        add("posterior", 0, vec![model], false);
        add("check", 0, vec![data], false);
        let outcome = graph.run(&Session { seed: 0, command: "test".into(), monitor: &tallsbi::Silent });
        (ran.into_inner(), outcome)
    }

    #[test]
    fn only_what_depends_on_a_change_is_done_again() {
        let root = tempfile::tempdir().expect("a folder");
        let all = ["data", "model", "posterior", "check"];
        assert_eq!(run(root.path(), 1, 1, None).0, all);
        assert!(run(root.path(), 1, 1, None).0.is_empty());
        assert_eq!(run(root.path(), 1, 2, None).0, ["model", "posterior"]);
        assert_eq!(run(root.path(), 2, 2, None).0, all);
        assert!(run(root.path(), 1, 1, None).0.is_empty(), "results of earlier options are still there");
    }

    #[test]
    fn a_step_that_fails_costs_only_itself_and_leaves_nothing() {
        let root = tempfile::tempdir().expect("a folder");
        let (ran, outcome) = run(root.path(), 1, 1, Some("model"));
        assert_eq!(ran, ["data", "model"]);
        assert!(format!("{:#}", outcome.expect_err("it fails")).contains("step model: broken"));
        let left: Vec<_> = std::fs::read_dir(root.path().join("steps")).expect("steps").flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(run(root.path(), 1, 1, None).0, ["model", "posterior", "check"]);
    }

    /// Whichever bit of a finished step's files is flipped, the step is done again, or no number of it has changed.
    #[test]
    fn damaged_results_are_made_again() {
        let root = tempfile::tempdir().expect("a folder");
        let records = run(root.path(), 1, 1, None).1.expect("runs");
        let folder = root.path().join(&records[1].folder);
        for file in ["value", RECORD] {
            let path = folder.join(file);
            let good = std::fs::read(&path).expect("there");
            for bit in (0..8 * good.len()).step_by(if file == RECORD { 7 } else { 1 }) {
                let mut flipped = good.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                std::fs::write(&path, &flipped).expect("written");
                let (ran, outcome) = run(root.path(), 1, 1, None);
                let again = outcome.expect("runs");
                assert_eq!(std::fs::read(folder.join("value")).expect("there"), b"1", "{file}, bit {bit}");
                assert_eq!((&again[1].name, &again[1].key), (&records[1].name, &records[1].key), "{file}, bit {bit}");
                assert!(file == RECORD || ran == ["model"], "{file}, bit {bit}: {ran:?}");
            }
        }
        std::fs::remove_file(folder.join("value")).expect("removed");
        assert_eq!(run(root.path(), 1, 1, None).0, ["model"]);
    }

    /// A step that resumes finds what it had; one whose folder was emptied of its record is done again.
    #[test]
    fn a_resumable_step_continues() {
        let root = tempfile::tempdir().expect("a folder");
        assert!(run(root.path(), 7, 1, Some("data")).1.is_err());
        let records = run(root.path(), 7, 1, None).1.expect("runs");
        let value = std::fs::read_to_string(root.path().join(&records[0].folder).join("value")).expect("value");
        assert_eq!(value, "77");
        std::fs::remove_file(root.path().join(&records[3].folder).join(RECORD)).expect("removed");
        assert_eq!(run(root.path(), 7, 1, None).0, ["check"]);
    }
}
