//! Time-stamped annotation lists of EDF+: `+onset[\x15duration]\x14text\x14..\x14\x00`.

use crate::Annotation;

const SEPARATOR: u8 = 0x14;
const DURATION: u8 = 0x15;

/// Adds the annotations in the `parts` of one data record; the record's own time, which its first list holds without a text.
///
/// Lists that cannot be read are passed over: they carry no samples.
pub(super) fn parse<'a>(parts: impl Iterator<Item = &'a [u8]>, annotations: &mut Vec<Annotation>) -> Option<f64> {
    let mut time = None;
    for (index, part) in parts.enumerate() {
        let lists = part.split(|&byte| byte == 0).filter(|list| !list.is_empty());
        for (place, list) in lists.enumerate() {
            let mut fields = list.split(|&byte| byte == SEPARATOR);
            let Some((onset, duration)) = fields.next().and_then(stamp) else { continue };
            if index == 0 && place == 0 {
                time = Some(onset);
            }
            let texts =
                fields.map(|text| String::from_utf8_lossy(text).trim().to_owned()).filter(|text| !text.is_empty());
            annotations.extend(texts.map(|text| Annotation { onset, duration, text }));
        }
    }
    time
}

/// Onset and duration.
fn stamp(bytes: &[u8]) -> Option<(f64, Option<f64>)> {
    let mut fields = bytes.split(|&byte| byte == DURATION);
    let number = |field: &[u8]| -> Option<f64> {
        std::str::from_utf8(field).ok()?.trim().parse().ok().filter(|number: &f64| number.is_finite())
    };
    let onset = number(fields.next()?)?;
    let duration = fields.next().and_then(number).filter(|duration| *duration > 0.0);
    Some((onset, duration))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_with_times_durations_and_texts() {
        let part = b"+3.5\x14\x14\0+4\x1520\x14eyes closed\x14second\x14\0-0.5\x14before\x14\0\0\0broken\x14x\x14\0";
        let mut found = Vec::new();
        assert_eq!(parse([&part[..]].into_iter(), &mut found), Some(3.5));
        let annotation = |onset, duration, text: &str| Annotation { onset, duration, text: text.into() };
        let expected = [
            annotation(4.0, Some(20.0), "eyes closed"),
            annotation(4.0, Some(20.0), "second"),
            annotation(-0.5, None, "before"),
        ];
        assert_eq!(found, expected);
    }
}
