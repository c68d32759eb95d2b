//! What is in a file, and a digest of its numbers alone.

use super::provenance::{hexadecimal, kind_of_open};
use super::{FileKind, Provenance, attributes, failed, open_hdf5};
use crate::Result;
use hdf5::types::{FloatSize, IntSize, TypeDescriptor};
use hdf5::{Dataset, Group, Hyperslab, SliceOrIndex};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
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

/// What is in an HDF5, netCDF-4 or safetensors file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Contents {
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
        let hidden = ["tallsbi_kind", "tallsbi_version", "created", "command", "task", "parents", "seed"];
        let attributes = file
            .attr_names()
            .unwrap_or_default()
            .into_iter()
            .filter(|name| !(name.starts_with("_NC") || kind.is_some() && hidden.contains(&name.as_str())))
            .filter_map(|name| attributes::display(&file, &name).map(|text| (name, text)))
            .collect();
        Ok(Self { kind, provenance, attributes, arrays, digest: hexadecimal(&hasher.finalize()) })
    }
}

/// All datasets of a file, sorted by path.
pub(super) fn arrays(path: &Path, file: &hdf5::File) -> Result<Vec<ArrayEntry>> {
    let mut found = Vec::new();
    visit(file, "", &mut found).map_err(|error| failed(path, "cannot list its datasets", &error))?;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn visit(group: &Group, prefix: &str, found: &mut Vec<ArrayEntry>) -> hdf5::Result<()> {
    for name in group.member_names()? {
        let full = format!("{prefix}{name}");
        if let Ok(dataset) = group.dataset(&name) {
            let dtype = dataset.dtype()?.to_descriptor().map_or_else(|_| "other".into(), |d| dtype_name(&d));
            found.push(ArrayEntry { name: full, dtype, shape: dataset.shape() });
        } else if let Ok(group) = group.group(&name) {
            visit(&group, &format!("{full}/"), found)?;
        }
    }
    Ok(())
}

fn dtype_name(descriptor: &TypeDescriptor) -> String {
    let bytes = |size: IntSize| size as usize;
    match descriptor {
        TypeDescriptor::Integer(size) => format!("int{}", 8 * bytes(*size)),
        TypeDescriptor::Unsigned(size) => format!("uint{}", 8 * bytes(*size)),
        TypeDescriptor::Float(FloatSize::U4) => "float32".into(),
        TypeDescriptor::Float(FloatSize::U8) => "float64".into(),
        other => other.to_string(),
    }
}

/// Feeds an array's name, type, shape and little-endian numbers to the hasher; of other types the numbers are left out.
fn hash(hasher: &mut Sha256, entry: &ArrayEntry, dataset: &Dataset) -> hdf5::Result<()> {
    hasher.update(entry.name.as_bytes());
    hasher.update([0]);
    hasher.update(entry.dtype.as_bytes());
    hasher.update([0]);
    hasher.update((entry.shape.len() as u64).to_le_bytes());
    entry.shape.iter().for_each(|&length| hasher.update((length as u64).to_le_bytes()));
    match entry.dtype.as_str() {
        "float32" => blocks::<f32, 4>(hasher, entry, dataset, f32::to_le_bytes),
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
