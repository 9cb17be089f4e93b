//! From a role's resources as written to resources of the manifest: conditions, loops, blocks,
//! templates, and the reading of each spec.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::derived::Comparison;
use super::engine::Failure;
use super::links::{Linked, links};
use super::origin;
use super::role::{Body, Item, Role};
use super::rounds::rounds;
use super::scope::{Local, Scope};
use super::spelling::number;
use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::inventory::Project;
use crate::manifest::Resource;
use crate::resources::{Spec, primary_field};
use crate::secret::{Scrubber, Secret};
use crate::secrets::Secrets;
use crate::yaml::{self, Entry, Map, Node};
use minijinja::Value;

/// The only fields that may hold secrets. All others end in arguments of programs, in files that
/// everybody can read, or in reports.
const CONFIDENTIAL: &[(&str, &[&str])] = &[
    ("command", &["env", "stdin"]),
    ("file", &["content", "template"]),
    ("git", &["credential"]),
    ("postgresql_role", &["password"]),
    ("user", &["password_hash"]),
];

/// The permission bit by which any user may read a file.
const READABLE_BY_ALL: u32 = 0o004;

/// The rounds of all loops of one server, at most. Real servers have some hundred resources.
const MOST_ROUNDS: usize = 20_000;

/// How long the resources of one server may take to be put together.
const LONGEST: Duration = Duration::from_mins(1);

/// The content of all files of one server, at most, in bytes: a manifest is sent in whole.
const MOST_BYTES: usize = 256 * 1024 * 1024;

/// The work that one server may still cause, whose repository may be a stranger's.
pub(super) struct Budget {
    rounds: usize,
    bytes: Cell<usize>,
    until: Instant,
    is_spent: Cell<bool>,
}

impl Budget {
    /// The work for one server.
    pub(super) fn new() -> Self {
        let until = Instant::now() + LONGEST;
        Self {
            rounds: MOST_ROUNDS,
            bytes: Cell::new(MOST_BYTES),
            until,
            is_spent: Cell::new(false),
        }
    }

    /// Takes the rounds of a loop.
    fn take(&mut self, rounds: usize, span: &Span) -> Result<(), Failure> {
        let message = if self.rounds < rounds {
            format!("the loops of this server have more than {MOST_ROUNDS} rounds")
        } else if Instant::now() > self.until {
            format!("the resources of this server take more than {} s", LONGEST.as_secs())
        } else {
            self.rounds -= rounds;
            return Ok(());
        };
        self.is_spent.set(true);
        Err(Box::new(Diagnostic::at(span, message)))
    }

    /// Takes the content of a file.
    fn take_bytes(&self, bytes: usize, span: &Span) -> Result<(), Failure> {
        let Some(rest) = self.bytes.get().checked_sub(bytes) else {
            self.is_spent.set(true);
            let message = format!("the files of this server have more than {MOST_BYTES} bytes");
            return Err(Box::new(Diagnostic::at(span, message)));
        };
        self.bytes.set(rest);
        Ok(())
    }
}

/// Expands the resources of one role.
pub(super) struct Expansion<'a> {
    /// The key of the outermost loop over a map that is being expanded.
    pub(super) element: Option<String>,
    pub(super) project: &'a Project,
    pub(super) role: &'a Role,
    /// The parameters of the role.
    pub(super) params: &'a Node,
    pub(super) linked: &'a mut Vec<Linked>,
    /// Values that were made from secrets.
    pub(super) derived: &'a mut BTreeSet<Secret>,
    pub(super) mistakes: &'a mut Diagnostics,
    pub(super) budget: &'a mut Budget,
}

