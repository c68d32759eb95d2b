//! What is looked at before a file of someone else's is read: that it is a file, where its HDF5 begins, and that all of it is in it.
//!
//! HDF5 files can lead to others (external links, external storage, virtual data sets), into themselves (a group that is its own
//! member), and can declare any size without holding a number. Such files are refused with a line, and followed only [where that is asked for](crate::follow_links).

use super::links::{followed, storage};
use super::{failed, file_error};
use crate::Result;
use hdf5::plist::dataset_create::Layout;
use hdf5::{Dataset, Group, LinkType, LocationType};
use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Datasets that declare less are read whatever the file holds of them: what is missing is fill.
const SMALL: u64 = 64 << 20;

/// Bytes that one byte of a file may stand for: deflate makes 1032 of one at most, newer filters more of repeated numbers.
const MOST_COMPRESSED: u64 = 100_000;

/// Most groups and datasets that are listed, and how deep.
const MOST_OBJECTS: usize = 100_000;
const DEEPEST: usize = 64;

/// The length of a file; fails where it is missing, empty or no file. To be asked before it is opened: a pipe without a writer would not return.
pub(super) fn plain_file(path: &Path) -> Result<u64> {
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => file_error(path, "no such file"),
        _ => failed(path, "cannot be opened", &error),
    })?;
    if metadata.is_dir() {
        return Err(file_error(path, "is a directory, expected a file of arrays"));
    }
    if !metadata.is_file() {
        return Err(file_error(path, "is a pipe or a device, and is not read in order; copy it to a file"));
    }
    if metadata.len() == 0 {
        return Err(file_error(path, "is empty; make or copy it again"));
    }
    Ok(metadata.len())
}

/// Fails unless `path` is a file that can be opened and has the signature of HDF5, at its beginning or behind a user block (as in
/// MATLAB's files); its length.
pub(super) fn check_hdf5(path: &Path) -> Result<u64> {
    let length = plain_file(path)?;
    let cannot = |error: std::io::Error| failed(path, "cannot be opened", &error);
    let mut file = File::open(path).map_err(cannot)?;
    let mut at = 0;
    while at + 8 <= length {
        let mut magic = [0; 8];
        file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut magic)).map_err(cannot)?;
        if &magic == b"\x89HDF\r\n\x1a\n" {
            return Ok(length);
        }
        at = (2 * at).max(512);
    }
    Err(file_error(path, "is not an HDF5 or netCDF-4 file"))
}

/// All datasets of a file with their paths, none of which leads out of it, unless that is followed, or declares more than it can hold.
///
/// # Errors
/// When one does.
pub(super) fn datasets(path: &Path, file: &hdf5::File) -> Result<Vec<(String, Dataset)>> {
    Ok(walked(path, file)?.found)
}

/// The same, with what else a walk through a file finds.
pub(super) fn walked<'a>(path: &'a Path, file: &hdf5::File) -> Result<Walk<'a>> {
    let length = std::fs::metadata(path).map_or(u64::MAX, |metadata| metadata.len());
    let mut walk = Walk { path, length, seen: HashSet::new(), found: Vec::new(), elsewhere: BTreeSet::new() };
    if let Ok(info) = file.loc_info() {
        walk.seen.insert(format!("{} {:?}", file.filename(), info.token));
    }
    walk.group(file, "", 0)?;
    Ok(walk)
}

/// A walk through a file.
pub(super) struct Walk<'a> {
    path: &'a Path,
    length: u64,
    /// Groups and datasets by their files and addresses.
    seen: HashSet<String>,
    found: Vec<(String, Dataset)>,
    /// Other files that it led to.
    pub(super) elsewhere: BTreeSet<PathBuf>,
}

