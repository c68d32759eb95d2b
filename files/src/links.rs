//! Files that HDF5 files lead to: by external links, external storage, virtual data sets.

use super::{failed, file_error, guard};
use crate::Result;
use hdf5::plist::DatasetCreate;
use hdf5::plist::dataset_create::Layout;
use hdf5_sys::h5p::{H5Pget_virtual_count, H5Pget_virtual_filename};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// For the whole process, as HDF5's own settings of where linked files are looked for.
static FOLLOWED: AtomicBool = AtomicBool::new(false);

/// Bytes of a source's name: more than any path has.
const LONGEST_NAME: usize = 1 << 14;

/// Lets all readers of this process follow what leads out of an HDF5 file, which they refuse otherwise: whoever made the file decides what else is read. Digests
/// of such files ([`sha256_file`](crate::sha256_file)) cover all that they lead to.
pub fn follow_links() {
    FOLLOWED.store(true, Ordering::Relaxed);
}

pub(crate) fn followed() -> bool {
    FOLLOWED.load(Ordering::Relaxed)
}

/// Files that a dataset's numbers lie in, beside the one that it is in: of a virtual data set its sources, external storage.
///
/// # Errors
/// When one is missing, which HDF5 would take for fill values, or is named by a pattern.
pub(crate) fn storage(path: &Path, name: &str, plist: &DatasetCreate) -> Result<Vec<PathBuf>> {
    let unread =
        |error: hdf5::Error| failed(path, &format!("dataset {name}: where its numbers lie cannot be read"), &error);
    let is_virtual = plist.layout() == Layout::Virtual;
    let sources = if is_virtual { sources(plist).map_err(unread)? } else { Vec::new() };
    let raw = if is_virtual { Vec::new() } else { plist.get_external().map_err(unread)? };
    let raw = raw.into_iter().map(|file| file.name);
    let names: BTreeSet<String> = sources.into_iter().chain(raw).filter(|source| source != ".").collect();
    names.iter().map(|source| located(path, name, source)).collect()
}

/// Names of the files that a virtual data set is a view of. The binding's own list of its sources refuses many selections.
fn sources(plist: &DatasetCreate) -> hdf5::Result<Vec<String>> {
    let bad = |what: &str| hdf5::Error::from(what.to_owned());
    hdf5::sync::sync(|| {
        let mut count = 0;
        // SAFETY: the list is open for as long as `plist` lives; `count` is written.
        if unsafe { H5Pget_virtual_count(plist.id(), &raw mut count) } < 0 {
            return Err(bad("its sources cannot be counted"));
        }
        let name = |index: usize| {
            let mut bytes = vec![0u8; LONGEST_NAME];
            // SAFETY: at most as many bytes are written as there are, a final 0 among them.
            let length = unsafe { H5Pget_virtual_filename(plist.id(), index, bytes.as_mut_ptr().cast(), bytes.len()) };
            let known = usize::try_from(length).ok().filter(|length| *length < LONGEST_NAME);
            let bytes = known.and_then(|length| bytes.get(..length)).ok_or_else(|| bad("a source has no name"))?;
            String::from_utf8(bytes.to_vec()).map_err(|_| bad("a source's name is not UTF-8"))
        };
        (0..count).map(name).collect()
    })
}

/// Where HDF5 finds a file that another one names: beside it, or from the working directory.
fn located(path: &Path, name: &str, source: &str) -> Result<PathBuf> {
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let found = [folder.join(source), PathBuf::from(source)].into_iter().find(|candidate| candidate.is_file());
    found.ok_or_else(|| {
        let why = if source.contains('%') { "is a pattern of names, which is not followed" } else { "is not there" };
        file_error(path, format!("dataset {name} has numbers in {source}, which {why}"))
    })
}

/// All files that the HDF5 file `path` leads to, directly or by others; none where links are not [followed](follow_links) or it is something else.
///
/// # Errors
/// When it, or one of them, cannot be read.
pub(crate) fn led_to(path: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut left = vec![path.to_owned()];
    while let Some(next) = left.pop().filter(|_| followed()) {
        if guard::check_hdf5(&next).is_err() {
            continue;
        }
        let file = super::open_hdf5(&next)?;
        let new = guard::walked(&next, &file)?.elsewhere.into_iter().filter(|other| other != path);
        left.extend(new.filter(|other| found.insert(other.clone())));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use crate::{Observations, sha256_file};
    use hdf5::File;
    use ndarray::arr2;
    use std::process::Command;

    /// Variable that tells a process to follow links: what this file's test does is for the whole process.
    const CASE: &str = "TALLSBI_FOLLOW_LINKS_CASE";

    /// A file of two rows.
    fn rows(path: &std::path::Path, values: [f64; 2]) {
        let file = File::create(path).unwrap();
        file.new_dataset_builder().with_data(&arr2(&[[values[0], 0.5], [values[1], 0.5]])).create("x").unwrap();
    }

    #[test]
    fn links_are_followed_where_they_are_to_be_and_digests_cover_them() {
        let program = std::env::current_exe().unwrap();
        let arguments = ["links::tests::followed", "--exact", "--ignored", "--nocapture"];
        let output = Command::new(program).args(arguments).env(CASE, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    #[ignore = "started by the other"]
    fn followed() {
        if std::env::var(CASE).is_err() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        rows(&at("a.h5"), [1.0, 2.0]);
        rows(&at("b.h5"), [3.0, 4.0]);
        let file = File::create(at("all.h5")).unwrap();
        let builder = file.new_dataset::<f64>().no_chunk().shape((4, 2));
        let builder = builder.with_dcpl(|plist| {
            plist.virtual_map("a.h5", "x", (2, 2), (.., ..), (4, 2), (0..2, ..));
            plist.virtual_map("b.h5", "x", (2, 2), (.., ..), (4, 2), (2..4, ..))
        });
        builder.create("x").unwrap();
        file.close().unwrap();
        let file = File::create(at("link.h5")).unwrap();
        file.link_external("all.h5", "x", "x").unwrap();
        file.close().unwrap();
        let refused = Observations::read(&at("all.h5")).unwrap_err().to_string();
        assert!(refused.contains("follow_links"), "{refused}");

        super::follow_links();
        let expected = arr2(&[[1.0, 0.5], [2.0, 0.5], [3.0, 0.5], [4.0, 0.5]]);
        for name in ["all.h5", "link.h5"] {
            assert_eq!(Observations::read(&at(name)).unwrap().x, expected, "{name}");
            let before = sha256_file(&at(name)).unwrap();
            assert_eq!(sha256_file(&at(name)).unwrap(), before);
            rows(&at("b.h5"), [3.0, 5.0]);
            assert_ne!(sha256_file(&at(name)).unwrap(), before, "{name}");
            rows(&at("b.h5"), [3.0, 4.0]);
        }
        // HDF5 would give zeros.
        std::fs::remove_file(at("b.h5")).unwrap();
        let missing = Observations::read(&at("all.h5")).unwrap_err().to_string();
        assert!(missing.contains("dataset x has numbers in b.h5, which is not there"), "{missing}");
    }
}
