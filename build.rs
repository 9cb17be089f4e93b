//! Builds the agent and leaves it, compressed, where `src/transport/agent.rs` embeds it.
//!
//! The agent is the binary `infra-agent` of this package without the feature `cli`, static
//! against musl, in a target folder of its own. Every build embeds the agent for both processors
//! that Debian servers have, where their targets are installed, so that the tests run the same agents as a release.
//!
//! `INFRA_WITHOUT_AGENT=1` leaves it out, for checks in an editor or where only the offline
//! commands matter; what connects to a server then ends with an error that says so.

use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

/// What the agent is made of. A change anywhere else does not build it again.
const SOURCES: &[&str] = &[
    "build.rs",
    "Cargo.lock",
    "Cargo.toml",
    "src/agent",
    "src/date.rs",
    "src/error.rs",
    "src/events.rs",
    "src/lib.rs",
    "src/manifest.rs",
    "src/resources",
    "src/secret",
    "src/size.rs",
    "src/wire.rs",
];

/// What cargo and clippy set for this script and what would change the build of the agent, or
/// make it check instead of build. Settings of the user's own (proxies, registries, linkers) stay.
const FOREIGN_ENVIRONMENT: &[&str] = &[
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_INCREMENTAL",
    "CARGO_TARGET_DIR",
    "CLIPPY_ARGS",
    "CLIPPY_CONF_DIR",
    "RUSTC",
    "RUSTC_LINKER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "TARGET",
];

/// The processors that Debian servers have, as `uname -m` says them.
const PROCESSORS: [&str; 2] = ["x86_64", "aarch64"];

/// A processor, and the target to build its agent with.
type Wanted = (String, Option<String>);

/// An agent that was built.
struct Agent {
    /// As `uname -m` on the server says it.
    arch: String,
    sha256: String,
    gzip: PathBuf,
}

fn main() -> io::Result<()> {
    for source in SOURCES {
        println!("cargo:rerun-if-changed={source}");
    }
    println!("cargo:rerun-if-env-changed=INFRA_WITHOUT_AGENT");
    // The build of the agent runs this script as well.
    if env::var_os("CARGO_FEATURE_CLI").is_none() {
        return Ok(());
    }
    let out = PathBuf::from(variable("OUT_DIR")?);
    let mut agents = Vec::new();
    if env::var("INFRA_WITHOUT_AGENT").is_ok_and(|value| value == "1") {
        println!("cargo:warning=without an agent (INFRA_WITHOUT_AGENT): cannot reach servers");
    } else {
        for (arch, binary) in build(&out, &targets()?)? {
            agents.push(compress(&out, arch, &binary)?);
        }
    }
    fs::write(out.join("agents.rs"), table(&agents))
}

/// The processors to build for, each with its target; `None` stands for the build machine's own.
fn targets() -> io::Result<Vec<Wanted>> {
    let own = variable("CARGO_CFG_TARGET_ARCH")?;
    let mut wanted = PROCESSORS.map(str::to_owned).to_vec();
    if !wanted.contains(&own) {
        wanted.push(own.clone());
    }
    let mut targets = Vec::new();
    for arch in wanted {
        let target = format!("{arch}-unknown-linux-musl");
        if is_installed(&target)? {
            targets.push((arch, Some(target)));
        } else if arch == own {
            println!(
                "cargo:warning=the target {target} is not installed (`rustup target add {target}`): \
                 embedding an agent for the build machine, which may not run on other systems"
            );
            targets.push((arch, None));
        } else {
            println!(
                "cargo:warning=the target {target} is not installed (`rustup target add {target}`): \
                 this build cannot serve servers with {arch} processors"
            );
        }
    }
    Ok(targets)
}

/// Whether the compiler has a standard library for `target`.
fn is_installed(target: &str) -> io::Result<bool> {
    let output = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--print", "target-libdir", "--target", target])
        .output()?;
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(output.status.success() && !folder.is_empty() && Path::new(&folder).is_dir())
}

