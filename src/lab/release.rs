//! The releases of Debian that a server of the lab can be.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A release of Debian.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
pub enum Release {
    /// Bookworm.
    #[default]
    #[serde(rename = "debian-12")]
    #[value(name = "debian-12")]
    Debian12,
    /// Trixie.
    #[serde(rename = "debian-13")]
    #[value(name = "debian-13")]
    Debian13,
}

impl Release {
    /// Every release, oldest first.
    pub const ALL: [Self; 2] = [Self::Debian12, Self::Debian13];

    /// The release called `name`, for example `debian-12`.
    ///
    /// # Errors
    /// When the lab cannot make it.
    pub fn named(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|release| release.name() == name).ok_or_else(|| {
            let names: Vec<String> =
                Self::ALL.iter().map(|release| format!("`{release}`")).collect();
            Error::input(format!("the lab cannot make a server of `{name}`"))
                .hint(format!("it can make {}", names.join(" and ")))
        })
    }

    /// As the inventory writes it: `debian-12`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debian12 => "debian-12",
            Self::Debian13 => "debian-13",
        }
    }

    /// As Debian's archive names it.
    pub fn codename(self) -> &'static str {
        match self {
            Self::Debian12 => "bookworm",
            Self::Debian13 => "trixie",
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_found_by_name() {
        assert_eq!(Release::named("debian-13"), Ok(Release::Debian13));
        assert_eq!(
            Release::named("debian-7").unwrap_err().to_string(),
            "the lab cannot make a server of `debian-7`\n\
             hint: it can make `debian-12` and `debian-13`"
        );
    }
}
