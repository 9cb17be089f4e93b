//! A plan in a file: what was compiled, and what was seen of the servers then.
//!
//! The text holds the values of secrets. It is written only encrypted, to those who may read the
//! secrets of every server in it, and only sealed, with a key that the same people alone have.

mod seen;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::inventory::SshSettings;
use crate::manifest::Manifest;
use crate::secrets::{Folder, PLANS_FILE, PlanKey};
use crate::transport::agent::AGENTS;
use crate::wire::RunOptions;

pub use seen::Seen;

/// Grows when the text changes its form.
const FORMAT: u32 = 3;

/// The part of a plan that every build can read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    infra_plan: u32,
    build: String,
    /// The maker: `user@laptop`.
    pub who: String,
    /// The git commit of the project, with `-dirty` if the work tree differed.
    pub commit: Option<String>,
    /// When it was made, in seconds since 1970.
    pub made: u64,
    /// When it may not be applied any more, in seconds since 1970.
    pub expires: u64,
    /// Whether it is about servers of the lab.
    pub is_lab: bool,
}

/// The manifest of one server, and the look at the server at the same time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedServer {
    /// The state that the server should have.
    pub manifest: Manifest,
    /// The state that the server had, and the changes that were due.
    pub seen: Seen,
    /// How it was reached.
    pub way: Way,
}

/// How a server was reached: a plan for one is no plan for what else has its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    host: String,
    port: Option<u16>,
    user: Option<String>,
    host_keys: Vec<String>,
}

impl From<&SshSettings> for Way {
    fn from(settings: &SshSettings) -> Self {
        Self {
            host: settings.host.clone(),
            port: settings.port,
            user: settings.user.clone(),
            host_keys: settings.host_keys.clone(),
        }
    }
}

impl Way {
    /// The settings that differ, each with its values then and now.
    pub fn differences(&self, now: &Self) -> Vec<(&'static str, String, String)> {
        let said = |value: Option<&str>| value.unwrap_or("(nothing)").to_owned();
        let port = |way: &Self| said(way.port.map(|port| port.to_string()).as_deref());
        let keys =
            |way: &Self| said(Some(&*way.host_keys.join(", ")).filter(|keys| !keys.is_empty()));
        let settings = [
            ("ssh.host", self.host.clone(), now.host.clone()),
            ("ssh.port", port(self), port(now)),
            ("ssh.user", said(self.user.as_deref()), said(now.user.as_deref())),
            ("ssh.host_key", keys(self), keys(now)),
        ];
        settings.into_iter().filter(|(_, then, now)| then != now).collect()
    }
}

/// A plan that can be applied later, if nothing has changed by then.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedPlan {
    /// Where it comes from.
    pub header: Header,
    /// How the run goes about its work.
    pub options: RunOptions,
    /// The servers.
    pub servers: Vec<SavedServer>,
}

impl SavedPlan {
    /// A plan made by this build, which may be applied from `made` to `expires`, both in seconds
    /// since 1970.
    pub fn new(
        options: RunOptions,
        servers: Vec<SavedServer>,
        (made, expires): (u64, u64),
        is_lab: bool,
    ) -> Self {
        let (who, commit) = (options.who.clone(), options.commit.clone());
        let (infra_plan, build) = (FORMAT, build());
        let header = Header { infra_plan, build, who, commit, made, expires, is_lab };
        Self { header, options, servers }
    }

