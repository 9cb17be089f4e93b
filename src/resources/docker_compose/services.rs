//! What each service of a Compose file is made from.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::super::names::Names;
use super::super::probe::Probe;
use super::engine::Container;
use crate::error::{Error, Result};

/// What one service is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// A hash of its part of the file, and of what all services share.
    pub digest: String,
    /// Its image.
    pub image: Option<String>,
    /// The files whose lines become its environment, and those whose lines replace variables in
    /// the Compose file.
    pub env_files: Vec<String>,
    /// The folders and files beside the Compose file that it mounts, as they are written there.
    #[serde(default)]
    pub beside: Vec<String>,
    /// Whether it ends once its job is done, and is not started again.
    #[serde(default)]
    pub ends: bool,
}

impl Service {
    /// Whether a container was made from a Compose file in another folder, so that it mounts what is beside
    /// that file.
    ///
    /// # Errors
    /// If what is there is not in `folder`: the service would begin anew without its data.
    pub(super) fn is_elsewhere(
        &self,
        container: &Container,
        folder: &str,
        probe: &dyn Probe,
    ) -> Result<bool> {
        let names = Names::of(probe);
        let of = container.folder.as_str();
        if of.is_empty() || self.beside.is_empty() || names.are_one(of, folder) {
            return Ok(false);
        }
        for path in &self.beside {
            let there = format!("{of}/{path}");
            if probe.exists(&there)? && !probe.exists(&format!("{folder}/{path}"))? {
                let message = format!(
                    "`{there}` of the service `{}` is not in `{folder}`",
                    container.service
                );
                return Err(Error::failed(message)
                    .because("the service would begin anew without it".to_owned())
                    .hint("stop the service, and move it there"));
            }
        }
        Ok(true)
    }

    /// A hash of everything that it is made from, files included.
    pub(super) fn inputs(&self, probe: &dyn Probe) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(self.digest.as_bytes());
        for path in &self.env_files {
            let content = probe.read(path)?.unwrap_or_default();
            hash.update((content.len() as u64).to_le_bytes());
            hash.update(content);
        }
        Ok(format!("{:x}", hash.finalize())[..16].to_owned())
    }
}

#[cfg(feature = "cli")]
pub(super) use read::read;

#[cfg(feature = "cli")]
mod read {
    use std::collections::BTreeMap;

    use serde_yaml::{Mapping, Value};
    use sha2::{Digest as _, Sha256};

    use super::Service;

    /// The services of a Compose file in `folder`.
    ///
    /// # Errors
    /// A lowercase phrase.
    pub(in super::super) fn read(
        text: &str,
        folder: &str,
    ) -> Result<BTreeMap<String, Service>, String> {
        let no_map = |error| format!("the Compose file is no map of YAML: {error}");
        let mut file: Value = serde_yaml::from_str(text).map_err(no_map)?;
        merge(&mut file)?;
        let file: Mapping = serde_yaml::from_value(file).map_err(no_map)?;
        if file.contains_key("include") {
            return Err("`include` in a Compose file is not supported".to_owned());
        }
        let Some(services) = file.get("services").and_then(Value::as_mapping) else {
            return Err("the Compose file has no `services`".to_owned());
        };
        let mut shared = file.clone();
        shared.remove("services");
        shared.remove("version");
        // Whichever part a service takes of an extension belongs to that service by now.
        shared.retain(|key, _| !key.as_str().is_some_and(|key| key.starts_with("x-")));
        let shared = canonical(&Value::Mapping(shared));
        // Compose replaces `$NAME` by what `.env` says; `$$` stands for a dollar.
        let has_variables = text.replace("$$", "").contains('$');
        let mut found = BTreeMap::new();
        for (name, service) in services {
            let name = name.as_str().ok_or("a service of the Compose file has no name")?;
            let Some(service) = service.as_mapping() else {
                return Err(format!("the service `{name}` of the Compose file is no map"));
            };
            for key in ["extends", "profiles"] {
                if service.contains_key(key) {
                    return Err(format!("`{key}` in the service `{name}` is not supported"));
                }
            }
            let mut env_files = env_files(service.get("env_file"), folder);
            if has_variables {
                env_files.push(format!("{folder}/.env"));
            }
            let own = canonical(&Value::Mapping(service.clone()));
            let digest = format!("{:x}", Sha256::digest(format!("{own}\n{shared}")));
            let image = service.get("image").and_then(Value::as_str);
            // A name with a variable cannot be compared.
            let image = image.filter(|image| !image.contains('$')).map(str::to_owned);
            let beside = beside(service.get("volumes"));
            let ends = is_no(service.get("restart")) || is_awaited(name, services);
            found.insert(name.to_owned(), Service { digest, image, env_files, beside, ends });
        }
        Ok(found)
    }

