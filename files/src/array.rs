//! Arrays of numbers of any rank, as other tools write them: HDF5, netCDF, NumPy's `.npy`.

use super::matrix::{MatrixSource, numbers, read_all};
use super::{failed, file_error, guard, open_hdf5};
use crate::{FileError, Result};
use ndarray::{ArrayD, IxDyn, ShapeBuilder};
use npyz::{NpyFile, NpyHeader, Order};
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

impl MatrixSource {
    /// Whether it is a file of NumPy's.
    pub(super) fn is_npy(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy"))
    }

    /// Reads an array of any number of dimensions, whatever its values: what an `.npy` file holds, or the named dataset of an HDF5 or netCDF-4
    /// file; none need be named where only one has two dimensions or more.
    ///
    /// # Errors
    /// When the file or dataset is missing, damaged or not of numbers, none is named among several, or an index is given.
    pub fn read_array(&self) -> Result<ArrayD<f64>> {
        let path = &self.path;
        if self.index.is_some() {
            return Err(file_error(path, "the whole array is needed; leave the index out"));
        }
        if self.is_npy() {
            return match &self.dataset {
                None => read_npy(path),
                Some(name) => Err(file_error(path, format!("an npy file holds one array; leave {name} out"))),
            };
        }
        let file = open_hdf5(path)?;
        let name = match &self.dataset {
            Some(name) => name.clone(),
            None => only_array(path, &file)?,
        };
        read_all(path, &name, &numbers(path, &file, &name)?)
    }
}

fn only_array(path: &Path, file: &hdf5::File) -> Result<String> {
    let found = super::contents::arrays(path, file)?;
    let mut names: Vec<String> =
        found.into_iter().filter(|array| array.shape.len() >= 2).map(|array| array.name).collect();
    match names.len() {
        0 => Err(file_error(path, "holds no array of two dimensions or more")),
        1 => Ok(names.remove(0)),
        _ => Err(file_error(
            path,
            format!("say which dataset to read, as {}:NAME with one of: {}", path.display(), names.join(", ")),
        )),
    }
}

fn read_npy(path: &Path) -> Result<ArrayD<f64>> {
    let cannot = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => file_error(path, "no such file"),
        _ => failed(path, "cannot be read as npy", &error),
    };
    let length = guard::plain_file(path)?;
    let mut reader = BufReader::new(File::open(path).map_err(cannot)?);
    if header_length(&mut reader).map_err(cannot)? > length {
        return Err(too_short(path));
    }
    let header = NpyHeader::from_reader(&mut reader).map_err(cannot)?;
    let left = length.saturating_sub(reader.stream_position().map_err(cannot)?);
    let file = NpyFile::with_header(header, reader);
    let shape: Vec<usize> = file.shape().iter().map(|&n| n as usize).collect();
    let dtype = file.dtype();
    let bytes = dtype.num_bytes().and_then(|size| shape.iter().try_fold(size, |product, &n| product.checked_mul(n)));
    if bytes.is_none_or(|bytes| bytes as u64 > left) {
        return Err(too_short(path));
    }
    let fortran = file.order() == Order::Fortran;
    let kind = dtype.descr();
    let values = match kind.trim_matches(['\'', '<', '>', '|', '=']) {
        "f8" => converted::<f64>(file, |value| value),
        "f4" => converted::<f32>(file, f64::from),
        "i8" => converted::<i64>(file, |value| value as f64),
        "i4" => converted::<i32>(file, f64::from),
        "u1" => converted::<u8>(file, f64::from),
        "b1" => converted::<bool>(file, f64::from),
        _ => None,
    };
    let Some(values) = values else {
        return Err(file_error(path, format!("holds values of the type {kind}; save float64 or float32")));
    };
    ArrayD::from_shape_vec(IxDyn(&shape).set_f(fortran), values.map_err(cannot)?)
        .map_err(|error| failed(path, "cannot be read as npy", &error))
}

fn too_short(path: &Path) -> FileError {
    file_error(path, "is shorter than its header says; save it again")
}

/// The length that an npy file gives its header, which is read whole: four bytes hold it from version 2 on. The reader is back at the start.
fn header_length(reader: &mut (impl Read + Seek)) -> std::io::Result<u64> {
    let mut start = [0; 12];
    let read = reader.by_ref().take(start.len() as u64).read(&mut start)?;
    reader.rewind()?;
    let long = read == start.len() && start[6] >= 2;
    Ok(if long { u32::from_le_bytes([start[8], start[9], start[10], start[11]]).into() } else { 0 })
}

