//! What is in a file, and a digest of its numbers alone.

use super::provenance::{ATTRIBUTES, kind_of_open};
use super::{FileKind, Provenance, attributes, failed, guard, open_hdf5};
use crate::Result;
use hdf5::types::{FloatSize, IntSize, TypeDescriptor};
use hdf5::{Dataset, Hyperslab, SliceOrIndex};
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Bytes read at once.
const BLOCK_BYTES: usize = 16 << 20;

/// An array in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArrayEntry {
    /// Path in the file.
    pub name: String,
    /// Type of its elements, as NumPy writes it where it is a number.
    pub dtype: String,
    /// Shape.
    pub shape: Vec<usize>,
}

/// Formats that can be inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// HDF5, of which netCDF-4 is a dialect.
    Hdf5,
    /// Named tensors with metadata: models.
    Safetensors,
}

/// What is in an HDF5, netCDF-4 or safetensors file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Contents {
    /// Format of the file.
    pub format: Format,
    /// Which kind of ours it is; `None` for foreign files and models.
    pub kind: Option<FileKind>,
    /// Where it came from, for files of ours.
    pub provenance: Option<Provenance>,
    /// Root attributes, or the metadata of a safetensors file, except provenance.
    pub attributes: BTreeMap<String, String>,
    /// Arrays, sorted by name.
    pub arrays: Vec<ArrayEntry>,
    /// SHA-256 over the names, types, shapes and numbers of all arrays: equal for equal contents, whenever and by whatever
    /// command they were made.
    pub digest: String,
}

impl Contents {
    /// Reads what is in a file; its numbers once, in bounded memory.
    ///
    /// # Errors
    /// When it cannot be read, or is neither HDF5, netCDF-4 nor safetensors.
    pub fn read(path: &Path) -> Result<Self> {
        if let Some(contents) = read_safetensors(path)? {
            return Ok(contents);
        }
        let file = open_hdf5(path)?;
        let kind = kind_of_open(path, &file)?;
        let arrays = arrays(path, &file)?;
        let mut hasher = Sha256::new();
        for entry in &arrays {
            let dataset = file.dataset(&entry.name).map_err(|error| failed(path, &entry.name, &error))?;
            hash(&mut hasher, entry, &dataset)
                .map_err(|error| failed(path, &format!("cannot read {}", entry.name), &error))?;
        }
        let provenance = kind.map(|_| Provenance::read(path, &file)).transpose()?;
        let attributes = attributes::all_names(&file)
            .into_iter()
            .filter(|name| !(name.starts_with("_NC") || kind.is_some() && ATTRIBUTES.contains(&name.as_str())))
            .filter_map(|name| attributes::display(&file, &name).map(|text| (name, text)))
            .collect();
        Ok(Self { format: Format::Hdf5, kind, provenance, attributes, arrays, digest: hex::encode(hasher.finalize()) })
    }
}

impl Contents {
    /// What the file is, in a few words.
    pub fn description(&self) -> String {
        match (self.format, self.kind) {
            (Format::Safetensors, _) => {
                let values: usize = self.arrays.iter().map(|a| a.shape.iter().product::<usize>()).sum();
                format!("safetensors with {values} values (a model's weights)")
            }
            (Format::Hdf5, None) => "HDF5, not written by tallsbi".into(),
            (Format::Hdf5, Some(kind)) => {
                let rows = |name: &str| self.arrays.iter().find(|a| a.name == name).and_then(|a| a.shape.first());
                let count = |name: &str, what: &str| rows(name).map(|n| format!(" of {n} {what}")).unwrap_or_default();
                match kind {
                    FileKind::TrainingSet => format!("training set{}", count("theta", "simulations")),
                    FileKind::Observations => format!("{} observations", rows("x").unwrap_or(&0)),
                    FileKind::Posterior => {
                        let draws = rows("posterior/draw").unwrap_or(&0) * rows("posterior/chain").unwrap_or(&1);
                        format!("posterior of {draws} samples")
                    }
                }
            }
        }
    }
}

/// A safetensors file: its first 8 bytes are the length of a JSON header; `None` for anything else.
fn read_safetensors(path: &Path) -> Result<Option<Contents>> {
    let Ok(mut file) = std::fs::File::open(path) else { return Ok(None) };
    let mut start = [0; 9];
    if file.read_exact(&mut start).is_err() || start[8] != b'{' {
        return Ok(None);
    }
    // Models are megabytes: read whole.
    let bytes = std::fs::read(path).map_err(|error| failed(path, "cannot be read", &error))?;
    let damaged = |error: safetensors::SafeTensorError| failed(path, "is not a whole safetensors file", &error);
    let tensors = SafeTensors::deserialize(&bytes).map_err(damaged)?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
    let mut all = tensors.tensors();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut hasher = Sha256::new();
    let arrays = all
        .iter()
        .map(|(name, tensor)| {
            let dtype = match tensor.dtype() {
                Dtype::F32 => "float32".to_owned(),
                Dtype::F64 => "float64".to_owned(),
                other => format!("{other:?}").to_lowercase(),
            };
            let entry = ArrayEntry { name: name.clone(), dtype, shape: tensor.shape().to_vec() };
            hash_header(&mut hasher, &entry);
            hasher.update(tensor.data());
            entry
        })
        .collect();
    let attributes: BTreeMap<String, String> = metadata.metadata().clone().unwrap_or_default().into_iter().collect();
    if tensors.is_empty() {
        // A model in closed form: its numbers stand in its description, without what is said of how they came about.
        for (name, value) in &attributes {
            hasher.update(name.as_bytes());
            let described = serde_json::from_str::<serde_json::Value>(value).ok();
            let numbers = described.as_ref().and_then(|value| value.get("architecture")).map(ToString::to_string);
            hasher.update(numbers.as_ref().unwrap_or(value).as_bytes());
        }
    }
    let digest = hex::encode(hasher.finalize());
    Ok(Some(Contents { format: Format::Safetensors, kind: None, provenance: None, attributes, arrays, digest }))
}

