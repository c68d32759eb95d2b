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
    fn record(&self, index: usize) -> Option<Done> {
        let relative = self.relative(index);
        let folder = self.root.join(&relative);
        let held: Held = serde_json::from_slice(&std::fs::read(folder.join(RECORD)).ok()?).ok()?;
        let Held { record, files, continued } = held;
        let node = &self.nodes[index];
        let own = record.name == node.step.name && record.key == node.key && record.folder == relative;
        if own && files.iter().flatten().all(|(name, digest)| is_as_written(&folder, name, digest)) {
            // Of one that could be continued, older versions did not say whether it was.
            return Some(Done { record, continued: continued.unwrap_or(node.step.resumes) });
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
        let InJson(done): InJson<Vec<Option<Done>>> = session.monitor.lead("steps that are done", found)?;
        // Where several processes work together only the first leaves something: the others write into a folder of their own.
        let own = (!leads).then(tempfile::tempdir).transpose().context("no temporary folder can be made")?;
        let mut clock = Clock::new(self.nodes.iter().map(|node| node.step.cost).zip(&done));
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
            if let Some(Done { record, .. }) = done {
                records.push(record);
                continue;
            }
            session.monitor.check()?;
            tracing::info!("step {} of {total}: {}{}", index + 1, node.step.name, clock.left());
            let (folder, partial) = &folders[index];
            // All begin after the first has finished the step before.
            session.monitor.lead(&node.step.name, || Ok::<_, anyhow::Error>(()))?;
            let Done { record, continued } = if leads {
                execute(&self.root, folder, partial, node)?
            } else {
                let inputs = node.step.inputs.iter().map(|id| self.root.join(&folders[id.0].0));
                inputs.into_iter().try_for_each(|folder| wait_for(&folder))?;
                attend(folder, partial, node)?
            };
            clock.finish((!continued).then_some(record.seconds));
            records.push(record);
        }
        session.monitor.lead("all steps", || Ok::<_, anyhow::Error>(()))?;
        Ok(records)
    }
}

