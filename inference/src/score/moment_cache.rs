//! Moments of single factors' posteriors, kept between runs.
//!
//! What samples of a factor's posterior give depends on the model, the options of the estimate, the factor's observations and the
//! random stream. The first two are the cache's *identity*; an entry's key is the SHA-256 of the other two. So the same numbers
//! come out with the cache as without, and posteriors given 8, 14 and 30 of the same observations share what they have in common.

use crate::{InferenceError, Result};
use ndarray::ArrayView2;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use tallsbi_data::StreamKey;

/// Names an entry.
pub type EntryKey = [u8; 32];

/// Version of the file's layout.
const FORMAT: u32 = 1;

/// Metadata key of the JSON header.
const METADATA_KEY: &str = "tallsbi_covariances";

/// One factor's estimate.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// μ_j (m).
    pub mean: Vec<f64>,
    /// Σ̂_j (m, m), before shrinking and clamping.
    pub covariance: Vec<f64>,
    /// Single scores that it took.
    pub pairs: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    /// What the caller says all entries have in common: model, options, program.
    identity: String,
    /// SHA-256 of the tensors: a damaged file must not give other posteriors.
    digest: String,
}

/// Estimates by key; shared by the threads of a run.
#[derive(Debug)]
pub struct MomentCache {
    dim: usize,
    entries: Mutex<BTreeMap<EntryKey, Estimate>>,
    found: AtomicU64,
    added: AtomicU64,
}

impl MomentCache {
    /// An empty cache for m parameters.
    pub fn new(dim: usize) -> Self {
        Self { dim, entries: Mutex::default(), found: AtomicU64::new(0), added: AtomicU64::new(0) }
    }

    /// The key of a factor: its observations (n, d) as the simulator gives them, and its random stream.
    pub fn key(observations: Option<ArrayView2<'_, f32>>, stream: StreamKey) -> EntryKey {
        let mut hasher = Sha256::new();
        for word in stream.words(0) {
            hasher.update(word.to_le_bytes());
        }
        if let Some(x) = observations {
            hasher.update((x.ncols() as u64).to_le_bytes());
            x.iter().for_each(|value| hasher.update(value.to_le_bytes()));
        }
        hasher.finalize().into()
    }

    /// The estimate kept under a key.
    pub fn get(&self, key: &EntryKey) -> Option<Estimate> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let found = entries.get(key).cloned();
        self.found.fetch_add(u64::from(found.is_some()), Ordering::Relaxed);
        found
    }

    /// Keeps an estimate.
    pub fn insert(&self, key: EntryKey, estimate: Estimate) {
        debug_assert_eq!((estimate.mean.len(), estimate.covariance.len()), (self.dim, self.dim * self.dim));
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.insert(key, estimate);
        self.added.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes over entries of another cache of the same identity.
    pub fn absorb(&self, other: Self) {
        let other = other.entries.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, estimate) in other {
            entries.entry(key).or_insert(estimate);
        }
    }

    /// Estimates that were found, and that were added, since it was made or read.
    pub fn counts(&self) -> (u64, u64) {
        (self.found.load(Ordering::Relaxed), self.added.load(Ordering::Relaxed))
    }

    /// The file's bytes (safetensors: `keys` (N, 32), `means` (N, m), `covariances` (N, m, m), `pairs` (N)).
    pub fn to_bytes(&self, identity: &str) -> Vec<u8> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, m) = (entries.len(), self.dim);
        let keys: Vec<u8> = entries.keys().flatten().copied().collect();
        let bytes = |values: fn(&Estimate) -> &[f64]| -> Vec<u8> {
            entries.values().flat_map(|entry| values(entry).iter().flat_map(|value| value.to_le_bytes())).collect()
        };
        let (means, covariances) = (bytes(|entry| &entry.mean), bytes(|entry| &entry.covariance));
        let pairs: Vec<u8> = entries.values().flat_map(|entry| entry.pairs.to_le_bytes()).collect();
        let digest = digest([&keys, &means, &covariances, &pairs]);
        let view = |dtype, shape, data| TensorView::new(dtype, shape, data).expect("sizes agree");
        let tensors = [
            ("keys", view(Dtype::U8, vec![count, 32], &keys)),
            ("means", view(Dtype::F64, vec![count, m], &means)),
            ("covariances", view(Dtype::F64, vec![count, m, m], &covariances)),
            ("pairs", view(Dtype::U64, vec![count], &pairs)),
        ];
        let header = Header { format: FORMAT, identity: identity.to_owned(), digest };
        let json = serde_json::to_string(&header).expect("plain strings serialise");
        let metadata = HashMap::from([(METADATA_KEY.to_owned(), json)]);
        safetensors::serialize(tensors, Some(metadata)).expect("names are distinct")
    }

    /// The cache in a file.
    ///
    /// # Errors
    /// When it is no such file, truncated, altered, or of another identity or number of parameters.
    pub fn from_bytes(bytes: &[u8], identity: &str, dim: usize) -> Result<Self> {
        let wrong = |message: String| InferenceError::Covariances(message);
        let unreadable = |error: safetensors::SafeTensorError| wrong(format!("is damaged or no such file ({error})"));
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(unreadable)?;
        let file = SafeTensors::deserialize(bytes).map_err(unreadable)?;
        let json = header.metadata().as_ref().and_then(|metadata| metadata.get(METADATA_KEY));
        let json = json.ok_or_else(|| wrong("does not hold covariances".into()))?;
        let header: Header =
            serde_json::from_str(json).map_err(|error| wrong(format!("has a header that cannot be read ({error})")))?;
        if header.format != FORMAT || header.identity != identity {
            return Err(wrong("belongs to another model, other options or another version".into()));
        }
        let tensor = |name: &str| file.tensor(name).map_err(unreadable);
        let (keys, means, covariances, pairs) =
            (tensor("keys")?, tensor("means")?, tensor("covariances")?, tensor("pairs")?);
        let count = pairs.shape().first().copied().unwrap_or(0);
        let fits = keys.shape() == [count, 32]
            && (keys.dtype(), means.dtype(), covariances.dtype(), pairs.dtype())
                == (Dtype::U8, Dtype::F64, Dtype::F64, Dtype::U64)
            && means.shape() == [count, dim]
            && covariances.shape() == [count, dim, dim];
        if !fits || header.digest != digest([keys.data(), means.data(), covariances.data(), pairs.data()]) {
            return Err(wrong("was altered after it was written".into()));
        }
        let (means, covariances) = (numbers(means.data()), numbers(covariances.data()));
        let pairs = pairs.data().as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let rows = means.chunks_exact(dim).zip(covariances.chunks_exact(dim * dim)).zip(pairs);
        let entries = keys.data().as_chunks::<32>().0.iter().zip(rows).map(|(key, ((mean, covariance), pairs))| {
            (*key, Estimate { mean: mean.to_vec(), covariance: covariance.to_vec(), pairs })
        });
        let cache = Self::new(dim);
        cache.entries.lock().unwrap_or_else(PoisonError::into_inner).extend(entries);
        Ok(cache)
    }
}

