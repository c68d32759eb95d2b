//! Inputs made of good ones by small damages: a pure function of the good ones and a generator of random numbers.

use rand::{Rng, RngExt};
use std::ops::Range;

/// Longest input.
const LONGEST: usize = 1 << 20;

/// Bytes of a piece that is moved at most.
const PIECE: usize = 256;

/// Numbers at which sizes, counts and indices go wrong.
const NUMBERS: [u64; 14] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 40,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// What stands for a value in a text.
const TEXTS: [&str; 34] = [
    "0",
    "-1",
    "1",
    "2",
    "0.5",
    "-0.0",
    "1e999",
    "-1e308",
    "1e-320",
    "1e40",
    "nan",
    "inf",
    "-inf",
    "null",
    "true",
    "false",
    "[]",
    "{}",
    "[[]]",
    "[null]",
    "\"\"",
    "\"\\u0000\"",
    "\"../x\"",
    "\"ä\"",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "-9223372036854775808",
    "1e18",
    "1000000000",
    ",",
    ";",
    "\t",
    "\n",
];

/// Whether an input is text: then values and lines are damaged too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Binary,
}

/// Damages an input one to four times, with pieces of itself and of another.
pub fn damage(bytes: &mut Vec<u8>, other: &[u8], kind: Kind, rng: &mut impl Rng) {
    for _ in 0..=below(rng, 4) {
        if kind == Kind::Text && below(rng, 4) > 0 { text(bytes, other, rng) } else { binary(bytes, other, rng) }
    }
    bytes.truncate(LONGEST);
}

/// A number from 0 to `bound`, without it; 0 for nothing.
fn below(rng: &mut impl Rng, bound: usize) -> usize {
    rng.random_range(0..bound.max(1))
}

fn piece(rng: &mut impl Rng, length: usize) -> Range<usize> {
    let start = below(rng, length);
    let most = (length - start).min(1 << below(rng, PIECE.ilog2() as usize + 1));
    start..start + below(rng, most + 1)
}

fn binary(bytes: &mut Vec<u8>, other: &[u8], rng: &mut impl Rng) {
    let at = below(rng, bytes.len());
    match below(rng, 9) {
        0..3 if !bytes.is_empty() => bytes[at] ^= 1 << below(rng, 8),
        3 if !bytes.is_empty() => bytes[at] = rng.random(),
        4 => {
            let number = NUMBERS[below(rng, NUMBERS.len())].to_le_bytes();
            let width = [1, 2, 4, 8][below(rng, 4)];
            bytes[at..].iter_mut().zip(&number[..width]).for_each(|(to, from)| *to = *from);
        }
        5 => {
            let range = piece(rng, bytes.len());
            bytes.drain(range);
        }
        6 => {
            let copy = bytes[piece(rng, bytes.len())].to_vec();
            bytes.splice(at..at, copy);
        }
        7 => {
            let copy = other[piece(rng, other.len())].to_vec();
            let end = (at + copy.len()).min(bytes.len());
            bytes.splice(at..end, copy);
        }
        _ => bytes.truncate(if below(rng, 4) == 0 { at } else { bytes.len() - below(rng, 9).min(bytes.len()) }),
    }
}

fn text(bytes: &mut Vec<u8>, other: &[u8], rng: &mut impl Rng) {
    match below(rng, 6) {
        0..3 => {
            let range = token(bytes, rng, &|byte| byte.is_ascii_digit() || b".+-eE".contains(&byte));
            bytes.splice(range, TEXTS[below(rng, TEXTS.len())].bytes());
        }
        3 => {
            let range = token(bytes, rng, &|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let new = other[token(other, rng, &|byte| byte.is_ascii_alphanumeric() || byte == b'_')].to_vec();
            bytes.splice(range, new);
        }
        4 => {
            let range = line(bytes, rng);
            bytes.drain(range);
        }
        _ => {
            let at = line(bytes, rng).start;
            let new = other[line(other, rng)].to_vec();
            bytes.splice(at..at, new);
        }
    }
}

/// The stretch of bytes of one sort from a random place on.
fn token(bytes: &[u8], rng: &mut impl Rng, is: &dyn Fn(u8) -> bool) -> Range<usize> {
    let from = below(rng, bytes.len());
    let start = bytes[from..].iter().position(|&byte| is(byte)).map_or(from, |offset| from + offset);
    let end = bytes[start..].iter().position(|&byte| !is(byte)).map_or(bytes.len(), |offset| start + offset);
    start..end
}

/// A line, or in a text of one long line what stands between two commas.
fn line(bytes: &[u8], rng: &mut impl Rng) -> Range<usize> {
    let ends = if bytes.iter().filter(|&&byte| byte == b'\n').count() > 2 { b'\n' } else { b',' };
    let from = below(rng, bytes.len());
    let start = bytes[..from].iter().rposition(|&byte| byte == ends).map_or(0, |place| place + 1);
    let end = bytes[from..].iter().position(|&byte| byte == ends).map_or(bytes.len(), |offset| from + offset + 1);
    start..end
}