impl Expansion<'_> {
    /// Expands `items`. `ambient` are the secrets that loops and `let` around them have used.
    pub(super) fn items(&mut self, items: &[Item], scope: &Arc<Scope>, ambient: &BTreeSet<String>) {
        for item in items {
            if let Err(failure) = self.item(item, scope, ambient) {
                self.mistakes.push(*failure);
            }
        }
    }

    fn item(
        &mut self,
        item: &Item,
        scope: &Arc<Scope>,
        ambient: &BTreeSet<String>,
    ) -> Result<(), Failure> {
        // One mistake says enough.
        if self.budget.is_spent.get() {
            return Ok(());
        }
        scope.secrets().take_used();
        let (rounds, used) = match &item.for_each {
            Some(node) => rounds(node, scope)?,
            None => (vec![BTreeMap::new()], BTreeSet::new()),
        };
        self.budget.take(rounds.len(), &item.span)?;
        if rounds.is_empty() {
            self.untaken(item, scope);
        }
        let mut looped = ambient.clone();
        looped.extend(used);
        for locals in rounds {
            let is_outermost = self.element.is_none();
            self.element = self.element.take().or_else(|| key_of(&locals));
            let scope = if locals.is_empty() { Arc::clone(scope) } else { scope.with(locals) };
            if let Err(failure) = self.round(item, &scope, &looped) {
                self.mistakes.push(*failure);
            }
            self.element = self.element.take().filter(|_| !is_outermost);
            if self.budget.is_spent.get() {
                break;
            }
        }
        Ok(())
    }

    fn round(
        &mut self,
        item: &Item,
        scope: &Arc<Scope>,
        ambient: &BTreeSet<String>,
    ) -> Result<(), Failure> {
        let scope = with_lets(&item.lets, scope)?;
        if let Some(when) = &item.when
            && !holds(scope.expression(when)?, when)?
        {
            self.untaken(item, &scope);
            return Ok(());
        }
        let mut used = ambient.clone();
        used.extend(scope.secrets().take_used());
        match &item.body {
            Body::Block(items) => self.items(items, &scope, &used),
            Body::Resource(entry) => {
                let (spec, is_untraceable) = self.spec(entry, &scope)?;
                used.extend(scope.secrets().take_used());
                if item.guard.is_some() && spec.switches().is_empty() {
                    let kind = spec.kind();
                    let message = format!("a `{kind}` cannot have a `guard`");
                    let mistake = Diagnostic::at(&item.span, message);
                    let hint =
                        "only what infra can put back can be guarded: files and the firewall";
                    return Err(Box::new(mistake.hint(hint)));
                }
                self.linked.push(Linked {
                    requires: links(item.requires.as_ref(), "requires", &scope)?,
                    reload: links(item.reload.as_ref(), "reload", &scope)?,
                    restart: links(item.restart.as_ref(), "restart", &scope)?,
                    span: item.span.clone(),
                    resource: Resource {
                        id: spec.id(),
                        role: self.role.name.clone(),
                        place: item.span.place(),
                        element: self.element.clone(),
                        spec,
                        requires: Vec::new(),
                        reload: Vec::new(),
                        restart: Vec::new(),
                        guard: item.guard,
                        secrets: used.into_iter().collect(),
                        is_untraceable,
                    },
                });
            }
        }
        Ok(())
    }

    /// Reads the spec of a resource, its fields evaluated, and whether a secret is in them that a
    /// search does not find.
    fn spec(&mut self, entry: &Entry, scope: &Arc<Scope>) -> Result<(Spec, bool), Failure> {
        let kind = &*entry.key;
        let map = match (entry.value.as_map(), primary_field(kind)) {
            (Some(map), _) => map.clone(),
            (None, Some(primary)) if entry.value.scalar().is_some() => {
                let field = Entry { key: primary.into(), ..entry.clone() };
                Map { entries: vec![field] }
            }
            _ => return Err(Box::new(entry.value.wrong_kind(kind, "a map of fields"))),
        };
        let confidential = CONFIDENTIAL.iter().find(|(known, _)| *known == kind);
        let confidential = confidential.map(|(_, names)| *names).unwrap_or_default();
        let mut fields = Map::default();
        let mut seen = BTreeSet::new();
        let mut is_untraceable = false;
        for field in &map.entries {
            let evaluated = self.field(kind, field, scope)?;
            let used = scope.secrets().take_used();
            if let (Some(name), false) = (used.first(), confidential.contains(&&*field.key)) {
                let place = place_of_secret(&field.value, scope);
                return Err(Box::new(exposed(field, name, place, kind, confidential)));
            }
            is_untraceable |= self.derive(kind, field, &evaluated, &used, scope);
            seen.extend(used);
            fields.entries.push(evaluated);
        }
        let secret = seen.first().cloned();
        scope.secrets().remember(seen);
        let span = entry.key_span.clone();
        let node = Node { span: span.clone(), value: yaml::Value::Map(Arc::new(fields)) };
        let Some(spec) = Spec::deserialize_kind(kind, &node) else {
            return Err(Box::new(Diagnostic::at(&span, format!("unknown kind `{kind}`"))));
        };
        let placed = |mistake| Box::new(origin::placed(mistake, self.params));
        let mut spec = spec.map_err(|error| placed(error.into_diagnostic(kind, &span)))?;
        spec.validate().map_err(|message| Box::new(Diagnostic::at(&span, message)))?;
        if let Spec::DockerCompose(compose) = &mut spec {
            let read = compose.read_services();
            read.map_err(|message| Box::new(Diagnostic::at(&span, message)))?;
        }
        match (&spec, secret) {
            (Spec::File(file), Some(secret)) if file.mode.0 & READABLE_BY_ALL != 0 => {
                let message = format!("everybody on the server could read the secret `{secret}`");
                let mode = map.entry("mode").map_or(&span, |entry| &entry.value.span);
                let mistake = Diagnostic::at(mode, message);
                Err(Box::new(mistake.hint("give the file a `mode` such as \"0600\" or \"0640\"")))
            }
            _ => Ok((spec, is_untraceable)),
        }
    }

    /// Notes what a field holds that was made from the secrets it uses; returns whether some of
    /// it cannot be found by a search.
    fn derive(
        &mut self,
        kind: &str,
        field: &Entry,
        evaluated: &Entry,
        used: &BTreeSet<String>,
        scope: &Arc<Scope>,
    ) -> bool {
        if used.is_empty() || scope.secrets().are_placeholders() {
            return false;
        }
        let other = scope.secrets().with_others(|| self.field(kind, field, scope));
        scope.secrets().take_used();
        let real: Vec<Secret> = used.iter().filter_map(|name| scope.secrets().get(name)).collect();
        let others: Vec<Secret> = real.iter().map(Secrets::other).collect();
        let mut comparison = Comparison {
            real: &Scrubber::literal(&real),
            other: &Scrubber::literal(&others),
            found: self.derived,
            is_untraceable: false,
        };
        let has_other = |(real, other): (&Secret, &Secret)| real != other || real.is_empty();
        // The evaluation may fail with other values, and some values have no other.
        match other {
            Ok(other) if real.iter().zip(&others).all(has_other) => {
                comparison.nodes(&evaluated.value, &other.value);
            }
            _ => comparison.whole(&evaluated.value),
        }
        comparison.is_untraceable
    }

    /// One field, evaluated; `template` and `source` of a file become its `content`.
    fn field(&self, kind: &str, field: &Entry, scope: &Arc<Scope>) -> Result<Entry, Failure> {
        let content = |value: yaml::Value| {
            let span = field.value.span.clone();
            Entry {
                key: "content".into(),
                key_span: field.key_span.clone(),
                value: Node { span, value },
            }
        };
        match (kind, &*field.key) {
            ("file" | "docker_compose", "template") => {
                let name = scope.evaluate(&field.value)?;
                let path = self.find("templates", &name)?;
                let text = scope.template(&path, &field.value)?;
                self.budget.take_bytes(text.len(), &field.value.span)?;
                Ok(content(yaml::Value::String(text.into())))
            }
            ("file" | "docker_compose", "source") => {
                let name = scope.evaluate(&field.value)?;
                let path = self.find("files", &name)?;
                let bytes = self.project.bytes(&path);
                let bytes = bytes.map_err(|mistake| mistake.placed(&field.value.span))?;
                let bytes = bytes.unwrap_or_default();
                self.budget.take_bytes(bytes.len(), &field.value.span)?;
                Ok(content(match String::from_utf8(bytes) {
                    Ok(text) => yaml::Value::String(text.into()),
                    Err(error) => yaml::Value::Bytes(error.into_bytes().into()),
                }))
            }
            _ => Ok(Entry { value: scope.evaluate(&field.value)?, ..field.clone() }),
        }
    }

    /// The path of a role's own file, or of a shared template.
    pub(super) fn find(&self, folder: &str, name: &Node) -> Result<String, Failure> {
        let text = name.scalar().unwrap_or_default();
        if text.is_empty() || text.starts_with('/') || text.split('/').any(|part| part == "..") {
            let message = format!("`{text}` is not a name below `{folder}/`");
            return Err(Box::new(Diagnostic::at(&name.span, message)));
        }
        let own = format!("roles/{}/{folder}/{text}", self.role.name);
        let shared = format!("templates/{text}");
        if self.project.has_file(&own) {
            return Ok(own);
        }
        if folder == "templates" && self.project.has_file(&shared) {
            return Ok(shared);
        }
        let known = self.project.names(&format!("roles/{}/{folder}", self.role.name));
        let known = known.unwrap_or_default();
        let mistake = Diagnostic::at(&name.span, format!("`{own}` is not there"));
        Err(Box::new(mistake.suggest(text, known.iter().map(String::as_str))))
    }
}

