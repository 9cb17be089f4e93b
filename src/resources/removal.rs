//! What becomes of a resource that is no longer declared.

use serde::{Deserialize, Serialize};

use super::probe::Unit;

/// How a resource goes away once nobody declares it. The host keeps it beside each resource that
/// it manages, so it holds no secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dropped<T> {
    /// What takes it away without losing data, if anything does.
    pub gently: Option<T>,
    /// What takes it away with its data, for `--allow-data-loss`.
    pub with_data: Option<T>,
    /// Why it stays where it is not taken away, as a lowercase phrase. Without one it is not worth
    /// a word.
    pub stays: Option<String>,
}

impl<T> Dropped<T> {
    /// It holds no data: `spec` takes it away.
    pub fn goes(spec: T) -> Self {
        Self { gently: Some(spec), with_data: None, stays: None }
    }

    /// It holds data: `spec` takes it away only if the user allows the loss.
    pub fn stays_unless_allowed(spec: T, because: &str) -> Self {
        Self { gently: None, with_data: Some(spec), stays: Some(because.to_owned()) }
    }

    /// There is nothing to take away, but it stays as it was made.
    pub fn stays(because: &str) -> Self {
        Self { gently: None, with_data: None, stays: Some(because.to_owned()) }
    }

    /// It leaves nothing of its own.
    pub fn leaves_nothing() -> Self {
        Self { gently: None, with_data: None, stays: None }
    }

    /// The same, of a wider type.
    pub fn map<U>(self, wrap: impl Fn(T) -> U) -> Dropped<U> {
        Dropped {
            gently: self.gently.map(&wrap),
            with_data: self.with_data.map(wrap),
            stays: self.stays,
        }
    }
}

/// How a unit was before infra held it in a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitBefore {
    /// Whether it ran.
    pub running: bool,
    /// Whether it was to start at boot.
    pub enabled: bool,
    /// Whether nothing could start it.
    pub masked: bool,
}

impl UnitBefore {
    /// A unit as it is now; `None` if there is none.
    pub(super) fn of(unit: &Unit) -> Option<Self> {
        unit.exists().then(|| Self {
            running: unit.is_active(),
            enabled: unit.unit_file_state.starts_with("enabled"),
            masked: unit.unit_file_state.starts_with("masked"),
        })
    }
}

#[cfg(all(test, feature = "cli"))]
mod tests {
    use serde_yaml::Value;

    use crate::resources::{Dropped, KINDS, Spec, example, primary_field};

    #[test]
    fn every_kind_survives_the_state_file() {
        let mut seen = 0;
        for kind in KINDS {
            let list: Vec<serde_yaml::Mapping> =
                serde_yaml::from_str(example(kind).unwrap()).unwrap();
            for entry in list {
                let fields = entry.get(kind).unwrap().clone();
                let fields = match primary_field(kind) {
                    Some(primary) if !fields.is_mapping() => {
                        Value::Mapping([(Value::from(primary), fields)].into_iter().collect())
                    }
                    _ => fields,
                };
                let spec = Spec::deserialize_kind(kind, fields).unwrap().unwrap();
                let Some(dropped) = spec.dropped() else { continue };
                let text = serde_json::to_string(&dropped).unwrap();
                let back: Dropped<Spec> = serde_json::from_str(&text)
                    .unwrap_or_else(|error| panic!("{kind}: {error}: {text}"));
                assert_eq!(back, dropped, "{kind}");
                seen += 1;
            }
        }
        assert!(seen > KINDS.len() / 2, "{seen} examples");
    }
}
