//! Attributes of HDF5 objects, in whatever form other languages write text.

use super::{failed, file_error};
use crate::{FileError, Result};
use hdf5::types::{FixedAscii, FixedUnicode, TypeDescriptor, VarLenAscii, VarLenUnicode};
use hdf5::{Attribute, Location};
use std::path::Path;

/// HDF5 keeps an attribute in 64 KiB with its header; longer text must go elsewhere.
pub(super) const LONGEST_TEXT: usize = 60_000;

/// Longest single string in an attribute that is an array of fixed-length strings.
const LONGEST_ITEM: usize = 1024;

/// Longest name of an attribute, and most attributes, that are looked for.
const LONGEST_NAME: usize = 4096;
const MOST_ATTRIBUTES: u64 = 1 << 16;

/// Names of all attributes, as far as they can be read. One by one: the binding's iteration over all of them aborts in damaged files.
pub(super) fn all_names(location: &Location) -> Vec<String> {
    let name = |index: u64| {
        let mut buffer = vec![0_u8; LONGEST_NAME];
        let length = hdf5::sync::sync(|| {
            // SAFETY: the identifier is open while `location` is borrowed; the path ends with a zero; the buffer has as many bytes as announced, to which the
            // name is cut off, and outlives the call. The library's lock is held.
            unsafe {
                hdf5_sys::h5a::H5Aget_name_by_idx(
                    location.id(),
                    c".".as_ptr(),
                    hdf5_sys::h5::H5_index_t::H5_INDEX_NAME,
                    hdf5_sys::h5::H5_iter_order_t::H5_ITER_INC,
                    index,
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    hdf5_sys::h5p::H5P_DEFAULT,
                )
            }
        });
        // Negative where there is no further one.
        buffer.truncate(usize::try_from(length).ok()?.min(LONGEST_NAME - 1));
        Some(buffer)
    };
    (0..MOST_ATTRIBUTES).map_while(name).filter_map(|name| String::from_utf8(name).ok()).collect()
}

/// Writes a text attribute.
pub(super) fn write_text(path: &Path, location: &Location, name: &str, text: &str) -> Result<()> {
    if text.len() > LONGEST_TEXT {
        return Err(file_error(
            path,
            format!(
                "attribute {name} has {} bytes, more than the {LONGEST_TEXT} that HDF5 attributes hold",
                text.len()
            ),
        ));
    }
    let value: VarLenUnicode =
        text.parse().map_err(|_| file_error(path, format!("attribute {name} contains a zero byte")))?;
    location
        .new_attr::<VarLenUnicode>()
        .create(name)
        .and_then(|attribute| attribute.write_scalar(&value))
        .map_err(|error| failed(path, &format!("cannot write attribute {name}"), &error))
}

/// Writes an unsigned integer attribute.
pub(super) fn write_number(path: &Path, location: &Location, name: &str, value: u64) -> Result<()> {
    location
        .new_attr::<u64>()
        .create(name)
        .and_then(|attribute| attribute.write_scalar(&value))
        .map_err(|error| failed(path, &format!("cannot write attribute {name}"), &error))
}

/// The attribute's strings: one for a scalar, several for an array; `None` where there is no such attribute.
pub(super) fn strings(path: &Path, location: &Location, name: &str) -> Result<Option<Vec<String>>> {
    let Some(attribute) = find(location, name) else { return Ok(None) };
    read_strings(&attribute)
        .map_err(|error| failed(path, &format!("cannot read attribute {name} as text"), &error))
        .map(Some)
}

/// By its name: going through the names of all fails hard in damaged files.
fn find(location: &Location, name: &str) -> Option<Attribute> {
    location.attr(name).ok()
}

fn read_strings(attribute: &Attribute) -> hdf5::Result<Vec<String>> {
    match attribute.dtype()?.to_descriptor()? {
        TypeDescriptor::VarLenUnicode => texts(attribute.read_raw::<VarLenUnicode>()?.iter().map(|v| v.as_bytes())),
        TypeDescriptor::VarLenAscii => texts(attribute.read_raw::<VarLenAscii>()?.iter().map(|v| v.as_bytes())),
        TypeDescriptor::FixedUnicode(n) if n <= LONGEST_ITEM => {
            texts(attribute.read_raw::<FixedUnicode<LONGEST_ITEM>>()?.iter().map(|v| v.as_bytes()))
        }
        TypeDescriptor::FixedAscii(n) if n <= LONGEST_ITEM => {
            texts(attribute.read_raw::<FixedAscii<LONGEST_ITEM>>()?.iter().map(|v| v.as_bytes()))
        }
        TypeDescriptor::FixedUnicode(_) => texts([attribute.read_scalar::<FixedUnicode<65_536>>()?.as_bytes()]),
        TypeDescriptor::FixedAscii(_) => texts([attribute.read_scalar::<FixedAscii<65_536>>()?.as_bytes()]),
        other => Err(hdf5::Error::from(format!("it holds {other}"))),
    }
}

