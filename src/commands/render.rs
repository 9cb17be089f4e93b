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

/// Prints the manifest with every secret masked. Where a secret cannot be found because a filter
/// changed it, the texts of the resource are hidden whole.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    let input = Input::load(&args.input, context)?;
    let names = input.inventory.select(std::slice::from_ref(&args.server))?;
    for name in names {
        let compiler = Compiler::new(&input.project, &input.inventory, &input.store);
        let manifest = compiler.compile(&name, None)?;
        let mut document = serde_json::to_value(&manifest.resources)?;
        let scrubber = Scrubber::new(manifest.secrets.values());
        if let Some(resources) = document.as_array_mut() {
            for (value, resource) in resources.iter_mut().zip(&manifest.resources) {
                let secrets = resource.secrets.iter();
                let secrets: Vec<_> =
                    secrets.filter_map(|name| manifest.secrets.get(name)).collect();
                mask(value, &secrets, &scrubber, resource.is_untraceable);
            }
        }
        let text = match context.output {
            Format::Json => report::json_line(&document),
            Format::Human | Format::Markdown => serde_yaml::to_string(&document)?,
        };
        report::print(&text)?;
    }
    Ok(ExitCode::Done)
}

/// Shorter secrets occur in any text by accident and are not searched for.
const SHORTEST: usize = 4;

/// Fields that say what a resource is and not what it holds: the compiler lets no secret in.
const PLAIN: &[&str] = &["path", "name", "owner", "group", "mode", "state"];

/// Masks secrets in the fields of a resource. If one of its own `secrets` cannot be found in it,
/// because it is short or was transformed, or `is_untraceable` says that one is in it in another
/// form as well, every field may hold it and is hidden whole.
fn mask(
    resource: &mut serde_json::Value,
    secrets: &[&Secret],
    scrubber: &Scrubber,
    is_untraceable: bool,
) {
    if secrets.is_empty() {
        return;
    }
    let text = resource.to_string();
    let is_hidden = is_untraceable
        || secrets.iter().any(|secret| {
            let escaped = serde_json::Value::from(secret.expose()).to_string();
            let escaped = &escaped[1..escaped.len() - 1];
            secret.expose().len() < SHORTEST || !text.contains(escaped)
        });
    let change = |text: &str| if is_hidden { MASK.to_owned() } else { scrubber.scrub(text) };
    let kinds = resource["spec"].as_object_mut().into_iter().flat_map(|spec| spec.values_mut());
    let fields = kinds.filter_map(serde_json::Value::as_object_mut).flatten();
    for (name, field) in fields {
        if !PLAIN.contains(&name.as_str()) {
            walk(field, &change);
        }
    }
}

fn walk(value: &mut serde_json::Value, change: &dyn Fn(&str) -> String) {
    match value {
        serde_json::Value::String(text) => *text = change(text),
        serde_json::Value::Array(list) => list.iter_mut().for_each(|item| walk(item, change)),
        serde_json::Value::Object(map) => map.values_mut().for_each(|item| walk(item, change)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(secret: &str, content: &str, is_untraceable: bool) -> serde_json::Value {
        let mut resource = serde_json::json!({
            "id": "command:a",
            "spec": { "Command": { "name": "a", "env": { "path": content }, "unless": ["true"] } },
        });
        let secret = Secret::new(secret);
        mask(&mut resource, &[&secret], &Scrubber::new([&secret]), is_untraceable);
        resource["spec"]["Command"].take()
    }

    #[test]
    fn masks_what_it_finds_and_hides_the_rest() {
        let found = serde_json::json!({
            "name": "a", "env": { "path": "x=(secret)" }, "unless": ["true"],
        });
        assert_eq!(masked("hunter2", "x=hunter2", false), found);
        let hidden = serde_json::json!({
            "name": "a", "env": { "path": "(secret)" }, "unless": ["(secret)"],
        });
        assert_eq!(masked("hunter2", "x=aHVudGVyMg==", false), hidden);
        assert_eq!(masked("pw", "x=pw", false), hidden);
        assert_eq!(masked("hunter2", "x=hunter2 y=2", true), hidden);
    }
}