/// Evaluates the values of a `let` in order and adds them to the scope. One that holds a secret is
/// evaluated again wherever it is used, so that only those who use it count as holding the secret.
pub(super) fn with_lets(lets: &[Entry], scope: &Arc<Scope>) -> Result<Arc<Scope>, Failure> {
    let mut scope = Arc::clone(scope);
    for entry in lets {
        let before = scope.secrets().take_used();
        let value = match entry.value.as_str() {
            Some(text) => scope.text(text, &entry.value)?,
            None => scope.lazy(&entry.value),
        };
        let holds_secret = !scope.secrets().take_used().is_empty();
        scope.secrets().remember(before);
        let local = if holds_secret {
            Local::Node(entry.value.clone(), Arc::clone(&scope))
        } else {
            Local::Value(value)
        };
        scope = scope.with(BTreeMap::from([(entry.key.to_string(), local)]));
    }
    Ok(scope)
}

/// The innermost value in `node` that holds a secret, which may be behind a parameter.
fn place_of_secret<'n>(node: &'n Node, scope: &Arc<Scope>) -> &'n Span {
    let holds_secret = |node: &Node| {
        scope.secrets().take_used();
        // A value that cannot be evaluated alone is no place to show.
        scope.evaluate(node).is_ok() && !scope.secrets().take_used().is_empty()
    };
    let inner = match &node.value {
        yaml::Value::Map(map) => {
            map.entries.iter().map(|entry| &entry.value).find(|node| holds_secret(node))
        }
        yaml::Value::List(list) => list.iter().find(|node| holds_secret(node)),
        _ => None,
    };
    inner.map_or(&node.span, |node| place_of_secret(node, scope))
}

