//! Cuts: whatever ends a run early, nothing is half done, nothing is forgotten, and the next run
//! goes on from there. On the Rufus of `tests/rufus.rs`.
//!
//! A run is cut at one of the boundaries of what it changes (before or behind a resource, behind a
//! reload), each of them as likely as any other, or some milliseconds later. How many cuts in the
//! longer run: `INFRA_FAULT_CUTS`. Which: `INFRA_FAULT_SEED`, printed.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::LabServer;
use crate::support::lab_server::text;

/// How many cuts a run of all tests makes: each of [`KINDS`] once.
const CUTS: usize = KINDS.len();

/// The seed of the sample that runs with all tests: a failure there comes again. The longer run
/// takes another one each time.
const SAMPLE: usize = 2651;

/// On how many servers at once many runs are cut.
const SERVERS: usize = 4;

/// What ends a run early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    KillAgent,
    KillSsh,
    KillClient,
    Interrupt,
    FillState,
    FillConfiguration,
    FreezeAgent,
    FreezeCommand,
    DropNetwork,
}

/// Every kind, by how often it is chosen; the network takes its time-out of a minute each.
const KINDS: [Cut; 15] = [
    Cut::KillAgent,
    Cut::KillSsh,
    Cut::KillClient,
    Cut::Interrupt,
    Cut::FillState,
    Cut::FillConfiguration,
    Cut::FreezeAgent,
    Cut::KillAgent,
    Cut::KillSsh,
    Cut::KillClient,
    Cut::Interrupt,
    Cut::KillAgent,
    Cut::FreezeCommand,
    Cut::FillState,
    Cut::DropNetwork,
];

/// The other state that the runs go to and come back from: files of several services, one of them
/// and the firewall guarded, a unit, a site that goes with its pool and comes back.
const OTHER: &[&str] = &[
    "base.ssh.max_auth_tries=5",
    "base.firewall.allow=[{port: 8443}]",
    "nginx.worker_connections=2048",
    "postgresql.max_connections=50",
    "php-app.apps.\"flus.fr\".upload_mb=12",
    "php-app.apps.\"flus.fr\".workers.jobs.stop_seconds=61",
    "php-app.apps.\"flus.io\".pool.max_children=9",
    "php-app.apps.\"websub.flus.io\"=null",
];

/// Where all that the two states differ in is kept.
const LISTING: &str = "cd / && find etc/ssh/sshd_config.d etc/nftables.conf etc/nginx etc/php etc/postgresql etc/systemd/system srv/*/shared/.env \
     \\( -type f -exec sha256sum {} + \\) , \\( -type l -printf '%l  %p\\n' \\) 2>/dev/null";

/// Selects the programs that the agent has started.
const CHILDREN: &str = "-P \"$(pgrep -d, -f ^/var/lib/infra/agent/)\"";

/// A sequence of numbers that is the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

/// What one cut came to.
struct Cutting<'a> {
    rufus: &'a LabServer,
    /// The files of the two states, by their path: a hash, or where a link points.
    states: [BTreeMap<String, String>; 2],
}

pub(crate) fn survives_cuts(rufus: &LabServer) {
    survives(rufus, CUTS, setting("INFRA_FAULT_SEED").unwrap_or(SAMPLE));
}

/// Cuts as many runs as the environment says, on several servers side by side: most of the time
/// goes by in waiting for services.
pub(crate) fn survives_many_cuts(up: impl Fn(usize) -> LabServer + Sync) {
    let cuts = setting("INFRA_FAULT_CUTS").unwrap_or(200);
    let seed = setting("INFRA_FAULT_SEED").unwrap_or(std::process::id() as usize);
    std::thread::scope(|scope| {
        for number in 0..SERVERS {
            let up = &up;
            scope.spawn(move || survives(&up(number), cuts.div_ceil(SERVERS), seed + number));
        }
    });
}

#[expect(clippy::print_stdout, reason = "what a failed run is repeated with")]
fn survives(rufus: &LabServer, cuts: usize, seed: usize) {
    println!("{cuts} cuts, INFRA_FAULT_SEED={seed}");
    let mut dice = Dice(seed as u64 | 1);
    rufus.shell(&sql(
        "create table canary_of_cuts (row int); insert into canary_of_cuts values (7)",
    ));
    converge(rufus, false);
    let first = listing(rufus);
    let boundaries = boundaries(rufus, true);
    let cutting = Cutting { rufus, states: [first, listing(rufus)] };
    println!("{boundaries} boundaries");
    assert!(boundaries > 25, "the two states differ in little");
    let mut is_other = true;
    for number in 0..cuts {
        let kind = KINDS[number % KINDS.len()];
        let event = dice.below(boundaries);
        let wait = Duration::from_millis([0, 0, 3, 20, 150][dice.below(5)]);
        let goes_on = dice.below(3) > 0;
        println!(
            "seed {seed}, cut {number}: {kind:?} at event {event} + {wait:?}, to {}",
            u8::from(!is_other)
        );
        cutting.cut(kind, !is_other, event, wait);
        is_other ^= goes_on;
        cutting.holds(is_other);
    }
    converge(rufus, false);
    assert_eq!(rufus.shell(&sql("drop table canary_of_cuts")), "");
}