/// Bytes as text: the binding takes whatever a file holds for UTF-8, and does not look.
fn texts<'b>(values: impl IntoIterator<Item = &'b [u8]>) -> hdf5::Result<Vec<String>> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec());
    let found = values.into_iter().map(text).collect::<std::result::Result<Vec<String>, _>>();
    found.map_err(|_| hdf5::Error::from("its bytes are not UTF-8"))
}

/// A text attribute.
pub(super) fn text(path: &Path, location: &Location, name: &str) -> Result<Option<String>> {
    match strings(path, location, name)? {
        None => Ok(None),
        // netCDF writes the empty text as no text at all.
        Some(mut values) if values.len() <= 1 => Ok(Some(values.pop().unwrap_or_default())),
        Some(values) => Err(file_error(path, format!("attribute {name} has {} strings, expected one", values.len()))),
    }
}

/// A list of names: an array of strings, or one string holding a JSON list.
pub(super) fn names(path: &Path, location: &Location, name: &str) -> Result<Option<Vec<String>>> {
    match strings(path, location, name)? {
        Some(values) if values.len() == 1 && values[0].trim_start().starts_with('[') => {
            serde_json::from_str(&values[0])
                .map(Some)
                .map_err(|error| file_error(path, format!("attribute {name} is not a JSON list of strings: {error}")))
        }
        other => Ok(other),
    }
}

/// An unsigned integer attribute, from any integer type.
pub(super) fn number(path: &Path, location: &Location, name: &str) -> Result<Option<u64>> {
    let Some(attribute) = find(location, name) else { return Ok(None) };
    let bad = |message: &str| -> FileError { file_error(path, format!("attribute {name} {message}")) };
    let values = match attribute.dtype().and_then(|dtype| dtype.to_descriptor()) {
        Ok(TypeDescriptor::Integer(_)) => attribute
            .read_raw::<i64>()
            .map_err(|_| bad("cannot be read"))?
            .into_iter()
            .map(|v| u64::try_from(v).map_err(|_| bad("is negative")))
            .collect::<Result<Vec<_>>>()?,
        Ok(TypeDescriptor::Unsigned(_)) => attribute.read_raw::<u64>().map_err(|_| bad("cannot be read"))?,
        _ => return Err(bad("is not an integer")),
    };
    if values.len() == 1 { Ok(Some(values[0])) } else { Err(bad("is not a single integer")) }
}

/// The numbers of an attribute, of any type of number; `None` where there are none.
pub(super) fn floats(location: &Location, name: &str) -> Option<Vec<f64>> {
    let attribute = find(location, name)?;
    match attribute.dtype().ok()?.to_descriptor().ok()? {
        TypeDescriptor::Integer(_) | TypeDescriptor::Unsigned(_) | TypeDescriptor::Float(_) => {
            attribute.read_raw::<f64>().ok()
        }
        _ => None,
    }
}

/// Any attribute as text for people: strings as they are, numbers in decimal.
pub(super) fn display(location: &Location, name: &str) -> Option<String> {
    let attribute = find(location, name)?;
    let list =
        |values: Vec<String>| if values.len() == 1 { values[0].clone() } else { format!("[{}]", values.join(", ")) };
    match attribute.dtype().ok()?.to_descriptor().ok()? {
        TypeDescriptor::Integer(_) => {
            Some(list(attribute.read_raw::<i64>().ok()?.iter().map(ToString::to_string).collect()))
        }
        TypeDescriptor::Unsigned(_) => {
            Some(list(attribute.read_raw::<u64>().ok()?.iter().map(ToString::to_string).collect()))
        }
        TypeDescriptor::Float(_) => {
            Some(list(attribute.read_raw::<f64>().ok()?.iter().map(ToString::to_string).collect()))
        }
        _ => read_strings(&attribute).ok().map(|values| if values.is_empty() { String::new() } else { list(values) }),
    }
}
