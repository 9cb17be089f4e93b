//! `infra inventory`: what is declared, and where.

use crate::cli::Context;
use crate::compile::Compiler;
use crate::exit_code::ExitCode;
use crate::report;
use crate::yaml::{Node, Value};

use super::input::{Input, InputArgs};

/// The arguments of `infra inventory`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List servers and groups (the default)
    List,
    /// Print the variables and the roles' parameters of a server, merged
    Show(Show),
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The server.
    #[arg(value_name = "SERVER")]
    server: String,
    /// Say behind each value which file and line it comes from.
    #[arg(long)]
    origin: bool,
    #[command(flatten)]
    input: InputArgs,
}

/// Runs the subcommand.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    match &args.command {
        None | Some(Command::List) => list(context),
        Some(Command::Show(show)) => show.run(context),
    }
}

fn list(context: &Context) -> anyhow::Result<ExitCode> {
    let input = Input::load(&InputArgs { lab: false, set: Vec::new() }, context)?;
    let servers = &input.inventory.servers;
    let width = servers.keys().chain(input.inventory.groups.keys()).map(String::len).max();
    let width = width.unwrap_or_default();
    let mut text = String::new();
    for server in servers.values() {
        let groups: Vec<String> = server.groups.iter().map(|group| format!("@{group}")).collect();
        let line = format!("{:width$}  {}  {}", server.name, server.description, groups.join(" "));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    for (name, group) in &input.inventory.groups {
        let line = format!("@{name:width$}  {}: {}", group.description, group.servers.join(", "));
        text.push_str(line.trim_end().trim_end_matches(':'));
        text.push('\n');
    }
    report::print(&text)?;
    Ok(ExitCode::Done)
}

impl Show {
    fn run(&self, context: &Context) -> anyhow::Result<ExitCode> {
        let input = Input::load(&self.input, context)?;
        let compiler = Compiler::new(&input.project, &input.inventory, &input.store);
        let mut text = String::new();
        for name in input.inventory.select(std::slice::from_ref(&self.server))? {
            let Some(server) = input.inventory.servers.get(&name) else { continue };
            text.push_str("vars:");
            self.write(&server.vars, 2, &mut text);
            text.push_str("roles:\n");
            for (role, params) in compiler.params(server)? {
                text.extend(["  ", &role, ":"]);
                self.write(&params, 4, &mut text);
            }
        }
        report::print(&text)?;
        Ok(ExitCode::Done)
    }

    /// Writes a value behind its key, as YAML, with where it comes from if that is wanted.
    fn write(&self, node: &Node, indent: usize, text: &mut String) {
        let pad = " ".repeat(indent);
        match &node.value {
            Value::Map(map) if !map.entries.is_empty() => {
                text.push('\n');
                for entry in &map.entries {
                    text.extend([pad.as_str(), &quoted(&entry.key), ":"]);
                    self.write(&entry.value, indent + 2, text);
                }
            }
            Value::List(list) if !list.is_empty() => {
                text.push('\n');
                for element in list.iter() {
                    text.extend([pad.as_str(), "-"]);
                    self.write(element, indent + 2, text);
                }
            }
            other => {
                let value = match other {
                    Value::Map(_) => "{}".to_owned(),
                    Value::List(_) => "[]".to_owned(),
                    Value::Null => "null".to_owned(),
                    Value::String(value) => quoted(value),
                    _ => node.scalar().unwrap_or_default().to_owned(),
                };
                text.extend([" ", &value]);
                if self.origin {
                    text.extend(["  # ", &node.span.place()]);
                }
                text.push('\n');
            }
        }
    }
}

/// A text as YAML reads it back: as it is where that is safe, else in double quotes.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_./@-".contains(c);
    let word = text.starts_with(|c: char| c.is_alphabetic() || c == '/')
        && text.chars().all(plain)
        && !matches!(text, "true" | "false" | "null");
    if word { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}
