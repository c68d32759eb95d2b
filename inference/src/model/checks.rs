//! Whether the parts of a model fit each other: what is read from a file is checked here, and nothing else has to.

use super::cells::Cells;
use super::density::{MAX_COMPONENTS, MixtureLayout};
use super::location::Moved;
use super::mixed::Categories;
use super::observation_map::ObservationMap;
use super::trained::{Networks, TrainedModel};
use super::{AnchoredSettings, anchored::anchor_outputs};
use crate::{InferenceError, Result};

/// Widest observation, most parameters: beyond anything that fits into memory with a network, so that products of sizes that a
/// file declares do not overflow.
const MAX_WIDTH: usize = 1 << 24;

/// Checks maps and networks against each other.
///
/// # Errors
/// [`InferenceError::Model`] that says what does not fit.
pub(super) fn check(model: &TrainedModel) -> Result<()> {
    check_widths(model.latent.dim(), model.observation_map.dim())?;
    model.latent.validate()?;
    check_map(&model.observation_map, "observation_map")?;
    let (m, d) = (model.latent.dim(), model.observation_map.dim());
    check_conditions(model.info.conditions, d)?;
    match &model.networks {
        Networks::Noise { network, positions, settings } => {
            let sets = if positions.is_empty() { network.spec().n_max } else { positions.len() };
            if sets != network.spec().n_max || positions.iter().any(|map| map.dim() != d) {
                return Err(unfit("positions", "one map of an observation's width for each observation of a set"));
            }
            positions.iter().try_for_each(|map| check_map(map, "positions"))?;
            check_slope(settings.schedule.slope)?;
            positive("settings.variance_offset", settings.variance_offset, true)
        }
        Networks::Anchored { anchor, settings, .. } => {
            if (anchor.spec().input, anchor.spec().output) != (d, anchor_outputs(m)) {
                return Err(unfit("anchor", "as many inputs and outputs as its maps have"));
            }
            let AnchoredSettings { schedule, min_noise, max_noise } = *settings;
            check_slope(schedule.slope)?;
            positive("settings.min_noise", min_noise, false)?;
            if max_noise.is_finite() && max_noise > min_noise {
                Ok(())
            } else {
                Err(unfit("settings.max_noise", "more than min_noise"))
            }
        }
        Networks::Likelihood { layout, locations, .. } => {
            let real = !layout.cells && layout.mixed.is_none() && model.info.conditions == 0;
            if !locations.is_empty() && !real {
                return Err(unfit("locations", "observations of real numbers without conditions"));
            }
            Moved::all(locations, &model.latent, &model.measured_map())?;
            // Without such columns there are no cells to take masses of.
            let cells = !layout.cells || Cells::new(&model.measured_map()).is_some();
            if cells { Ok(()) } else { Err(unfit("layout.cells", "columns of counts in observation_map")) }
        }
        // Checked when it is made of its description.
        Networks::Refined(_) => Ok(()),
    }
}

/// Checks the numbers of parameters and of values of an observation.
///
/// # Errors
/// When one is 0 or out of all bounds.
pub(super) fn check_widths(m: usize, d: usize) -> Result<()> {
    if m == 0 || m > MAX_WIDTH {
        Err(unfit("latent", "at least one parameter, and at most 2²⁴"))
    } else if d == 0 || d > MAX_WIDTH {
        Err(unfit("observation_map", "at least one value, and at most 2²⁴"))
    } else {
        Ok(())
    }
}

/// Checks that beside conditions there is something observed.
///
/// # Errors
/// When there is not.
pub(super) fn check_conditions(conditions: usize, d: usize) -> Result<()> {
    if conditions < d { Ok(()) } else { Err(unfit("info.conditions", "less than an observation's values")) }
}