/// Builds the agents with a cargo of their own and returns each processor's binary.
fn build(out: &Path, wanted: &[Wanted]) -> io::Result<Vec<(String, PathBuf)>> {
    let profile = if variable("PROFILE")? == "release" { "agent" } else { "agent-dev" };
    // Beside the build folders of this package, `<target>/<profile>/build/infra-<hash>/out`:
    // check, clippy and build have one each, and the agent need not be built for each.
    let target_dir = out.ancestors().nth(3).unwrap_or(out).join("agent");
    // One call for all targets: what runs on the build machine, such as macros, is built once.
    let targets: Vec<&str> = wanted.iter().filter_map(|(_, target)| target.as_deref()).collect();
    if !targets.is_empty() {
        run_cargo(&target_dir, profile, &targets)?;
    }
    if wanted.iter().any(|(_, target)| target.is_none()) {
        run_cargo(&target_dir, profile, &[])?;
    }
    let binary = |(arch, target): &Wanted| {
        let folder = target.as_ref().map_or(target_dir.clone(), |name| target_dir.join(name));
        (arch.clone(), folder.join(profile).join("infra-agent"))
    };
    Ok(wanted.iter().map(binary).collect())
}

/// Runs cargo on the agent for `targets`; none stands for the build machine's own.
fn run_cargo(target_dir: &Path, profile: &str, targets: &[&str]) -> io::Result<()> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--bin", "infra-agent", "--no-default-features"])
        .args(["--profile", profile, "--target-dir"])
        .arg(target_dir);
    if Path::new("Cargo.lock").exists() {
        cargo.arg("--locked");
    }
    for (name, _) in env::vars_os() {
        if is_foreign(&name) {
            cargo.env_remove(name);
        }
    }
    let host = variable("HOST")?;
    for target in targets {
        cargo.args(["--target", target]);
        let linker = format!("CARGO_TARGET_{}_LINKER", target.replace('-', "_").to_uppercase());
        // The C compiler of the build machine links for nothing else than that machine. Nothing
        // in the agent is written in C, so the linker that comes with Rust is enough.
        let arch = target.split('-').next().unwrap_or_default();
        let is_native = host.starts_with(&format!("{arch}-unknown-linux"));
        if !is_native && env::var_os(&linker).is_none() {
            cargo.env(linker, "rust-lld");
        }
    }
    let status = cargo.status()?;
    if !status.success() {
        return Err(io::Error::other(format!("building the agent failed: {status}")));
    }
    Ok(())
}

/// Whether a variable of the environment belongs to the build around this one.
fn is_foreign(name: &OsString) -> bool {
    let Some(name) = name.to_str() else { return false };
    let prefixes = ["CARGO_CFG_", "CARGO_FEATURE_", "CARGO_MANIFEST_", "CARGO_PKG_", "DEP_"];
    FOREIGN_ENVIRONMENT.contains(&name) || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// Compresses an agent; the same binary gives the same bytes.
fn compress(out: &Path, arch: String, binary: &Path) -> io::Result<Agent> {
    let bytes = fs::read(binary)?;
    let gzip = out.join(format!("agent-{arch}.gz"));
    let mut encoder =
        flate2::GzBuilder::new().write(fs::File::create(&gzip)?, flate2::Compression::best());
    encoder.write_all(&bytes)?;
    encoder.finish()?;
    let sha256 = format!("{:x}", Sha256::digest(&bytes));
    Ok(Agent { arch, sha256, gzip })
}

/// The Rust source that embeds the agents.
fn table(agents: &[Agent]) -> String {
    let mut source = String::from("[\n");
    for Agent { arch, sha256, gzip } in agents {
        let gzip = gzip.display().to_string();
        // Writing to a String cannot fail.
        let _ = writeln!(
            source,
            "    Agent {{ arch: {arch:?}, sha256: {sha256:?},  \
             gzip: include_bytes!({gzip:?}) }},"
        );
    }
    source.push_str("]\n");
    source
}

/// A variable that cargo sets for every build script.
fn variable(name: &str) -> io::Result<String> {
    env::var(name).map_err(|error| io::Error::other(format!("{name}: {error}")))
}
