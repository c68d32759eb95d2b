//! HDF5 chunks compressed by us and stored as they are.
//!
//! HDF5's own filters run on one thread under the library's lock; compressing with the same filters (shuffle, deflate) on
//! all threads and handing HDF5 the finished chunk lifts that limit. The files are ordinary gzip HDF5 to every reader.

use super::failed;
use crate::Result;
use flate2::{Compression, write::ZlibEncoder};
use hdf5::Dataset;
use std::io::Write;
use std::path::Path;

/// Deflate level. Simulated floats hardly compress beyond their exponents (higher levels: same size, half the speed).
pub(super) const DEFLATE_LEVEL: u8 = 1;

/// Shuffles the bytes of `raw` (elements of `element` bytes) as HDF5's shuffle filter does, then deflates.
pub(super) fn encode(raw: &[u8], element: usize) -> std::io::Result<Vec<u8>> {
    let shuffled;
    let bytes = if element > 1 {
        shuffled = shuffle(raw, element);
        &shuffled
    } else {
        raw
    };
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(raw.len()), Compression::new(DEFLATE_LEVEL.into()));
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// All first bytes of the elements, then all second bytes, and so on.
fn shuffle(raw: &[u8], element: usize) -> Vec<u8> {
    let count = raw.len() / element;
    let mut out = vec![0; raw.len()];
    for (byte, plane) in out.chunks_exact_mut(count.max(1)).enumerate() {
        for (value, from) in plane.iter_mut().zip(raw[byte..].iter().step_by(element)) {
            *value = *from;
        }
    }
    out
}

/// Creates a dataset of shape `shape` in chunks of `rows` first indices, with the filters of [`encode`].
pub(super) fn create<T: hdf5::H5Type>(
    path: &Path,
    file: &hdf5::File,
    name: &str,
    shape: &[usize],
    rows: usize,
) -> Result<Dataset> {
    let mut chunk = shape.to_vec();
    chunk[0] = rows;
    let builder = file.new_dataset::<T>().shape(shape).chunk(chunk).obj_track_times(false);
    let builder = if size_of::<T>() > 1 { builder.shuffle() } else { builder };
    builder.deflate(DEFLATE_LEVEL).create(name).map_err(|error| failed(path, &format!("cannot create {name}"), &error))
}

/// Stores an encoded chunk whose first row is `row`.
pub(super) fn write(path: &Path, dataset: &Dataset, row: u64, encoded: &[u8]) -> Result<()> {
    let mut offset = vec![0u64; dataset.ndim()];
    offset[0] = row;
    let status = hdf5::sync::sync(|| {
        // SAFETY: the dataset's identifier is open while `dataset` is borrowed; `offset` has one entry a dimension and
        // `encoded` as many bytes as announced; both outlive the call, which copies. The library's lock is held.
        unsafe {
            hdf5_sys::h5d::H5Dwrite_chunk(
                dataset.id(),
                hdf5_sys::h5p::H5P_DEFAULT,
                0, // no filter was skipped
                offset.as_ptr(),
                encoded.len(),
                encoded.as_ptr().cast(),
            )
        }
    });
    if status < 0 {
        return Err(super::file_error(
            path,
            format!("cannot write {} at row {row}: is the disk full?", dataset.name().trim_start_matches('/')),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HDF5 decodes what we encoded.
    #[test]
    fn hdf5_reads_our_chunks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chunks.h5");
        let values: Vec<f32> = (0..7 * 3).map(|i| (i as f32 * 0.37).sin()).collect();
        let file = hdf5::File::create(&path).unwrap();
        let dataset = create::<f32>(&path, &file, "x", &[7, 3], 4).unwrap();
        let mut padded = values.clone();
        padded.resize(8 * 3, 0.0);
        for (index, rows) in padded.chunks(4 * 3).enumerate() {
            let bytes: Vec<u8> = rows.iter().flat_map(|v| v.to_le_bytes()).collect();
            write(&path, &dataset, 4 * index as u64, &encode(&bytes, 4).unwrap()).unwrap();
        }
        drop((dataset, file));
        assert_eq!(hdf5::File::open(&path).unwrap().dataset("x").unwrap().read_raw::<f32>().unwrap(), values);
    }
}