/// Checks a mixture's layout for observations of `d` values before its outputs are counted.
///
/// # Errors
/// When it is for others, or has too many components.
pub(super) fn check_layout(layout: &MixtureLayout, map: &ObservationMap) -> Result<()> {
    let categories = layout.mixed.and_then(|_| Categories::new(map));
    let fits = match (layout.mixed, &categories) {
        (None, _) => layout.dim == map.dim(),
        (Some(mixed), Some(categories)) => {
            (layout.dim, mixed.categories) == (categories.real().count(), categories.count())
                && layout.components.is_multiple_of(mixed.categories)
        }
        (Some(_), None) => false,
    };
    if layout.mixed.is_none() && !map.atoms.is_empty() {
        return Err(unfit("layout.mixed", "a category for each pattern of atoms"));
    }
    if layout.tails && (layout.cells || layout.mixed.is_some()) {
        return Err(unfit("layout.tails", "real numbers only"));
    }
    if layout.shared && (layout.cells || layout.mixed.is_some() || layout.tails || layout.components != 1) {
        return Err(unfit("layout.shared", "one Gaussian of real numbers"));
    }
    if !fits || !(1..=MAX_COMPONENTS).contains(&layout.components) {
        return Err(unfit("layout", "the observations' width and 1 to 32 components"));
    }
    Ok(())
}

/// Checks that a map has as many of everything as columns.
///
/// # Errors
/// When it has not, or not finite numbers.
pub(super) fn check_map(map: &ObservationMap, what: &'static str) -> Result<()> {
    let d = map.dim();
    let ObservationMap { log: _, mean, sd, counts, lowest, highest, offset, atoms } = map;
    let optional = [counts.len(), lowest.len(), highest.len()];
    let fitting = optional == [0; 3] || optional == [d; 3];
    if sd.len() != d || !fitting || !(offset.is_empty() || offset.len() == d) {
        return Err(unfit(what, "one sd, and one or no counts, lowest and highest for each mean"));
    }
    let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
    let offset = offset.iter().all(|value| value.is_finite());
    let ordered = lowest.iter().zip(highest).all(|(low, high)| low <= high);
    if !(offset
        && finite(mean)
        && finite(sd)
        && finite(lowest)
        && finite(highest)
        && ordered
        && sd.iter().all(|&sd| sd >= 0.0))
    {
        return Err(unfit(what, "finite numbers, no negative sd, and no lowest above highest"));
    }
    let spread = (0..d).all(|column| sd[column] > 0.0 || !atoms.has(column));
    if !(atoms.is_empty() || atoms.are_of(d) && spread) {
        return Err(unfit(what, "atoms of columns that vary, and their patterns"));
    }
    Ok(())
}

fn check_slope(slope: f64) -> Result<()> {
    positive("settings.schedule.slope", slope, false)
}

fn positive(what: &'static str, value: f64, or_zero: bool) -> Result<()> {
    let fits = value.is_finite() && (value > 0.0 || or_zero && value == 0.0);
    if fits { Ok(()) } else { Err(unfit(what, "a positive number")) }
}

