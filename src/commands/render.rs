//! `infra render`: prints what a server's inventory compiles to.

use crate::cli::Context;
use crate::compile::Compiler;
use crate::exit_code::ExitCode;
use crate::report::{self, Format};
use crate::secret::{MASK, Scrubber, Secret};

use super::input::{Input, InputArgs};

/// The arguments of `infra render`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The server.
    #[arg(value_name = "SERVER")]
    server: String,
    #[command(flatten)]
    input: InputArgs,
}

/// Prints the manifest with every secret masked. A resource whose content was made from a secret
/// by a filter cannot be masked by search, so its texts are hidden whole.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    let input = Input::load(&args.input, context)?;
    let names = input.inventory.select(std::slice::from_ref(&args.server))?;
    for name in names {
        let compiler = Compiler::new(&input.project, &input.inventory, &input.store);
        let manifest = compiler.compile(&name, None)?;
        let mut document = serde_json::to_value(&manifest.resources)?;
        if let Some(resources) = document.as_array_mut() {
            for (value, resource) in resources.iter_mut().zip(&manifest.resources) {
                let secrets = resource.secrets.iter();
                let secrets: Vec<_> =
                    secrets.filter_map(|name| manifest.secrets.get(name)).collect();
                mask(value, &secrets);
            }
        }
        let text = match context.output {
            Format::Json => serde_json::to_string(&document)? + "\n",
            Format::Human => serde_yaml::to_string(&document)?,
        };
        report::print(&text)?;
    }
    Ok(ExitCode::Done)
}

/// Fields that say what a resource is and not what it holds: never made from a secret that the
/// compiler lets pass.
const PLAIN: &[&str] =
    &["id", "role", "place", "path", "owner", "group", "mode", "state", "secrets"];

/// Masks `secrets` in every text below `value`; those that occur nowhere were transformed, and
/// then every text may hold one of them.
fn mask(value: &mut serde_json::Value, secrets: &[&Secret]) {
    if secrets.is_empty() {
        return;
    }
    let text = value.to_string();
    let is_transformed = secrets.iter().any(|secret| {
        let escaped = serde_json::Value::from(secret.expose()).to_string();
        !text.contains(escaped.trim_matches('"'))
    });
    let scrubber = Scrubber::new(secrets.iter().copied());
    walk(value, &|text| if is_transformed { MASK.to_owned() } else { scrubber.scrub(text) });
}

fn walk(value: &mut serde_json::Value, change: &dyn Fn(&str) -> String) {
    match value {
        serde_json::Value::String(text) => *text = change(text),
        serde_json::Value::Array(list) => list.iter_mut().for_each(|item| walk(item, change)),
        serde_json::Value::Object(map) => {
            let held = map.iter_mut().filter(|(key, _)| !PLAIN.contains(&key.as_str()));
            held.for_each(|(_, item)| walk(item, change));
        }
        _ => {}
    }
}