impl Walk<'_> {
    fn group(&mut self, group: &Group, prefix: &str, depth: usize) -> Result<()> {
        let path = self.path;
        let mut links = Vec::new();
        group
            .iter_visit_default(|name, info| {
                links.push((name.to_owned(), info.link_type));
                Ok(())
            })
            .map_err(|error| failed(path, "cannot list its datasets", &error))?;
        for (name, link) in links {
            let full = format!("{prefix}{name}");
            if link == LinkType::External && !followed() {
                return Err(file_error(path, format!("{full} is a link to another file, {}", not_followed(&full))));
            }
            // What a soft link leads to has a place of its own.
            if link == LinkType::Soft {
                continue;
            }
            let info = match group.loc_info_by_name(&name) {
                Ok(info) => info,
                Err(error) if link == LinkType::External => return Err(failed(path, &full, &error)),
                Err(_) => continue,
            };
            let home = match link {
                LinkType::External => {
                    home_of(group, &name, info.loc_type).map_err(|error| failed(path, &full, &error))?
                }
                _ => group.filename(),
            };
            let new = self.seen.insert(format!("{home} {:?}", info.token));
            if link == LinkType::External {
                self.elsewhere.insert(home.into());
            }
            match info.loc_type {
                LocationType::Dataset => {
                    let dataset = group.dataset(&name).map_err(|error| failed(path, &full, &error))?;
                    self.check(&full, &dataset)?;
                    self.found.push((full, dataset));
                }
                LocationType::Group if new => {
                    if depth >= DEEPEST {
                        return Err(file_error(path, format!("{full}: groups are nested more than {DEEPEST} deep")));
                    }
                    let inner = group.group(&name).map_err(|error| failed(path, &full, &error))?;
                    self.group(&inner, &format!("{full}/"), depth + 1)?;
                }
                _ => {}
            }
            if self.seen.len() + self.found.len() > MOST_OBJECTS {
                return Err(file_error(path, format!("holds more than {MOST_OBJECTS} groups and datasets")));
            }
        }
        Ok(())
    }

    fn check(&mut self, name: &str, dataset: &Dataset) -> Result<()> {
        let path = self.path;
        let bad = |what: &str| Err(file_error(path, format!("dataset {name} {what}")));
        let plist = dataset.create_plist().ok();
        let is_virtual = dataset.layout() == Layout::Virtual;
        if let Some(plist) = plist.filter(|plist| is_virtual || !plist.external().is_empty()) {
            if followed() {
                self.elsewhere.extend(storage(Path::new(&dataset.filename()), name, &plist)?);
                return Ok(());
            }
            let what = if is_virtual {
                "is a view of other files (virtual)"
            } else {
                "keeps its numbers in another file (external storage)"
            };
            return bad(&format!("{what}, {}", not_followed(name)));
        }
        let size = dataset.dtype().map_or(1, |dtype| dtype.size()) as u64;
        let declared = dataset.shape().iter().try_fold(size, |product, &n| product.checked_mul(n as u64));
        let Some(declared) = declared else {
            return bad("declares more numbers than can be counted; the file is damaged");
        };
        let stored = dataset.storage_size();
        let own = followed().then(|| std::fs::metadata(dataset.filename()).ok()).flatten();
        let length = own.map_or(self.length, |metadata| metadata.len());
        if declared > SMALL && (stored > length || declared / MOST_COMPRESSED > stored) {
            return bad(&format!(
                "declares {declared} bytes, of which the file holds {}; it is damaged or was never filled",
                stored.min(length)
            ));
        }
        Ok(())
    }
}

/// The file that a member of a group is in.
fn home_of(group: &Group, name: &str, kind: LocationType) -> hdf5::Result<String> {
    match kind {
        LocationType::Group => Ok(group.group(name)?.filename()),
        _ => Ok(group.dataset(name)?.filename()),
    }
}

/// What to do about a dataset whose numbers are elsewhere.
fn not_followed(name: &str) -> String {
    format!(
        "which is followed with follow_links only; or write its numbers into a new file, by h5py: new[{name:?}] = old[{name:?}][...]"
    )
}

/// Fails if `bytes` of memory are not to be had for what `name` holds: to be asked before a library takes them, which would end the
/// program.
pub(super) fn check_memory(path: &Path, name: &str, values: usize, bytes: usize) -> Result<()> {
    let mut probe: Vec<u8> = Vec::new();
    let enough = values.checked_mul(bytes).is_some_and(|bytes| probe.try_reserve_exact(bytes).is_ok());
    if enough {
        return Ok(());
    }
    Err(file_error(path, format!("dataset {name} has {values} values, more than fit into this machine's memory")))
}

#[cfg(test)]
mod tests {
    use super::super::{Contents, MatrixSource, Observations, TrainingSet};
    use hdf5::File;
    use std::path::{Path, PathBuf};

