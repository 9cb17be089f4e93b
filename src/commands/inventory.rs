//! `infra inventory`: what is declared, and where.

use serde_json::json;

use crate::cli::Context;
use crate::compile::Compiler;
use crate::exit_code::ExitCode;
use crate::inventory::{Inventory, Server};
use crate::report::{self, Format};
use crate::shown;
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
    /// Servers, groups, patterns such as `web-*`, or `all`.
    #[arg(required = true, value_name = "SERVER")]
    servers: Vec<String>,
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
    let inventory = Inventory::load(&context.project()?, false, &[])?;
    report::print(&match context.output {
        Format::Human | Format::Markdown => list_for_people(&inventory),
        Format::Json => list_as_json(&inventory),
    })?;
    Ok(ExitCode::Done)
}

fn list_for_people(inventory: &Inventory) -> String {
    let servers = inventory.servers.values().map(|server| {
        [server.name.clone(), server.groups.join(", "), shown::line(&server.description)]
    });
    let mut text = table(["SERVER", "GROUPS", "DESCRIPTION"], servers);
    let groups = inventory.groups.iter().map(|(name, group)| {
        [name.clone(), group.servers.join(", "), shown::line(&group.description)]
    });
    if groups.len() > 0 {
        text.push('\n');
        text.push_str(&table(["GROUP", "SERVERS", "DESCRIPTION"], groups));
    }
    text
}

/// Columns as wide as their widest cell; two spaces between.
fn table(head: [&str; 3], rows: impl Iterator<Item = [String; 3]>) -> String {
    let rows: Vec<[String; 3]> = [head.map(str::to_owned)].into_iter().chain(rows).collect();
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let (first, second) = (width(0), width(1));
    let line = |[a, b, c]: &[String; 3]| {
        let line = format!("{a:first$}  {b:second$}  {c}");
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect::<Vec<_>>().concat()
}

fn list_as_json(inventory: &Inventory) -> String {
    let servers = inventory.servers.values().map(|server| {
        let roles: Vec<&str> = server.roles.iter().map(|role| role.name.as_str()).collect();
        json!({
            "server": server.name, "description": server.description, "groups": server.groups,
            "roles": roles, "host": server.ssh.host,
        })
    });
    let groups = inventory.groups.iter().map(|(name, group)| {
        json!({ "group": name, "description": group.description, "servers": group.servers })
    });
    servers.chain(groups).map(|object| report::json_line(&object)).collect()
}

impl Show {
    fn run(&self, context: &Context) -> anyhow::Result<ExitCode> {
        let input = Input::load(&self.input, context)?;
        let compiler = Compiler::new(&input.project, &input.inventory, &input.store);
        let names = input.inventory.select(&self.servers)?;
        let mut documents = Vec::new();
        for name in &names {
            let Some(server) = input.inventory.servers.get(name) else { continue };
            let roles = compiler.params(server)?;
            documents.push(match context.output {
                Format::Human | Format::Markdown if names.len() == 1 => {
                    self.document(server, &roles)
                }
                Format::Human | Format::Markdown => {
                    format!("# {name}\n{}", self.document(server, &roles))
                }
                Format::Json => self.object(server, &roles),
            });
        }
        let between = if context.output == Format::Human { "\n" } else { "" };
        report::print(&documents.join(between))?;
        Ok(ExitCode::Done)
    }

    fn document(&self, server: &Server, roles: &[(String, Node)]) -> String {
        let mut lines = vec![Line::new("vars:")];
        write(&server.vars, 2, &mut lines);
        lines.push(Line::new(if roles.is_empty() { "roles: {}" } else { "roles:" }));
        for (role, params) in roles {
            lines.push(Line::new(format!("  {role}:")));
            write(params, 4, &mut lines);
        }
        self.join(&lines)
    }

    fn object(&self, server: &Server, roles: &[(String, Node)]) -> String {
        let roles: serde_json::Map<_, _> =
            roles.iter().map(|(role, params)| (role.clone(), self.json(params))).collect();
        let vars = self.json(&server.vars);
        report::json_line(&json!({ "server": server.name, "vars": vars, "roles": roles }))
    }

    /// The lines, with their origins in a column of their own if they are wanted.
    fn join(&self, lines: &[Line]) -> String {
        /// A longer line pushes its own origin aside, not those of all others.
        const WIDEST: usize = 60;
        let widths = lines.iter().map(|line| line.text.chars().count());
        let width = widths.filter(|width| *width <= WIDEST).max().unwrap_or_default();
        let join = |line: &Line| match &line.origin {
            Some(origin) if self.origin => format!("{:width$}  # {origin}\n", line.text),
            _ => format!("{}\n", line.text),
        };
        lines.iter().map(join).collect::<Vec<_>>().concat()
    }

    /// A value, or an object of each single value and its origin if that is wanted.
    fn json(&self, node: &Node) -> serde_json::Value {
        let value = match &node.value {
            Value::Map(map) => {
                let entries = map.entries.iter();
                let entries = entries.map(|entry| (entry.key.to_string(), self.json(&entry.value)));
                return serde_json::Value::Object(entries.collect());
            }
            Value::List(list) => return list.iter().map(|element| self.json(element)).collect(),
            Value::Bool(yes) => json!(yes),
            // `0644` and `8.10` would not survive as numbers.
            Value::Integer(number, text) if number.to_string() == **text => json!(number),
            Value::Float(number, text) if number.to_string() == **text => json!(number),
            Value::Null => json!(null),
            _ => json!(node.scalar()),
        };
        if self.origin { json!({ "value": value, "origin": node.span.place() }) } else { value }
    }
}

/// A line of YAML and where its value comes from.
struct Line {
    text: String,
    origin: Option<String>,
}

impl Line {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), origin: None }
    }
}

/// Writes a value behind the key or dash that ends the last line.
fn write(node: &Node, indent: usize, lines: &mut Vec<Line>) {
    let pad = " ".repeat(indent);
    match &node.value {
        Value::Map(map) if !map.entries.is_empty() => {
            for entry in &map.entries {
                lines.push(Line::new(format!("{pad}{}:", quoted(&entry.key))));
                write(&entry.value, indent + 2, lines);
            }
        }
        Value::List(list) if !list.is_empty() => {
            for element in list.iter() {
                lines.push(Line::new(format!("{pad}-")));
                write(element, indent + 2, lines);
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
            if let Some(line) = lines.last_mut() {
                line.text = format!("{} {value}", line.text);
                // An empty map that nobody wrote has no place.
                let is_written = !node.span.range.is_empty();
                line.origin = is_written.then(|| node.span.place());
            }
        }
    }
}

/// A text as YAML reads it back: as it is where that is safe, else in double quotes.
fn quoted(text: &str) -> String {
    /// Booleans and nothing, for those who still read YAML 1.1 as well.
    const WORDS: &[&str] = &["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = |c: char| c.is_alphanumeric() || "_./@-".contains(c);
    let is_word = text.starts_with(|c: char| c.is_alphabetic() || c == '/')
        && text.chars().all(plain)
        && !WORDS.contains(&text.to_lowercase().as_str());
    if is_word {
        text.to_owned()
    } else {
        report::json_text(&serde_json::Value::from(text).to_string())
    }
}