    /// The text to encrypt: a line for every build, a line for this build, and their seal.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub fn text(&self, key: &PlanKey) -> Result<Zeroizing<String>> {
        let failed = |error: &dyn std::fmt::Display| {
            Error::failed("cannot write the plan down").because(error)
        };
        let head = serde_json::to_string(&self.header).map_err(|error| failed(&error))?;
        let untraceable: Vec<Vec<bool>> =
            self.servers.iter().map(|server| untraceable(&server.manifest)).collect();
        let body = postcard::to_stdvec(&(&self.options, &self.servers, untraceable));
        let body = Zeroizing::new(body.map_err(|error| failed(&error))?);
        let mut text = Zeroizing::new(head);
        text.push('\n');
        STANDARD.encode_string(&*body, &mut text);
        let seal = key.seal(text.as_bytes());
        text.push('\n');
        STANDARD.encode_string(seal, &mut text);
        Ok(text)
    }

    /// The plan in a decrypted text; `path` is the file for messages. Nothing of the text is used
    /// before `key` has proved that a reader of the key made the plan.
    ///
    /// # Errors
    /// If it is something else, was made by somebody else, or by another build.
    pub fn parse(path: &str, text: &[u8], key: &PlanKey) -> Result<Self> {
        let end = text.iter().rposition(|byte| *byte == b'\n').ok_or_else(|| no_plan(path))?;
        let (text, seal) = (&text[..end], &text[end + 1..]);
        let seal = STANDARD.decode(seal).unwrap_or_default();
        if !key.is_seal(text, &seal) {
            return Err(forged(path));
        }
        let end = text.iter().position(|byte| *byte == b'\n');
        let (head, body) = text.split_at(end.ok_or_else(|| no_plan(path))?);
        let header: Header = serde_json::from_slice(head).map_err(|_| no_plan(path))?;
        if (header.infra_plan, &header.build) != (FORMAT, &build()) {
            return Err(Error::input(format!("`{path}` was made by another build of infra"))
                .because(format!("it was made by {}, and this is {}", header.build, build()))
                .hint("apply it with that build, or make it again with this one"));
        }
        let body = STANDARD.decode(&body[1..]).map(Zeroizing::new).map_err(|_| no_plan(path))?;
        let (options, mut servers, untraceable): (RunOptions, Vec<SavedServer>, Vec<Vec<bool>>) =
            postcard::from_bytes(&body).map_err(|_| no_plan(path))?;
        for (server, untraceable) in servers.iter_mut().zip(untraceable) {
            for (resource, yes) in server.manifest.resources.iter_mut().zip(untraceable) {
                resource.is_untraceable = yes;
            }
        }
        Ok(Self { header, options, servers })
    }
}

/// Of each resource, whether its texts are hidden whole. A manifest leaves it out, because servers
/// have no use for it; who applies a plan has to hide what who made it hid.
fn untraceable(manifest: &Manifest) -> Vec<bool> {
    manifest.resources.iter().map(|resource| resource.is_untraceable).collect()
}

/// The error for a plan that no reader of the key made.
fn forged(path: &str) -> Error {
    let key = Folder::shown(PLANS_FILE);
    Error::input(format!("nobody who makes plans for this project made `{path}`"))
        .because(format!("its seal was not made with the key in `{key}`"))
        .hint(
            "do not apply it; if it is your own, the key has changed since: make it again with \
             `infra diff TARGET --out FILE`",
        )
}

/// The error for a file that is something else.
pub fn no_plan(path: &str) -> Error {
    Error::input(format!("`{path}` is not a saved plan"))
        .hint("`infra diff TARGET --out FILE` saves one")
}

