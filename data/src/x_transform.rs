//! How observations enter a network.

use crate::{DataError, Result};
use serde::{Deserialize, Serialize};

/// How observations enter a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XTransform {
    /// As they are.
    #[default]
    Identity,
    /// As log x; every observation is positive.
    Log,
}

impl XTransform {
    /// Its name in files: "identity" or "log".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Log => "log",
        }
    }
}

impl std::str::FromStr for XTransform {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "identity" => Ok(Self::Identity),
            "log" => Ok(Self::Log),
            other => Err(DataError::XTransform(other.to_owned())),
        }
    }
}