fn unfit(what: &'static str, needs: &'static str) -> InferenceError {
    InferenceError::Model(format!(
        "its {what} does not fit: it needs {needs}; the file is damaged or was not made by tallsbi"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::file::METADATA_KEY;
    use super::*;
    use crate::model::Region;
    use crate::train::{Architecture, TrainOptions, train};
    use std::collections::HashMap;
    use tallsbi_data::{Silent, StreamKey};
    use tallsbi_network::{LastLayer, Mlp, MlpSpec};

    fn model(architecture: Architecture) -> TrainedModel {
        let options = TrainOptions { architecture, ..crate::train::tests::small() };
        let data = crate::train::tests::toy(100, 1, &options);
        train(&data, &options, StreamKey::root(0), &Silent).unwrap()
    }

    /// The same with a Student t.
    fn with_tails() -> TrainedModel {
        let mut model = model(Architecture::Likelihood);
        let Networks::Likelihood { members, layout, .. } = &mut model.networks else { panic!("a likelihood") };
        *layout = MixtureLayout { tails: true, ..MixtureLayout::gaussian(2) };
        let spec = MlpSpec { output: layout.outputs(), ..members[0].spec().clone() };
        *members = vec![Mlp::random(spec, LastLayer::Random, &mut StreamKey::root(4).rng(0)).unwrap()];
        model
    }

    /// The file with another description, without a digest: as a file made by hand, or by version 0.1.0.
    fn described(bytes: &[u8], change: impl Fn(&mut serde_json::Value)) -> Vec<u8> {
        let (_, header) = safetensors::SafeTensors::read_metadata(bytes).unwrap();
        let mut json = serde_json::from_str(&header.metadata().as_ref().unwrap()[METADATA_KEY]).unwrap();
        change(&mut json);
        json.as_object_mut().unwrap().remove("digest");
        let file = safetensors::SafeTensors::deserialize(bytes).unwrap();
        safetensors::serialize(file.tensors(), Some(HashMap::from([(METADATA_KEY.to_owned(), json.to_string())])))
            .unwrap()
    }

    /// The same that holds in a region.
    fn bounded() -> TrainedModel {
        let mut model = model(Architecture::Likelihood);
        let m = model.latent.dim();
        let elements = [tallsbi_data::SignedPermutation::identity(m)];
        let Networks::Likelihood { region, .. } = &mut model.networks else { panic!("a likelihood") };
        *region = Some(Region::new(&[crate::refine::Frame::standard(m, 0.5)], 3.0, &elements).unwrap());
        model
    }

    #[test]
    fn a_region_comes_back_and_damage_to_it_is_found() {
        let bytes = bounded().to_bytes();
        assert!(TrainedModel::from_bytes(&bytes).unwrap() == bounded());
        for (name, value) in [("radius", serde_json::json!(-1.0)), ("frames", serde_json::json!([]))] {
            let damaged = described(&bytes, |json| json["architecture"]["region"][name] = value.clone());
            let error = TrainedModel::from_bytes(&damaged).unwrap_err().to_string();
            assert!(error.contains("the region that it was trained in is damaged"), "{error}");
        }
    }

    #[test]
    fn files_without_a_digest_are_read_as_before() {
        for model in [model(Architecture::Likelihood), with_tails()] {
            assert!(TrainedModel::from_bytes(&described(&model.to_bytes(), |_| {})).unwrap() == model);
        }
    }

    /// Each flipped bit is refused, or leaves all numbers as they were.
    #[test]
    fn flipped_bits_are_refused() {
        for architecture in [Architecture::Anchored, Architecture::Noise, Architecture::Likelihood] {
            let model = model(architecture);
            let bytes = model.to_bytes();
            for i in 0..1000 {
                let bit = StreamKey::root(3).seed(i) as usize % (8 * bytes.len());
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                if let Ok(read) = TrainedModel::from_bytes(&flipped) {
                    assert!(read == model, "bit {bit} of {}", 8 * bytes.len());
                }
            }
        }
    }

    /// Whatever a description says, the answer is an error: no panic, and no memory for what is not in the file.
    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let likelihood = model(Architecture::Likelihood).to_bytes();
        let tails = with_tails().to_bytes();
        let anchored = model(Architecture::Anchored).to_bytes();
        let noise = model(Architecture::Noise).to_bytes();
        for (bytes, pointer, value) in [
            (&likelihood, "/observation_map/sd", "[1.0]"),
            (&likelihood, "/observation_map/sd", "[1.0, -1.0]"),
            (&likelihood, "/observation_map/mean", "[]"),
            (&likelihood, "/architecture/network/hidden", "[1099511627776]"),
            (&likelihood, "/architecture/network/hidden", "[4294967296, 4294967296]"),
            (&likelihood, "/architecture/members", "18446744073709551615"),
            (&likelihood, "/architecture/layout/components", "4611686018427387904"),
            (&likelihood, "/architecture/layout/dim", "4294967296"),
            (&likelihood, "/architecture/layout/cells", "true"),
            (&likelihood, "/architecture/layout", r#"{"components":1,"dim":2,"covariance":"full","tails":true}"#),
            (&tails, "/architecture/layout/cells", "true"),
            (&tails, "/architecture/layout/tails", "1"),
            (&anchored, "/architecture/network/frequencies", "9223372036854775807"),
            (&anchored, "/architecture/network/n_max", "18446744073709551615"),
            (&anchored, "/architecture/anchor/input", "1"),
            (&anchored, "/architecture/settings/max_noise", "0.0"),
            (&anchored, "/architecture/settings/schedule/slope", "-1.0"),
            (&noise, "/architecture/positions", r#"[{"log":false,"mean":[0.0],"sd":[1.0]}]"#),
            (&noise, "/latent/prior", "[]"),
        ] {
            let changed = described(bytes, |json| {
                *json.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) =
                    serde_json::from_str(value).unwrap();
            });
            assert!(TrainedModel::from_bytes(&changed).is_err(), "{pointer} = {value}");
        }
    }
}
