//! Sizes as people write them.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes, written `2 GB` (decimal) or `2 GiB` (binary).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// As many decimals has a size that is no whole number of a unit.
const MOST_DECIMALS: usize = 3;

/// In the largest unit that gives a whole number, else with few decimals; equal sizes are written alike.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units: [(u64, &str); 6] = [
            (1_000_000_000, "GB"),
            (1 << 30, "GiB"),
            (1_000_000, "MB"),
            (1 << 20, "MiB"),
            (1_000, "kB"),
            (1 << 10, "KiB"),
        ];
        match units.iter().find(|(factor, _)| self.0 > 0 && self.0.is_multiple_of(*factor)) {
            Some((factor, unit)) => write!(f, "{} {unit}", self.0 / factor),
            None => match self.decimal() {
                Some(text) => f.write_str(&text),
                None => write!(f, "{} B", self.0),
            },
        }
    }
}

impl Size {
    /// The shortest decimal that is read back as this size, to the byte.
    #[expect(clippy::cast_precision_loss, reason = "what is not read back is not taken")]
    fn decimal(self) -> Option<String> {
        let units: [(u64, &str); 5] = [
            (1 << 40, "TiB"),
            (1_000_000_000, "GB"),
            (1 << 30, "GiB"),
            (1_000_000, "MB"),
            (1 << 20, "MiB"),
        ];
        for decimals in 1..=MOST_DECIMALS {
            for (factor, unit) in units {
                let text = format!("{:.decimals$} {unit}", self.0 as f64 / factor as f64);
                if self.0 >= factor / 10 && parse_size(&text) == Ok(self.0) {
                    return Some(text);
                }
            }
        }
        None
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            parse_size(&String::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
        } else {
            u64::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(feature = "cli")]
impl schemars::JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "a size such as \"2 GB\" or \"512 MiB\"",
        })
    }
}

/// Bytes of `2 GB`, `500MB`, `1.5 GiB`; a plain number is bytes.
///
/// # Errors
/// Says that it is no size.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(format!("`{text}` is not a size such as `2 GB`")),
    };
    let wrong = || format!("`{text}` is not a size such as `2 GB`");
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(wrong);
    }
    let number: f64 = number.parse().map_err(|_| wrong())?;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a fraction of a unit is meant roughly, and is never negative"
    )]
    Ok((number * factor as f64) as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_decimal_is_read_back(thousandths in any::<u32>(), unit in 0_usize..4) {
            let unit = ["MB", "MiB", "GiB", "TiB"][unit];
            let (whole, rest) = (thousandths / 1000, thousandths % 1000);
            let bytes = parse_size(&format!("{whole}.{rest:03} {unit}")).unwrap();
            prop_assert_eq!(parse_size(&Size(bytes).to_string()), Ok(bytes));
        }

        #[test]
        fn a_size_is_read_back(bytes in any::<u64>(), factor in 0_u32..40) {
            let size = Size(bytes >> factor << factor);
            prop_assert_eq!(parse_size(&size.to_string()), Ok(size.0));
        }
    }

    #[test]
    fn reads_sizes() {
        assert_eq!(parse_size("2 GB"), Ok(2_000_000_000));
        assert_eq!(parse_size("1.5GiB"), Ok(1_610_612_736));
        assert_eq!(parse_size("512"), Ok(512));
        assert_eq!(parse_size("big"), Err("`big` is not a size such as `2 GB`".to_owned()));
        assert_eq!(parse_size("2 G"), Err("`2 G` is not a size such as `2 GB`".to_owned()));
    }

    #[test]
    fn writes_equal_sizes_alike() {
        for text in ["2 GB", "1500 MB", "1 GiB", "512 MiB", "4 KiB", "1025 B", "0 B"] {
            assert_eq!(parse_size(text).map(|bytes| Size(bytes).to_string()), Ok(text.into()));
        }
        assert_eq!(Size(1_073_741_824).to_string(), "1 GiB");
        for text in ["1.9 GiB", "2.7 TiB", "1.333 GiB", "100.1 MiB", "1048 B", "12345678 B"] {
            assert_eq!(parse_size(text).map(|bytes| Size(bytes).to_string()), Ok(text.into()));
        }
        assert_eq!(Size(2_040_109_465).to_string(), "1.9 GiB");
    }
}