/// A text that tells this build from others: its version and its agents.
fn build() -> String {
    let mut hash = Sha256::new();
    for agent in AGENTS {
        hash.update(agent.sha256);
    }
    let hash = format!("{:x}", hash.finalize());
    format!("{}+{}", env!("CARGO_PKG_VERSION"), &hash[..12])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::error::Kind;
    use crate::events::{Event, Mark, Outcome};
    use crate::manifest::{Expect, Resource, ResourceId};
    use crate::resources::{Change, Spec};

    pub(super) fn plan() -> SavedPlan {
        let mut seen = Seen::default();
        let id = ResourceId::new("file", "/etc/motd");
        let outcome = Outcome::Changed(Change::Remove);
        seen.add(&Event::Checked { id, outcome, mark: Some(Mark::Undeclared) });
        seen.add(&Event::PlanComplete);
        let manifest = Manifest {
            server: "rufus".to_owned(),
            expect: Expect::default(),
            resources: vec![hidden()],
            secrets: BTreeMap::new(),
        };
        let options = RunOptions { who: "ana@laptop".to_owned(), ..RunOptions::default() };
        let settings = SshSettings { host: "rufus".to_owned(), ..SshSettings::default() };
        let servers = vec![SavedServer { manifest, seen, way: Way::from(&settings) }];
        SavedPlan::new(options, servers, (7, 9), false)
    }

    /// A resource whose texts are not to be shown.
    fn hidden() -> Resource {
        let command = r#"{ "name": "a", "run": ["a"], "unless": ["b"] }"#;
        Resource {
            id: ResourceId::new("command", "a"),
            role: "demo".to_owned(),
            place: "roles/demo/role.yaml:1".to_owned(),
            element: None,
            spec: Spec::Command(serde_json::from_str(command).unwrap()),
            requires: Vec::new(),
            reload: Vec::new(),
            restart: Vec::new(),
            guard: None,
            secrets: vec!["smtp.password".to_owned()],
            is_untraceable: true,
        }
    }

    #[test]
    fn survives_its_text() {
        let plan = plan();
        let key = PlanKey::of_lab();
        let text = plan.text(&key).unwrap();
        assert_eq!(SavedPlan::parse("plan", text.as_bytes(), &key).unwrap(), plan);
    }

    #[test]
    fn refuses_what_is_something_else() {
        let key = PlanKey::of_lab();
        for text in ["", "smtp: x", "{}\n"] {
            let sealed = format!("{text}\n{}", STANDARD.encode(key.seal(text.as_bytes())));
            let error = SavedPlan::parse("plan", sealed.as_bytes(), &key).unwrap_err();
            assert_eq!(
                error.to_string(),
                "`plan` is not a saved plan\nhint: `infra diff TARGET --out FILE` saves one",
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_what_another_key_sealed() {
        let key = PlanKey::of_lab();
        let other = PlanKey::new(&[7; 32]);
        let text = plan().text(&key).unwrap();
        let own = SavedPlan::parse("plan", text.as_bytes(), &other).unwrap_err();
        assert_eq!(
            own.to_string(),
            "nobody who makes plans for this project made `plan`\n\
             caused by: its seal was not made with the key in `secrets/plans.yaml.age`\n\
             hint: do not apply it; if it is your own, the key has changed since: make it again \
             with `infra diff TARGET --out FILE`"
        );
        let lines: Vec<&str> = text.lines().collect();
        let (changed, seal) = (text.replacen("ana@", "eve@", 1), lines[2]);
        let swapped = format!("{}\n{}\n{seal}", lines[1], lines[0]);
        let unsealed = format!("{}\n{}", lines[0], lines[1]);
        let cut = &text[..text.len() - 9];
        for text in [changed.as_str(), &swapped, &unsealed, cut, "smtp:\n  password: x\n", "\n"] {
            let error = SavedPlan::parse("plan", text.as_bytes(), &key).unwrap_err();
            assert_eq!(error, own, "{text}");
        }
    }

    #[test]
    fn another_build_is_told_apart() {
        let mut plan = plan();
        plan.header.build = "0.0.9+0123456789ab".to_owned();
        let key = PlanKey::of_lab();
        let text = plan.text(&key).unwrap();
        let error = SavedPlan::parse("plan", text.as_bytes(), &key).unwrap_err();
        assert_eq!(error.kind, Kind::Input);
        assert_eq!(
            error.to_string(),
            format!(
                "`plan` was made by another build of infra\n\
                 caused by: it was made by 0.0.9+0123456789ab, and this is {}\n\
                 hint: apply it with that build, or make it again with this one",
                build()
            )
        );
    }
}