/// All datasets of a file, sorted by path.
pub(super) fn arrays(path: &Path, file: &hdf5::File) -> Result<Vec<ArrayEntry>> {
    let mut found = Vec::new();
    for (name, dataset) in guard::datasets(path, file)? {
        let dtype = dataset.dtype().map_err(|error| failed(path, &name, &error))?;
        let dtype = dtype.to_descriptor().map_or_else(|_| "other".into(), |descriptor| dtype_name(&descriptor));
        found.push(ArrayEntry { shape: dataset.shape(), name, dtype });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn dtype_name(descriptor: &TypeDescriptor) -> String {
    let bytes = |size: IntSize| size as usize;
    match descriptor {
        TypeDescriptor::Integer(size) => format!("int{}", 8 * bytes(*size)),
        TypeDescriptor::Unsigned(size) => format!("uint{}", 8 * bytes(*size)),
        TypeDescriptor::Float(FloatSize::U2) => "float16".into(),
        TypeDescriptor::Float(FloatSize::U4) => "float32".into(),
        TypeDescriptor::Float(FloatSize::U8) => "float64".into(),
        other => other.to_string(),
    }
}

/// Feeds an array's name, type and shape to the hasher.
fn hash_header(hasher: &mut Sha256, entry: &ArrayEntry) {
    hasher.update(entry.name.as_bytes());
    hasher.update([0]);
    hasher.update(entry.dtype.as_bytes());
    hasher.update([0]);
    hasher.update((entry.shape.len() as u64).to_le_bytes());
    entry.shape.iter().for_each(|&length| hasher.update((length as u64).to_le_bytes()));
}

/// Feeds an array's name, type, shape and little-endian numbers to the hasher; of other types the numbers are left out.
fn hash(hasher: &mut Sha256, entry: &ArrayEntry, dataset: &Dataset) -> hdf5::Result<()> {
    hash_header(hasher, entry);
    match entry.dtype.as_str() {
        // Half precision has an f32 for each number.
        "float16" | "float32" => blocks::<f32, 4>(hasher, entry, dataset, f32::to_le_bytes),
        "float64" => blocks::<f64, 8>(hasher, entry, dataset, f64::to_le_bytes),
        "int8" => blocks::<i8, 1>(hasher, entry, dataset, i8::to_le_bytes),
        "int16" => blocks::<i16, 2>(hasher, entry, dataset, i16::to_le_bytes),
        "int32" => blocks::<i32, 4>(hasher, entry, dataset, i32::to_le_bytes),
        "int64" => blocks::<i64, 8>(hasher, entry, dataset, i64::to_le_bytes),
        "uint8" => blocks::<u8, 1>(hasher, entry, dataset, u8::to_le_bytes),
        "uint16" => blocks::<u16, 2>(hasher, entry, dataset, u16::to_le_bytes),
        "uint32" => blocks::<u32, 4>(hasher, entry, dataset, u32::to_le_bytes),
        "uint64" => blocks::<u64, 8>(hasher, entry, dataset, u64::to_le_bytes),
        _ => Ok(()),
    }
}

fn blocks<T: hdf5::H5Type + Copy, const BYTES: usize>(
    hasher: &mut Sha256,
    entry: &ArrayEntry,
    dataset: &Dataset,
    encode: fn(T) -> [u8; BYTES],
) -> hdf5::Result<()> {
    let mut feed = |values: &mut dyn Iterator<Item = T>| {
        let bytes: Vec<u8> = values.flat_map(encode).collect();
        hasher.update(&bytes);
    };
    if entry.shape.is_empty() {
        feed(&mut dataset.read_raw::<T>()?.into_iter());
        return Ok(());
    }
    let row_bytes = entry.shape[1..].iter().product::<usize>().max(1) * BYTES;
    let rows = (BLOCK_BYTES / row_bytes).max(1);
    let mut start = 0;
    while start < entry.shape[0] {
        let end = (start + rows).min(entry.shape[0]);
        let mut selection: Vec<SliceOrIndex> = vec![(start..end).into()];
        selection.extend(entry.shape[1..].iter().map(|&length| SliceOrIndex::from(0..length)));
        let values = dataset.read_slice::<T, _, ndarray::IxDyn>(Hyperslab::from(selection))?;
        feed(&mut values.into_iter());
        start = end;
    }
    Ok(())
}