fn numbers(bytes: &[u8]) -> Vec<f64> {
    bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
}

fn digest(parts: [&[u8]; 4]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hex::encode(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn filled() -> (MomentCache, EntryKey) {
        let cache = MomentCache::new(2);
        let key = MomentCache::key(Some(array![[1.0f32, 2.0]].view()), StreamKey::root(1));
        cache.insert(key, Estimate { mean: vec![0.5, -1.0], covariance: vec![1.0, 0.2, 0.2, 2.0], pairs: 20 });
        let other = MomentCache::key(None, StreamKey::root(1));
        cache.insert(other, Estimate { mean: vec![0.0; 2], covariance: vec![1.0, 0.0, 0.0, 1.0], pairs: 7 });
        (cache, key)
    }

    #[test]
    fn a_file_gives_back_what_was_kept() {
        let (cache, key) = filled();
        let bytes = cache.to_bytes("model a");
        let read = MomentCache::from_bytes(&bytes, "model a", 2).unwrap();
        assert_eq!(read.get(&key), cache.get(&key));
        assert_eq!(read.counts(), (1, 0));
        assert_eq!(read.to_bytes("model a"), bytes);
        let empty = MomentCache::new(2);
        empty.absorb(read);
        assert_eq!(empty.to_bytes("model a"), bytes);
    }

    /// Observations, their number and the stream all tell factors apart.
    #[test]
    fn keys_differ_where_factors_do() {
        let x = array![[1.0f32, 2.0]];
        let keys = [
            MomentCache::key(Some(x.view()), StreamKey::root(1)),
            MomentCache::key(Some(x.view()), StreamKey::root(2)),
            MomentCache::key(Some(array![[1.0f32], [2.0]].view()), StreamKey::root(1)),
            MomentCache::key(Some(array![[1.0f32, 2.5]].view()), StreamKey::root(1)),
            MomentCache::key(None, StreamKey::root(1)),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(key), "{index}");
        }
    }

    /// Any byte that is cut off or changed, another model or another number of parameters is an error, never other numbers.
    #[test]
    fn damaged_and_foreign_files_are_refused() {
        let (cache, _) = filled();
        let bytes = cache.to_bytes("model a");
        assert!(MomentCache::from_bytes(&bytes, "model b", 2).is_err());
        assert!(MomentCache::from_bytes(&bytes, "model a", 3).is_err());
        assert!(MomentCache::from_bytes(b"", "model a", 2).is_err());
        for length in 0..bytes.len() {
            assert!(MomentCache::from_bytes(&bytes[..length], "model a", 2).is_err(), "{length}");
        }
        for place in (bytes.len() - 100)..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert!(MomentCache::from_bytes(&changed, "model a", 2).is_err(), "{place}");
        }
    }
}
