//! The facts of a server, as text and as JSON.

use serde_json::json;

use super::Format;
use super::json::json_line;
use crate::resources::Facts;
use crate::shown;

/// The facts of a server.
pub fn facts(server: &str, facts: &Facts, format: Format) -> String {
    if format == Format::Json {
        return json_line(&json!({"event": "facts", "server": server, "facts": facts}));
    }
    let megabytes = |bytes: u64| format!("{} MB", bytes / (1 << 20));
    let lines = [
        ("os", facts.os.clone()),
        ("codename", facts.codename.clone()),
        ("arch", facts.arch.clone()),
        ("hostname", facts.hostname.clone()),
        ("cpus", facts.cpus.to_string()),
        ("memory", megabytes(facts.memory_bytes)),
        ("disk", megabytes(facts.disk_bytes)),
    ];
    let lines =
        lines.map(|(name, value)| format!("  {:10}{}\n", format!("{name}:"), shown::name(&value)));
    format!("{server}:\n{}", lines.concat())
}
