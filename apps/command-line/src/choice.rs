//! Arguments that are one of the named choices of a library.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use tallsbi::data::Named;

/// Parses the name of a kind of `T`; help lists all kinds with what they are.
pub fn choice<T: Named + Clone + Send + Sync + 'static>() -> impl TypedValueParser<Value = T> {
    let values = T::choices().into_iter().map(|choice| PossibleValue::new(choice.name).help(choice.about));
    PossibleValuesParser::new(values).map(|name| T::from_name(&name).expect("the name of a choice"))
}
