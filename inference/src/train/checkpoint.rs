//! Where a training run stands, and its file: a line with the SHA-256 of the rest, then JSON.

use super::trainer::TrainerState;
use crate::model::trained::TrainingRecord;
use crate::{InferenceError, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Where a training run stands; enough to go on to the same bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// What the run depends on; a checkpoint of another run is refused.
    pub fingerprint: String,
    /// Weights and records of the networks trained before the current ones.
    pub(super) done: Vec<(Vec<f32>, TrainingRecord)>,
    /// The networks being trained.
    pub current: Vec<TrainerState>,
}

impl Checkpoint {
    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("plain numbers and strings serialise");
        let mut bytes = digest(&json).into_bytes();
        bytes.push(b'\n');
        bytes.extend(json);
        bytes
    }

    /// A checkpoint from a file's bytes.
    ///
    /// # Errors
    /// [`InferenceError::Checkpoint`] when they are not those of a checkpoint, do not have the digest that they were written with, or
    /// its parts do not fit each other.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let fail = |message: String| Err(InferenceError::Checkpoint(message));
        let Some((line, json)) = bytes.iter().position(|&b| b == b'\n').map(|end| (&bytes[..end], &bytes[end + 1..]))
        else {
            return fail("is not one of this version".into());
        };
        if line != digest(json).as_bytes() {
            return fail("does not have the digest it was written with".into());
        }
        let checkpoint: Self = match serde_json::from_slice(json) {
            Ok(checkpoint) => checkpoint,
            Err(error) => return fail(format!("is of another version ({error})")),
        };
        match checkpoint.current.iter().position(|state| !state.is_consistent()) {
            Some(network) => fail(format!("holds arrays of different lengths for network {network}")),
            None => Ok(checkpoint),
        }
    }
}

fn digest(json: &[u8]) -> String {
    hex::encode(Sha256::digest(json))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{small, toy};
    use super::super::{Resumable, train_resumable};
    use super::*;
    use crate::model::TrainedModel;
    use tallsbi_data::{Silent, StreamKey};

    fn run(resume: Option<Checkpoint>) -> (Result<TrainedModel>, Option<Checkpoint>) {
        let data = toy(100, 1, &small());
        let mut kept = None;
        let keep = |_, checkpoint: &dyn Fn() -> Checkpoint| {
            kept = Some(checkpoint());
            Ok(())
        };
        let run = Resumable { fingerprint: "run", resume, keep: Box::new(keep) };
        let outcome = train_resumable(&data, &small(), StreamKey::root(0), run, &Silent);
        (outcome, kept)
    }

    fn checkpoint() -> Checkpoint {
        run(None).1.unwrap()
    }

    #[test]
    fn flipped_bits_are_refused() {
        let bytes = checkpoint().to_bytes();
        assert_eq!(Checkpoint::from_bytes(&bytes).unwrap().to_bytes(), bytes);
        for i in 0..1000 {
            let bit = StreamKey::root(3).seed(i) as usize % (8 * bytes.len());
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let error = Checkpoint::from_bytes(&flipped).expect_err("flipped").to_string();
            assert!(error.starts_with("checkpoint: "), "{error}");
        }
        for end in [0, 1, 64, 65, 66, bytes.len() - 1] {
            assert!(Checkpoint::from_bytes(&bytes[..end]).is_err());
        }
    }

    /// With a digest that fits, as a program would write it.
    #[test]
    fn arrays_that_do_not_fit_are_refused() {
        let good = checkpoint();
        for (pointer, value) in [
            ("/current/0/best", "[0.0]"),
            ("/current/0/optimizer/first", "[]"),
            ("/current/0/history", "[]"),
            ("/done/0/0", "[1.0]"),
        ] {
            let mut json = serde_json::to_value(&good).unwrap();
            *json.pointer_mut(pointer).unwrap() = serde_json::from_str(value).unwrap();
            let json = json.to_string();
            let bytes = format!("{}\n{json}", digest(json.as_bytes()));
            let outcome = Checkpoint::from_bytes(bytes.as_bytes()).and_then(|checkpoint| run(Some(checkpoint)).0);
            assert!(outcome.is_err(), "{pointer}");
        }
    }
}