/// The mistake of a secret where others can read it.
fn exposed(
    field: &Entry,
    secret: &str,
    place: &Span,
    kind: &str,
    confidential: &[&str],
) -> Diagnostic {
    let message = format!("the secret `{secret}` may not be in `{}`", field.key);
    let mistake = Diagnostic::at(place, message).because(
        "arguments of programs, names and most files can be read by everybody on the server",
    );
    let names: Vec<String> = confidential.iter().map(|name| format!("`{name}`")).collect();
    match kind {
        "command" | "git" => mistake.hint(format!("pass it in {}", names.join(" or "))),
        "cron" => mistake.hint("put it into a `file` that only its user can read"),
        "systemd_unit" => mistake.hint(
            "put it into a `file` that only root can read, and name that as `EnvironmentFile`",
        ),
        _ => mistake,
    }
}

/// Whether a `when` holds. A text always does in Jinja, also one that YAML 1.1 took for `false`.
fn holds(value: Value, when: &Node) -> Result<bool, Failure> {
    let value = number(value);
    let said = value.as_str().unwrap_or_default();
    if ["no", "off", "false"].iter().any(|word| said.eq_ignore_ascii_case(word)) {
        let message = format!("`when` is the text `{said}`, which counts as true");
        return Err(Box::new(
            Diagnostic::at(&when.span, message).hint("write `false` where that is set"),
        ));
    }
    Ok(value.is_true())
}

/// The key of a round over a map; none where it is made of secrets.
fn key_of(locals: &BTreeMap<String, Local>) -> Option<String> {
    match locals.get("key") {
        Some(Local::Value(key)) => key.as_str().map(str::to_owned),
        _ => None,
    }
}