/// A step in a process that leaves nothing: its files are there for as long as the step itself reads them.
fn attend(folder: &str, partial: &Path, node: Node<'_>) -> Result<Done> {
    let started = Instant::now();
    std::fs::create_dir_all(partial).with_context(|| format!("{}: cannot be created", partial.display()))?;
    (node.step.action)(partial).with_context(|| format!("step {}", node.step.name))?;
    std::fs::remove_dir_all(partial).with_context(|| format!("{}: cannot be removed", partial.display()))?;
    let seconds = started.elapsed().as_secs_f64();
    let record = StepRecord { name: node.step.name, key: node.key, folder: folder.to_owned(), seconds };
    // What it took is not told by what the first process has seen of it; only that one says how much is left.
    Ok(Done { record, continued: true })
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

fn execute(root: &Path, folder: &str, partial: &Path, node: Node<'_>) -> Result<Done> {
    let Step { name, options, resumes, action, .. } = node.step;
    let continued = resumes && partial.exists();
    let trouble = |doing: &str| format!("{}: cannot be {doing}", partial.display());
    if !resumes && partial.exists() {
        std::fs::remove_dir_all(partial).with_context(|| trouble("removed"))?;
    }
    std::fs::create_dir_all(partial).with_context(|| trouble("created"))?;
    let started = Instant::now();
    let work = || -> Result<StepRecord> {
        action(partial).with_context(|| format!("step {name}"))?;
        let seconds = started.elapsed().as_secs_f64();
        let record = StepRecord { name, key: node.key, folder: folder.to_owned(), seconds };
        let files = digests(partial)?;
        let text = serde_json::to_vec_pretty(&Written { record: &record, options: &options, files, continued })?;
        let path = partial.join(RECORD);
        std::fs::write(&path, text).with_context(|| format!("{}: cannot be written", path.display()))?;
        Ok(record)
    };
    let record = work().inspect_err(|_| {
        // A record that is not whole would be taken for a file of the step's; nothing can continue from the rest of most steps. The error
        // that stopped the step is what matters.
        let _ = if resumes { std::fs::remove_file(partial.join(RECORD)) } else { std::fs::remove_dir_all(partial) };
    })?;
    let target = root.join(folder);
    if target.exists() {
        // Without its record it was not made by us to the end.
        std::fs::remove_dir_all(&target).with_context(|| format!("{}: cannot be removed", target.display()))?;
    }
    std::fs::rename(partial, &target).with_context(|| trouble("renamed"))?;
    Ok(Done { record, continued })
}

/// A step that is done.
#[derive(Serialize, Deserialize)]
struct Done {
    record: StepRecord,
    /// Whether it went on from what an interruption had left, so that its seconds are not those of all of it.
    continued: bool,
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    record: &'a StepRecord,
    options: &'a serde_json::Value,
    files: BTreeMap<String, String>,
    continued: bool,
}

/// What is read of it: version 0.1.0 wrote no digests, and not whether it was continued.
#[derive(Deserialize)]
struct Held {
    #[serde(flatten)]
    record: StepRecord,
    files: Option<BTreeMap<String, String>>,
    continued: Option<bool>,
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

/// Estimates the time left from the costs of the steps and how long those that are done took, in this run or an earlier one.
struct Clock {
    costs: std::collections::VecDeque<f64>,
    expected: f64,
    taken: f64,
}

/// Costs are taken for right, s of them, before anything was measured: what a step of a tenth of a second takes says nothing of one of
/// an hour.
const TRUST: f64 = 30.0;

impl Clock {
    /// The costs of all steps, with those that are done.
    fn new<'d>(steps: impl Iterator<Item = (f64, &'d Option<Done>)>) -> Self {
        let mut clock = Self { costs: std::collections::VecDeque::new(), expected: 0.0, taken: 0.0 };
        for (cost, done) in steps {
            match done {
                Some(done) => clock.measure(cost, (!done.continued).then_some(done.record.seconds)),
                None => clock.costs.push_back(cost),
            }
        }
        clock
    }

    /// Takes the next step as done, with the seconds of all of it where they are known.
    fn finish(&mut self, seconds: Option<f64>) {
        let cost = self.costs.pop_front().unwrap_or(0.0);
        self.measure(cost, seconds);
    }

    fn measure(&mut self, cost: f64, seconds: Option<f64>) {
        if let Some(seconds) = seconds {
            self.expected += cost;
            self.taken += seconds;
        }
    }

    /// Seconds left.
    fn seconds(&self) -> f64 {
        self.costs.iter().sum::<f64>() * (self.taken + TRUST) / (self.expected + TRUST)
    }

    fn left(&self) -> String {
        let left = jiff::SignedDuration::from_secs(self.seconds().ceil() as i64);
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

    fn done(seconds: f64, continued: bool) -> Option<Done> {
        let record = StepRecord { name: String::new(), key: String::new(), folder: String::new(), seconds };
        Some(Done { record, continued })
    }

    /// What is left of a study that is resumed: ten minutes, of which the first step is a tenth of a second that takes five.
    #[test]
    fn the_time_left_is_measured_by_all_that_was_done() {
        let left = |training: Option<Done>| {
            let none = None;
            let mut clock = Clock::new([(1200.0, &training), (0.1, &none), (600.0, &none)].into_iter());
            let before = clock.seconds();
            clock.finish(Some(5.0));
            (before, clock.seconds())
        };
        let near = |(before, after): (f64, f64), expected: f64| {
            assert!((before / expected - 1.0).abs() < 0.2 && (after / expected - 1.0).abs() < 0.2, "{before} {after}");
        };
        near(left(done(1200.0, false)), 600.0);
        near(left(done(2400.0, false)), 1200.0);
        // Most of it was done before an interruption: its last seconds say nothing.
        near(left(done(4.0, true)), 600.0);
        // Nothing is measured yet, and costs are taken for right.
        assert_eq!(left(None).0, 1800.1);
    }

    /// A step says whether it went on from what an interruption left.
    #[test]
    fn records_tell_what_was_continued() {
        let root = tempfile::tempdir().expect("a folder");
        assert!(run(root.path(), 7, 1, Some("data")).1.is_err());
        let records = run(root.path(), 7, 1, None).1.expect("runs");
        let continued = records.iter().map(|record| {
            let text = std::fs::read(root.path().join(&record.folder).join(RECORD)).expect("a record");
            serde_json::from_slice::<Held>(&text).expect("reads").continued
        });
        assert_eq!(continued.collect::<Vec<_>>(), [true, false, false, false].map(Some));
    }
}
