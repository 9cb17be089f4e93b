//! A program and its arguments, as people write them.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::fields::TextOrList;
use super::names::Names;
use super::probe::{FileKind, Probe, Stat};
use crate::error::{Error, Result};

/// A program and its arguments: a list, or one text that is split at its spaces and at nothing
/// else. There is no shell, so quotes, variables and pipes mean nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Argv(pub Vec<String>);

impl Serialize for Argv {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Argv {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let argv = if deserializer.is_human_readable() {
            let (is_text, texts) = deserializer.deserialize_any(TextOrList)?;
            if let Some(sign) =
                texts.first().filter(|_| is_text).and_then(|text| sign_of_shell(text))
            {
                return Err(D::Error::custom(format!(
                    "`{sign}` means something to a shell, and none reads this: write a list, such as \
                     `[sh, -c, \"…\"]`"
                )));
            }
            let words = texts.iter().flat_map(|text| text.split_ascii_whitespace());
            if is_text { words.map(str::to_owned).collect() } else { texts }
        } else {
            Vec::deserialize(deserializer)?
        };
        if argv.first().is_none_or(String::is_empty) {
            return Err(D::Error::custom("a command needs a program"));
        }
        Ok(Self(argv))
    }
}

#[cfg(feature = "cli")]
impl schemars::JsonSchema for Argv {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Argv".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        super::fields::text_or_list(
            "a program and its arguments: a list, or a text split at its spaces",
        )
    }
}

/// Refuses a program that is there and that nobody may execute.
///
/// # Errors
/// When no bit of its mode lets anybody execute the program.
pub(super) fn check_executable(program: &str, probe: &dyn Probe) -> Result<()> {
    if !program.starts_with('/') {
        return Ok(());
    }
    let stat = probe.stat(&Names::of(probe).target(program))?;
    let cannot = |stat: Stat| stat.kind == FileKind::File && stat.mode & 0o111 == 0;
    if stat.is_some_and(cannot) {
        return Err(Error::failed(format!("nobody may execute `{program}`"))
            .hint("declare the file with `mode: \"0755\"`"));
    }
    Ok(())
}

/// A sign in a command that only a shell would understand.
fn sign_of_shell(text: &str) -> Option<&str> {
    let is_sign = |word: &&str| {
        let bare = word.trim_start_matches(|c: char| c.is_ascii_digit());
        matches!(*word, "&&" | "||" | "|" | "&" | ";")
            || word.ends_with(';')
            || bare.starts_with(['>', '<'])
            || word.starts_with(['\'', '"', '`'])
            || word.contains("$(")
            || word.contains("=\"")
            || word.contains("='")
    };
    text.split_ascii_whitespace().find(is_sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_at_spaces_only() {
        let read = |text: &str| serde_json::from_str::<Argv>(text).map(|argv| argv.0);
        assert_eq!(read("\"nginx  -t\"").unwrap(), ["nginx", "-t"]);
        assert_eq!(read("[\"touch\", \"a b\"]").unwrap(), ["touch", "a b"]);
        let error = read("\"\"").unwrap_err().to_string();
        assert!(error.starts_with("a command needs a program"), "{error}");
        assert_eq!(read("\"grep a&b a|b x>y 2024\"").unwrap().len(), 5);
        for sign in [
            "&&",
            "||",
            "|",
            "&",
            ";",
            "x;",
            ">",
            ">>/dev/null",
            "2>&1",
            "<in",
            "'a",
            "$(id)",
            "`id`",
        ] {
            let error = read(&format!("\"echo a {sign} b\"")).unwrap_err().to_string();
            let message =
                format!("`{sign}` means something to a shell, and none reads this: write a list");
            assert!(error.starts_with(&message), "{error}");
        }
    }
}