    /// Puts what `<<` names in its place, the innermost first: a map that is merged may merge another one. A
    /// map's own keys count before merged ones, and those of an earlier map before those of a later one.
    ///
    /// The parser refuses values that are nested too deep for this.
    ///
    /// # Errors
    /// A lowercase phrase.
    fn merge(value: &mut Value) -> Result<(), String> {
        match value {
            Value::Mapping(map) => {
                map.values_mut().try_for_each(merge)?;
                let sources = match map.remove("<<") {
                    None => Vec::new(),
                    Some(Value::Sequence(list)) => list,
                    Some(source) => vec![source],
                };
                for source in sources {
                    let Value::Mapping(source) = source else {
                        return Err("`<<` in the Compose file takes maps only".to_owned());
                    };
                    for (key, value) in source {
                        map.entry(key).or_insert(value);
                    }
                }
                Ok(())
            }
            Value::Sequence(list) => list.iter_mut().try_for_each(merge),
            Value::Tagged(tagged) => merge(&mut tagged.value),
            _ => Ok(()),
        }
    }

    /// The relative sources of mounts: `./data:/data`, or a map with a `source`.
    fn beside(volumes: Option<&Value>) -> Vec<String> {
        let volumes = volumes.and_then(Value::as_sequence).into_iter().flatten();
        let source = |volume: &Value| {
            let source = volume.as_str().and_then(|text| text.split(':').next());
            let source = source.or_else(|| volume.get("source")?.as_str())?;
            source.starts_with('.').then(|| source.strip_prefix("./").unwrap_or(source).to_owned())
        };
        volumes.filter_map(source).collect()
    }

    /// `restart: no`, which YAML may take for a truth value.
    fn is_no(restart: Option<&Value>) -> bool {
        restart.is_some_and(|value| value.as_bool() == Some(false) || value.as_str() == Some("no"))
    }

    /// Whether another service begins only after `name` has ended.
    fn is_awaited(name: &str, services: &Mapping) -> bool {
        let awaits = |service: &Value| {
            let condition = service.get("depends_on")?.get(name)?.get("condition")?.as_str();
            Some(condition == Some("service_completed_successfully"))
        };
        services.values().any(|service| awaits(service) == Some(true))
    }