    /// A file that `make` writes, and what is said of it by each reader.
    fn said(make: impl FnOnce(&Path, &File)) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.h5");
        let file = File::create(&path).unwrap();
        make(folder.path(), &file);
        file.close().unwrap();
        let matrix = MatrixSource { path: path.clone(), dataset: Some("x".into()), index: None };
        [
            Contents::read(&path).err().map(|error| error.to_string()),
            TrainingSet::open(&path).err().map(|error| error.to_string()),
            Observations::read(&path).err().map(|error| error.to_string()),
            matrix.read().err().map(|error| error.to_string()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn each_says(said: &[String], expected: &str) {
        assert!(said.len() == 4 && said.iter().all(|text| text.contains(expected)), "{said:?}");
    }

    #[test]
    fn sizes_that_are_only_declared_are_refused() {
        for rows in [1 << 30, 1 << 58] {
            let texts = said(|_, file| {
                file.new_dataset::<f64>().shape((rows, 2)).chunk((1024, 2)).create("x").unwrap();
            });
            each_says(&texts, "of which the file holds 0");
        }
    }

    #[test]
    fn nothing_leads_out_of_a_file() {
        let texts = said(|folder, file| {
            let other = File::create(folder.join("other.h5")).unwrap();
            other.new_dataset_builder().with_data(&[1.0f64, 2.0]).create("x").unwrap();
            file.link_external("other.h5", "x", "x").unwrap();
        });
        each_says(&texts, "a link to another file");
        let texts = said(|folder, file| {
            std::fs::write(folder.join("raw"), [0; 64]).unwrap();
            let raw = folder.join("raw").display().to_string();
            let builder = file.new_dataset::<f64>().no_chunk().shape((4, 2));
            builder.with_dcpl(|plist| plist.external(&raw, 0, 64)).create("x").unwrap();
        });
        each_says(&texts, "external storage");
        let texts = said(|_, file| {
            let builder = file.new_dataset::<f64>().no_chunk().shape((4, 2));
            let map = builder.with_dcpl(|plist| plist.virtual_map("other.h5", "x", (4, 2), (.., ..), (4, 2), (.., ..)));
            map.create("x").unwrap();
        });
        each_says(&texts, "a view of other files");
    }

    #[test]
    fn a_group_in_itself_is_listed_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.h5");
        let file = File::create(&path).unwrap();
        file.create_group("a").unwrap().new_dataset_builder().with_data(&[1.0f64]).create("x").unwrap();
        file.link_hard("a", "a/again").unwrap();
        file.link_hard("/", "root").unwrap();
        file.close().unwrap();
        let names: Vec<String> = Contents::read(&path).unwrap().arrays.into_iter().map(|array| array.name).collect();
        assert_eq!(names, ["a/x"]);
    }

    fn observations(folder: &Path) -> PathBuf {
        let path = folder.join("f.h5");
        let file = File::create(&path).unwrap();
        file.new_dataset_builder().with_data(&ndarray::arr2(&[[1.0f32, 2.5]])).create("x").unwrap();
        file.close().unwrap();
        path
    }

    #[test]
    fn user_blocks_are_skipped_and_pipes_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("user.h5");
        let file = File::with_options().with_fcpl(|plist| plist.userblock(1024)).create(&path).unwrap();
        file.new_dataset_builder().with_data(&ndarray::arr2(&[[1.0f32, 2.5]])).create("x").unwrap();
        file.close().unwrap();
        assert_eq!(Observations::read(&path).unwrap().x, ndarray::arr2(&[[1.0, 2.5]]));
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let error = Observations::read(&pipe).unwrap_err().to_string();
        assert!(error.contains("is a pipe or a device"), "{error}");
        std::fs::write(&path, [7; 5000]).unwrap();
        assert!(Observations::read(&path).unwrap_err().to_string().contains("is not an HDF5"));
    }

    #[test]
    fn half_precision_is_read() {
        let half = hdf5::types::TypeDescriptor::Float(hdf5::types::FloatSize::U2);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("half.h5");
        let digest = |value: f32| {
            let file = File::create(&path).unwrap();
            let dataset = file.new_dataset_builder().empty_as(&half).shape((1, 2)).create("x").unwrap();
            dataset.write(&ndarray::arr2(&[[1.0f32, value]])).unwrap();
            file.close().unwrap();
            assert_eq!(Observations::read(&path).unwrap().x, ndarray::arr2(&[[1.0, f64::from(value)]]));
            Contents::read(&path).unwrap().digest
        };
        assert_ne!(digest(2.5), digest(2.0));
    }

    /// The binding takes text for UTF-8 without a look: what is not would be read past its end.
    #[test]
    fn text_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.h5");
        for broken in [&b"\xffbservations"[..], b"observation\xf0", b"observ\xe2\x28\xa1ons"] {
            let file = File::create(&path).unwrap();
            let text: hdf5::types::VarLenUnicode = "observations".parse().unwrap();
            file.new_attr::<hdf5::types::VarLenUnicode>().create("tallsbi_kind").unwrap().write_scalar(&text).unwrap();
            file.close().unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            let at = bytes.windows(12).position(|window| window == b"observations").unwrap();
            bytes[at..at + broken.len()].copy_from_slice(broken);
            std::fs::write(&path, &bytes).unwrap();
            let said = [Observations::read(&path).err(), Contents::read(&path).err(), TrainingSet::open(&path).err()];
            for error in said {
                let error = error.map(|error| error.to_string()).unwrap_or_default();
                assert!(error.contains("tallsbi_kind") && error.contains("not UTF-8"), "{error:?}");
            }
        }
    }

    /// 2000 files with a bit flipped or their end cut off: an answer, and never a panic.
    #[test]
    fn damaged_files_are_answered() {
        let folder = tempfile::tempdir().unwrap();
        let good = std::fs::read(observations(folder.path())).unwrap();
        let path = folder.path().join("damaged.h5");
        for i in 0..2000u64 {
            let place = tallsbi_data::StreamKey::root(5).seed(i) as usize;
            let mut bytes = good.clone();
            let at = place / 8 % bytes.len();
            if i % 10 == 0 {
                bytes.truncate(at)
            } else {
                bytes[at] ^= 1 << (place % 8)
            }
            std::fs::write(&path, &bytes).unwrap();
            let _ = (Observations::read(&path), Contents::read(&path), TrainingSet::open(&path).err());
        }
    }
}