/// The values, if they are of the type T.
fn converted<T: npyz::Deserialize>(
    file: NpyFile<BufReader<File>>,
    convert: impl Fn(T) -> f64,
) -> Option<std::io::Result<Vec<f64>>> {
    let values = file.try_data::<T>().ok()?;
    Some(values.map(|value| value.map(&convert)).collect())
}

#[cfg(test)]
mod tests {
    use super::MatrixSource;
    use ndarray::{Array3, ArrayD};
    use std::io::Write;
    use std::path::Path;

    fn header(text: &str) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        let padded = format!("{text}{}\n", " ".repeat((64 - (10 + text.len() + 1) % 64) % 64));
        bytes.extend((padded.len() as u16).to_le_bytes());
        bytes.extend(padded.bytes());
        bytes
    }

    fn npy(path: &Path, text: &str, values: &[u8]) {
        let mut file = std::fs::File::create(path).unwrap();
        file.write_all(&header(text)).unwrap();
        file.write_all(values).unwrap();
    }

    fn read(source: &str) -> Result<ArrayD<f64>, String> {
        MatrixSource::parse(source).read_array().map_err(|error| error.to_string())
    }

    #[test]
    fn npy_files_of_both_orders_and_widths() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let source = path.display().to_string();
        let expected = Array3::from_shape_fn((2, 3, 2), |(i, j, k)| (100 * i + 10 * j + k) as f64).into_dyn();
        let double: Vec<u8> = expected.iter().flat_map(|value| value.to_le_bytes()).collect();
        npy(&path, "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3, 2), }", &double);
        assert_eq!(read(&source).unwrap(), expected);
        let turned = expected.t();
        let single: Vec<u8> = turned.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect();
        npy(&path, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3, 2), }", &single);
        assert_eq!(read(&source).unwrap(), expected);
        let matrix = MatrixSource::parse(&source).read().unwrap_err().to_string();
        assert!(matrix.contains("has the shape [2, 3, 2]; a matrix with a sample a row is needed"), "{matrix}");
        let whole: Vec<u8> = [1i32, -2, 3, 4, 5, 6].iter().flat_map(|value| value.to_le_bytes()).collect();
        npy(&path, "{'descr': '<i4', 'fortran_order': True, 'shape': (3, 2), }", &whole);
        let matrix = MatrixSource::parse(&source).read().unwrap().values;
        assert_eq!(matrix, ndarray::arr2(&[[1.0, 4.0], [-2.0, 5.0], [3.0, 6.0]]));
        assert!(read(&format!("{source}:x")).unwrap_err().contains("holds one array; leave x out"));
    }

    #[test]
    fn npy_files_that_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let source = path.display().to_string();
        assert!(read(&source).unwrap_err().ends_with("a.npy: no such file"));
        for (text, expected) in [
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3, 2), }", "shorter than its header says"),
            (
                "{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296, 2), }",
                "shorter than its header says",
            ),
            ("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", "save float64 or float32"),
            ("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", "a.npy: "),
            ("nonsense", "cannot be read as npy"),
        ] {
            npy(&path, text, &[0; 8]);
            let said = read(&source).unwrap_err();
            assert!(said.contains(expected) && said.lines().count() == 1, "{text} -> {said}");
        }
        std::fs::write(&path, "text").unwrap();
        assert!(read(&source).unwrap_err().contains("cannot be read as npy"));
        // A header of four gigabytes in a hundred bytes.
        std::fs::write(&path, [b"\x93NUMPY\x02\x00".as_slice(), &u32::MAX.to_le_bytes(), &[b' '; 100]].concat())
            .unwrap();
        assert!(read(&source).unwrap_err().contains("shorter than its header says"));
    }

    #[test]
    fn the_only_array_of_an_hdf5_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.h5");
        let source = path.display().to_string();
        let file = hdf5::File::create(&path).unwrap();
        let draws = Array3::from_shape_fn((2, 3, 2), |(i, j, k)| (100 * i + 10 * j + k) as f64);
        file.new_dataset_builder().with_data(&[1.0, 2.0]).create("seconds").unwrap();
        file.new_dataset_builder().with_data(&draws).create("draws").unwrap();
        file.close().unwrap();
        assert_eq!(read(&source).unwrap(), draws.clone().into_dyn());
        let file = hdf5::File::open_rw(&path).unwrap();
        file.new_dataset_builder().with_data(&draws).create("others").unwrap();
        file.close().unwrap();
        assert!(read(&source).unwrap_err().ends_with("with one of: draws, others"));
        assert_eq!(read(&format!("{source}:others")).unwrap(), draws.into_dyn());
        assert!(read(&format!("{source}:others:1")).unwrap_err().contains("leave the index out"));
    }
}
