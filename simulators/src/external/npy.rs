//! Arrays of numpy's format, as programs take and give them: float64, two dimensions, nothing else.
//!
//! Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use std::io::Read;

const MAGIC: &[u8] = b"\x93NUMPY";
/// What follows the header is aligned to this many bytes.
const ALIGNMENT: usize = 64;
/// Bytes of a header at most; numpy's are 128.
const LONGEST: usize = 4096;

/// A float64 array (rows, columns), row by row, as the bytes of an .npy file.
pub(super) fn to_bytes(values: &[f64], columns: usize) -> Vec<u8> {
    let rows = values.len() / columns;
    let mut header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    let start = MAGIC.len() + 4;
    let end = (start + header.len() + 1).next_multiple_of(ALIGNMENT);
    header += &" ".repeat(end - start - header.len() - 1);
    header.push('\n');
    let mut bytes = Vec::with_capacity(end + size_of_val(values));
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[1, 0]);
    bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
    bytes
}

/// Reads one array of `rows` × `columns` numbers from a stream, and not a byte more.
pub(super) fn read(stream: &mut impl Read, rows: usize, columns: usize) -> Result<Vec<f64>, String> {
    let header = read_header(stream).ok_or("gave something that is no npy array")?;
    let entry = |key: &str| header.split_once(key).map(|(_, rest)| rest.trim_start_matches([' ', ':']));
    let dtype = entry("'descr'").and_then(|rest| rest.split('\'').nth(1)).unwrap_or_default();
    if dtype != "<f8" {
        return Err(format!("gave an array of type {dtype:?}, float64 (\"<f8\") is wanted"));
    }
    let by_column = entry("'fortran_order'").is_some_and(|rest| rest.starts_with("True"));
    let shape =
        entry("'shape'").and_then(|rest| rest.strip_prefix('(')?.split_once(')')).map_or("", |(inside, _)| inside);
    let sizes: Vec<&str> = shape.split(',').map(str::trim).filter(|size| !size.is_empty()).collect();
    let (n, d) = (rows.to_string(), columns.to_string());
    if sizes != [&*n, &*d] && (columns != 1 || sizes != [&*n]) {
        return Err(format!("gave an array of shape ({shape}), ({rows}, {columns}) is wanted"));
    }
    let mut bytes = vec![0; rows * columns * size_of::<f64>()];
    stream.read_exact(&mut bytes).map_err(|_| "gave an array without an end")?;
    let value = |i: usize| {
        let mut value = [0; size_of::<f64>()];
        value.copy_from_slice(&bytes[i * size_of::<f64>()..][..size_of::<f64>()]);
        f64::from_le_bytes(value)
    };
    let place = |i: usize| if by_column { i % columns * rows + i / columns } else { i };
    Ok((0..rows * columns).map(|i| value(place(i))).collect())
}

/// The dictionary of a header; `None` where there is none.
fn read_header(stream: &mut impl Read) -> Option<String> {
    let mut start = [0; MAGIC.len() + 2];
    stream.read_exact(&mut start).ok()?;
    if !start.starts_with(MAGIC) {
        return None;
    }
    let mut length = [0; 4];
    let bytes = if start[MAGIC.len()] == 1 { 2 } else { 4 };
    stream.read_exact(&mut length[..bytes]).ok()?;
    let length = u32::from_le_bytes(length) as usize;
    let mut header = vec![0; Some(length).filter(|&length| length <= LONGEST)?];
    stream.read_exact(&mut header).ok()?;
    String::from_utf8(header).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_come_back() {
        let values = [1.0, f64::NAN, -3.5, 1e-300, 5.0, 6.0];
        let mut bytes = to_bytes(&values, 3);
        assert_eq!(bytes.len(), 128 + 48);
        bytes.push(7);
        let mut stream = &bytes[..];
        let found = read(&mut stream, 2, 3).unwrap();
        assert!(found.iter().zip(&values).all(|(a, b)| a.to_bits() == b.to_bits()));
        assert_eq!(stream, [7]);
        assert!(read(&mut &bytes[..], 3, 3).unwrap_err().contains("shape (2, 3), (3, 3) is wanted"));
        assert!(read(&mut &b"1.0 2.0 3.0 4.0 5.0\n"[..], 2, 3).unwrap_err().contains("no npy array"));
        assert!(read(&mut &bytes[..150], 2, 3).unwrap_err().contains("without an end"));
    }

    #[test]
    fn what_others_write_is_read() {
        let made = |dict: &str, values: &[f64]| {
            let mut bytes = b"\x93NUMPY\x02\x00".to_vec();
            bytes.extend((dict.len() as u32).to_le_bytes());
            bytes.extend(dict.as_bytes());
            values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
            bytes
        };
        let by_column =
            made("{'shape': (2,3), 'fortran_order': True, 'descr': '<f8'}", &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(read(&mut &by_column[..], 2, 3).unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let flat = made("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }", &[1.0, 4.0]);
        assert_eq!(read(&mut &flat[..], 2, 1).unwrap(), [1.0, 4.0]);
        assert!(read(&mut &flat[..], 1, 2).is_err());
        let single = made("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", &[1.0]);
        assert!(read(&mut &single[..], 2, 1).unwrap_err().contains("\"<f4\", float64"));
    }
}
