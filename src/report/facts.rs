//! The facts of a server, as text and as JSON.

use serde_json::json;

use super::Format;
use super::terminal::escape;
use crate::resources::Facts;

/// What a server is.
pub fn facts(server: &str, facts: &Facts, format: Format) -> String {
    if format == Format::Json {
        let line = json!({"event": "facts", "server": server, "facts": facts});
        return format!("{line}\n");
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
        lines.map(|(name, value)| format!("  {:10}{}\n", format!("{name}:"), escape(&value)));
    format!("{server}:\n{}", lines.concat())
}