    /// A text, a list of texts, or a list of maps with a `path`.
    fn env_files(value: Option<&Value>, folder: &str) -> Vec<String> {
        let path = |value: &Value| {
            let path = value.as_str().or_else(|| value.get("path")?.as_str())?;
            let path = path.strip_prefix("./").unwrap_or(path);
            Some(if path.starts_with('/') { path.to_owned() } else { format!("{folder}/{path}") })
        };
        match value {
            Some(Value::Sequence(list)) => list.iter().filter_map(path).collect(),
            Some(one) => path(one).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// The same text for the same meaning: keys sorted.
    fn canonical(value: &Value) -> String {
        match value {
            Value::Mapping(map) => {
                let pairs: BTreeMap<String, String> =
                    map.iter().map(|(key, value)| (canonical(key), canonical(value))).collect();
                format!("{pairs:?}")
            }
            Value::Sequence(list) => {
                format!("{:?}", list.iter().map(canonical).collect::<Vec<_>>())
            }
            other => format!("{other:?}"),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        const FILE: &str = "\
services:
  front: { image: front:1, env_file: mail.env, ports: [25] }
  redis: { image: redis:7 }
";

        #[test]
        fn each_service_has_its_own_inputs() {
            let services = read(FILE, "/mailu").unwrap();
            assert_eq!(services["front"].env_files, ["/mailu/mail.env"]);
            assert_eq!(services["redis"].env_files, Vec::<String>::new());
            assert_eq!(services["redis"].image.as_deref(), Some("redis:7"));
            let other = read(&FILE.replace("25", "26"), "/mailu").unwrap();
            assert_ne!(other["front"], services["front"]);
            assert_eq!(other["redis"], services["redis"]);
            let sorted = FILE.replace(
                "image: front:1, env_file: mail.env",
                "env_file: mail.env, image: front:1",
            );
            assert_eq!(read(&sorted, "/mailu").unwrap(), services);
            let networks = format!("{FILE}networks: {{ default: {{ driver: bridge }} }}\n");
            assert_ne!(read(&networks, "/mailu").unwrap()["redis"], services["redis"]);
        }

        #[test]
        fn what_is_merged_into_a_service_is_its_own() {
            let text = "\
x-app: &app { image: app:1, env_file: app.env }
services:
  web: { <<: *app, ports: [80] }
  jobs: { <<: [*app], image: other:1 }
  redis: { image: redis:7 }
";
            let services = read(text, "/srv").unwrap();
            assert_eq!(services["web"].image.as_deref(), Some("app:1"));
            assert_eq!(services["web"].env_files, ["/srv/app.env"]);
            assert_eq!(services["jobs"].image.as_deref(), Some("other:1"));
            assert_eq!(services["jobs"].env_files, ["/srv/app.env"]);
            let newer = read(&text.replace("app:1", "app:2"), "/srv").unwrap();
            assert_ne!(newer["web"], services["web"]);
            assert_eq!(newer["redis"], services["redis"]);
            let plain = "services: { web: { image: app:1, env_file: app.env, ports: [80] } }";
            assert_eq!(read(plain, "/srv").unwrap()["web"], services["web"]);
        }

        #[test]
        fn what_is_merged_may_merge_something_itself() {
            for (text, image, env_file) in [
                (
                    "x-base: &base { image: nginx:1 }\n\
                     x-app: &app { <<: *base, env_file: app.env }\n\
                     services: { web: { <<: *app, ports: [80] } }",
                    "nginx:1",
                    "/srv/app.env",
                ),
                (
                    "x-0: &z { image: nginx:1 }\n\
                     x-a: &a { <<: *z, ports: [80] }\n\
                     x-b: &b { env_file: app.env, image: other }\n\
                     services: { web: { <<: [*a, *b] } }",
                    "nginx:1",
                    "/srv/app.env",
                ),
                (
                    "x-0: &z { image: nginx:1, env_file: base.env }\n\
                     x-a: &a { <<: *z }\n\
                     x-b: &b { <<: [*a], env_file: app.env }\n\
                     services: { web: { <<: *b } }",
                    "nginx:1",
                    "/srv/app.env",
                ),
            ] {
                let services = read(text, "/srv").unwrap();
                assert_eq!(services["web"].image.as_deref(), Some(image), "{text}");
                assert_eq!(services["web"].env_files, [env_file], "{text}");
            }
        }

        #[test]
        fn variables_come_from_a_file_of_their_own() {
            let text = FILE.replace("front:1", "front:$VERSION");
            let services = read(&text, "/mailu").unwrap();
            assert_eq!(services["front"].env_files, ["/mailu/mail.env", "/mailu/.env"]);
            assert_eq!(services["front"].image, None);
            assert_eq!(
                read(&FILE.replace("front:1", "a$$b"), "/").unwrap()["redis"].env_files.len(),
                0
            );
        }

        #[test]
        fn mistakes_are_named() {
            for (text, mistake) in [
                ("- a", "the Compose file is no map of YAML: "),
                ("volumes: {}", "the Compose file has no `services`"),
                ("{ include: [x], services: {} }", "`include` in a Compose file is not supported"),
                ("services: { a: { <<: [1] } }", "`<<` in the Compose file takes maps only"),
                ("services: { a: 1 }", "the service `a` of the Compose file is no map"),
                (
                    "services: { a: { profiles: [x] } }",
                    "`profiles` in the service `a` is not supported",
                ),
            ] {
                let found = read(text, "/x").unwrap_err();
                assert!(found.starts_with(mistake), "{found}");
            }
        }
    }
}