fn setting(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

/// The arguments that lead to one of the two states.
fn arguments(other: bool) -> Vec<&'static str> {
    OTHER.iter().filter(|_| other).flat_map(|set| ["--set", set]).collect()
}

fn sql(line: &str) -> String {
    format!("cd / && runuser -u postgres -- psql --quiet -d flus_demo -At -c '{line}' 2>&1")
}

fn converge(rufus: &LabServer, other: bool) {
    let (mut code, mut said) = rufus.apply(&arguments(other));
    if said.contains("what a run that was cut left unproved was put back just now") {
        (code, said) = rufus.apply(&arguments(other));
    }
    assert_eq!(code, 0, "{said}");
}

/// Goes to a state without a cut, and counts the boundaries on the way.
fn boundaries(rufus: &LabServer, other: bool) -> usize {
    let more = ["apply", "rufus", "--lab", "--yes", "--output", "json"];
    let output = rufus.infra(&[&more, arguments(other).as_slice()].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout).lines().filter(|line| is_boundary(line)).count()
}

/// Whether a line of the report tells of something that changes.
fn is_boundary(line: &str) -> bool {
    let told = ["applying", "service_done", "rolled_back"];
    let is = |event: &str| line.contains(&format!("\"event\":\"{event}\""));
    told.into_iter().any(is) || is("applied") && line.contains("\"outcome\":\"changed\"")
}

fn listing(rufus: &LabServer) -> BTreeMap<String, String> {
    let lines = rufus.shell(LISTING);
    let pairs = lines.lines().filter_map(|line| line.split_once("  "));
    pairs.map(|(value, path)| (path.to_owned(), value.to_owned())).collect()
}

impl Cutting<'_> {
    /// Starts a run to a state and cuts it.
    fn cut(&self, kind: Cut, other: bool, event: usize, wait: Duration) {
        let folder = match kind {
            Cut::FillState => Some("/var/lib/infra"),
            Cut::FillConfiguration => Some("/etc/nginx"),
            _ => None,
        };
        if let Some(folder) = folder {
            // A small file system of its own, so that it can be filled.
            self.shell(&format!(
                "mkdir -p /run/small && mount -t tmpfs -o size=12m tmpfs /run/small && \
                 cp -a {folder}/. /run/small/ && mount --bind /run/small {folder}"
            ));
        }
        let mut client = self.client(other);
        let reached = wait_for_event(&mut client, event);
        std::thread::sleep(wait);
        self.act(kind, &mut client);
        if kind == Cut::FreezeAgent {
            self.is_locked(reached);
            self.shell("pkill -CONT -f ^/var/lib/infra/agent/");
        }
        end(&mut client, Duration::from_mins(2));
        if kind == Cut::DropNetwork {
            self.network("up");
        }
        if let Some(folder) = folder {
            self.shell(&format!(
                "rm -f {folder}/filler; while pgrep -f ^/var/lib/infra/agent/ >/dev/null; do sleep 0.1; done; \
                 umount {folder} && rm -rf {folder}.full && mv {folder} {folder}.full && \
                 cp -a /run/small {folder} && rm -rf {folder}.full && umount /run/small"
            ));
        }
    }

    fn client(&self, other: bool) -> Child {
        let more = ["apply", "rufus", "--lab", "--yes", "--output", "json"];
        let mut command = self.rufus.command(&[&more, arguments(other).as_slice()].concat());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    fn act(&self, kind: Cut, client: &mut Child) {
        match kind {
            Cut::KillAgent => {
                self.shell("pkill -KILL -f ^/var/lib/infra/agent/");
            }
            Cut::KillSsh => self.kill_masters(),
            Cut::KillClient => client.kill().unwrap(),
            Cut::Interrupt => {
                let pid = rustix::process::Pid::from_child(client);
                // It may have ended by itself.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
            }
            Cut::FillState => {
                self.shell("dd if=/dev/zero of=/var/lib/infra/filler bs=512 2>/dev/null");
            }
            Cut::FillConfiguration => {
                self.shell("dd if=/dev/zero of=/etc/nginx/filler bs=512 2>/dev/null");
            }
            Cut::FreezeAgent => {
                self.shell("pkill -STOP -f ^/var/lib/infra/agent/");
                client.kill().unwrap();
            }
            Cut::FreezeCommand => {
                // In the end its time-out does the same. It may be sshd that is frozen, so that only
                // one connection is sure to get in.
                self.shell(&format!("pkill -STOP {CHILDREN}; sleep 1; pkill -KILL {CHILDREN}"));
            }
            Cut::DropNetwork => self.network("down"),
        }
    }

    /// While a frozen agent holds the lock, others are told who it is. Nothing holds it if the
    /// run had not begun, or was over.
    fn is_locked(&self, reached: bool) {
        let is_there = !self.shell("pgrep -f ^/var/lib/infra/agent/").is_empty();
        if !is_there || !reached {
            return;
        }
        let (code, said) = self.rufus.apply(&["--set", "nginx.worker_connections=99"]);
        assert_eq!(code, 5, "{said}");
        assert!(said.contains("the server is locked by "), "{said}");
    }

    /// Ends the ssh processes that lead to this server, as a crash of theirs would.
    fn kill_masters(&self) {
        let address = format!("@{}", self.rufus.address());
        for process in std::fs::read_dir("/proc").unwrap() {
            let process = process.unwrap();
            let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            let line = text(&line);
            if line.starts_with("ssh") && line.contains(&address[1..]) {
                let pid = rustix::process::Pid::from_raw(pid).unwrap();
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }

    /// Takes the server's port of the bridge up or down.
    fn network(&self, state: &str) {
        let neighbor = std::process::Command::new("ip")
            .args(["-o", "neigh", "show", self.rufus.address()])
            .output()
            .unwrap();
        let neighbor = text(&neighbor.stdout);
        let bridge = neighbor.split_whitespace().skip_while(|word| *word != "dev").nth(1).unwrap();
        for port in std::fs::read_dir(format!("/sys/class/net/{bridge}/brif")).unwrap() {
            let port = port.unwrap().file_name();
            let link = ["link", "set", "dev"];
            let mut ip = std::process::Command::new("ip");
            let done = ip.args(link).arg(&port).arg(state).status().unwrap();
            assert!(done.success(), "{} {state}", port.display());
        }
    }

    fn shell(&self, line: &str) -> String {
        self.rufus.shell(line)
    }

    /// Everything that has to hold after a cut, however it came.
    fn holds(&self, other: bool) {
        // An agent that lost its laptop ends at the next resource; with it its lock is gone.
        let ended = self.shell(
            "for i in $(seq 600); do pgrep -f ^/var/lib/infra/agent/ >/dev/null || break; \
             sleep 0.1; done; pgrep -f ^/var/lib/infra/agent/",
        );
        assert_eq!(ended, "", "the agent goes on for more than a minute");
        // No file is half of anything: each is as in one of the two states.
        let found = listing(self.rufus);
        for (path, value) in &found {
            let known = self.states.iter().any(|state| state.get(path) == Some(value));
            // The last is what puts a guarded change back at boot.
            let is_own = path.contains("/.infra-") || path.contains("/infra-guard-boot");
            assert!(known || is_own, "`{path}` is {value}");
        }
        // The next run goes on from there, and after it there is nothing to do.
        converge(self.rufus, other);
        let mut args = vec!["diff", "rufus", "--lab"];
        args.extend(arguments(other));
        let plan = self.rufus.infra(&args);
        assert_eq!(plan.status.code(), Some(0), "{}", text(&plan.stdout));
        assert_eq!(listing(self.rufus), self.states[usize::from(other)]);
        self.has_reloaded(other);
        assert_eq!(self.shell(&sql("select * from canary_of_cuts")), "7");
        assert_eq!(self.shell("find / -xdev -name '.infra-*' -not -path '*/.git/*'"), "");
        assert_eq!(self.shell("ls /var/lib/infra/guard"), "");
        assert_eq!(self.shell("systemctl --failed --no-legend --plain"), "");
    }

    /// The services run with what is in their files: no reload was lost.
    fn has_reloaded(&self, other: bool) {
        let stale = self.shell(
            "for pair in ssh:/etc/ssh/sshd_config.d nginx:/etc/nginx php8.2-fpm:/etc/php/8.2/fpm \
                 flus-fr-jobs:/etc/systemd/system/flus-fr-jobs.service; do \
               unit=${pair%%:*}; path=${pair#*:}; \
               since=$(systemctl show -P StateChangeTimestamp --timestamp=unix $unit); \
               newest=$(find $path -type f -printf '%T@\\n' | cut -d. -f1 | sort -n | tail -n 1); \
               [ ${since#@} -ge $newest ] || echo $unit has not read $path; \
             done",
        );
        assert_eq!(stale, "");
        let opened = self.shell("nft list ruleset | grep -c 8443");
        assert_eq!(opened == "0", !other, "the firewall opens 8443 {opened} times");
        let connections = self.shell(&sql("show max_connections"));
        assert_eq!(connections, if other { "50" } else { "40" });
        for name in ["flus.fr", "demo.flus.fr"] {
            let page = self.rufus.page(name, "/about");
            assert!(page.contains(&format!("{name} v1")), "{page}");
        }
    }
}

/// Reads what the client tells until it has told `count` things about applying.
fn wait_for_event(client: &mut Child, count: usize) -> bool {
    let stdout = client.stdout.take().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    // The rest is read as well, so that the client never waits for its reader.
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if is_boundary(&line) {
                // Nobody listens any more after the cut.
                let _ = sender.send(());
            }
        }
    });
    (0..=count).all(|_| receiver.recv_timeout(Duration::from_mins(1)).is_ok())
}

fn end(client: &mut Child, limit: Duration) {
    let deadline = Instant::now() + limit;
    while client.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the client does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}
