//! Cuts: after any early end of a run nothing is half done, nothing is forgotten, and the next run
//! finishes the work.
//!
//! A run is cut at one of the boundaries of what it changes (before or behind a resource, behind a
//! reload), each of them as likely as any other, or some milliseconds later. `INFRA_FAULT_CUTS` is
//! the number of cuts of the longer run, and `INFRA_FAULT_SEED`, which is printed, decides where
//! they are.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::server::DEADLINE;
use crate::support::{LabServer, copy, text, wait_until};

crate::tests! {
    the_next_run_finishes_after_an_agent_or_an_ssh_was_killed = 150,
    the_next_run_finishes_after_a_client_ended_or_a_program_froze = 170,
    the_next_run_finishes_after_a_disk_was_full_or_the_network_gone = 200,
    many_cuts = 1800 @ ignored,
}

/// The seed of the sample that runs with all tests: a failure there comes again. The longer run
/// takes another one each time.
const SAMPLE: usize = 2651;

/// On how many servers at once many runs are cut.
const SERVERS: usize = 4;

/// An event that ends a run early.
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

/// The kinds of cuts that are made on the same server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Connection,
    Programs,
    Surroundings,
}

impl Cut {
    fn group(self) -> Group {
        match self {
            Self::KillAgent | Self::KillSsh => Group::Connection,
            Self::KillClient | Self::Interrupt | Self::FreezeAgent | Self::FreezeCommand => {
                Group::Programs
            }
            Self::FillState | Self::FillConfiguration | Self::DropNetwork => Group::Surroundings,
        }
    }
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

/// Freezes the programs that the agent has started, and kills them when they stand still, as their
/// time-out would in the end. Those that have ended are not waited for. It may be sshd that is
/// frozen, so that only one connection is sure to get in.
const FREEZE_AND_KILL: &str = r#"
frozen=$(pgrep -P "$(pgrep -d, -f ^/var/lib/infra/agent/)")
for pid in $frozen; do kill -STOP "$pid"; done
for pid in $frozen; do
    while grep -qs '^State:.[^TXZ]' "/proc/$pid/status"; do sleep 0.01; done
done
for pid in $frozen; do kill -KILL "$pid"; done
"#;

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

/// A server whose runs are cut.
struct Cutting<'a> {
    rufus: &'a LabServer,
    /// The files of the two states, by their path: a hash, or where a link points.
    states: [BTreeMap<String, String>; 2],
}

/// Cuts at the two ends of the connection.
fn the_next_run_finishes_after_an_agent_or_an_ssh_was_killed() {
    sample(Group::Connection);
}

/// Cuts by the death of the client and by programs of the server that stand still.
fn the_next_run_finishes_after_a_client_ended_or_a_program_froze() {
    sample(Group::Programs);
}

/// Cuts by the lack of something that every program needs.
fn the_next_run_finishes_after_a_disk_was_full_or_the_network_gone() {
    sample(Group::Surroundings);
}

/// Cuts as many runs as the environment says, on several servers side by side: most of the time
/// goes by in waiting for services.
fn many_cuts() {
    let cuts = setting("INFRA_FAULT_CUTS").unwrap_or(200);
    let seed = seed(std::process::id() as usize);
    std::thread::scope(|scope| {
        for number in 0..SERVERS {
            scope.spawn(move || survives(&KINDS, cuts.div_ceil(SERVERS), seed + 2 * number));
        }
    });
}

/// Each of the kinds of a group once, on a server of its own.
fn sample(group: Group) {
    let mut kinds: Vec<Cut> = Vec::new();
    for kind in KINDS.into_iter().filter(|kind| kind.group() == group) {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    survives(&kinds, kinds.len(), seed(SAMPLE) + 2 * group as usize);
}

/// The seed of the environment, or the one that is given.
#[expect(clippy::print_stdout, reason = "what a failed run is repeated with")]
fn seed(usual: usize) -> usize {
    let seed = setting("INFRA_FAULT_SEED").unwrap_or(usual);
    println!("INFRA_FAULT_SEED={seed}");
    seed
}

/// Cuts runs between the state of a copy and the other state. The dice make the same of an even
/// number and of the odd one after it: servers take every second number.
#[expect(clippy::print_stdout, reason = "which cut it was that failed")]
fn survives(kinds: &[Cut], cuts: usize, seed: usize) {
    let rufus = &copy("rufus", "debian-12");
    let mut dice = Dice(seed as u64 | 1);
    rufus.shell(&sql(
        "create table canary_of_cuts (row int); insert into canary_of_cuts values (7)",
    ));
    let first = listing(rufus);
    let boundaries = boundaries(rufus, true);
    let cutting = Cutting { rufus, states: [first, listing(rufus)] };
    println!("seed {seed}: {cuts} cuts, {boundaries} boundaries");
    assert!(boundaries > 25, "the two states differ in little");
    let mut is_other = true;
    for number in 0..cuts {
        let kind = kinds[number % kinds.len()];
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
            self.rufus.run(&format!(
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
        wait_until("the end of the client", || client.try_wait().unwrap().is_some());
        if kind == Cut::DropNetwork {
            self.network("up");
        }
        if let Some(folder) = folder {
            self.rufus.run(&format!("rm -f {folder}/filler"));
            self.agent_ends();
            self.shell(&format!(
                "umount {folder} && rm -rf {folder}.full && mv {folder} {folder}.full && \
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
                // It may have ended by itself.
                let _ = kill_process(Pid::from_child(client), Signal::INT);
            }
            Cut::FillState => {
                self.shell(
                    "dd if=/dev/zero of=/var/lib/infra/filler bs=512 count=40000 2>/dev/null",
                );
            }
            Cut::FillConfiguration => {
                self.shell("dd if=/dev/zero of=/etc/nginx/filler bs=512 count=40000 2>/dev/null");
            }
            Cut::FreezeAgent => {
                self.shell("pkill -STOP -f ^/var/lib/infra/agent/");
                client.kill().unwrap();
            }
            Cut::FreezeCommand => {
                self.shell(FREEZE_AND_KILL);
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
        for process in std::fs::read_dir("/proc").unwrap() {
            let process = process.unwrap();
            let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            let line = text(&line);
            let mut arguments = line.split('\0');
            let is_ssh = arguments.next() == Some("ssh");
            // Nothing of another server, whose address may begin like this one.
            if is_ssh && arguments.any(|argument| argument == self.rufus.address()) {
                // It may have ended by itself.
                let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
            }
        }
    }

    /// Takes the server's port of the bridge up or down.
    fn network(&self, state: &str) {
        let neighbor = Command::new("ip")
            .args(["-o", "neigh", "show", self.rufus.address()])
            .output()
            .unwrap();
        let neighbor = text(&neighbor.stdout);
        let bridge = neighbor.split_whitespace().skip_while(|word| *word != "dev").nth(1).unwrap();
        for port in std::fs::read_dir(format!("/sys/class/net/{bridge}/brif")).unwrap() {
            let port = port.unwrap().file_name();
            let link = ["link", "set", "dev"];
            let done = Command::new("ip").args(link).arg(&port).arg(state).status().unwrap();
            assert!(done.success(), "{} {state}", port.display());
        }
    }

    fn shell(&self, line: &str) -> String {
        self.rufus.shell(line)
    }

    fn agent_ends(&self) {
        self.rufus.wait_for("the end of the agent", "! pgrep -f ^/var/lib/infra/agent/");
    }

    /// Everything that has to hold after a cut of any kind.
    fn holds(&self, other: bool) {
        // An agent that lost its laptop ends at the next resource; with it its lock is gone.
        self.agent_ends();
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
        self.rufus.has_nothing_to_do(&arguments(other));
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
        assert_eq!(self.rufus.login("echo in"), "in");
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

/// Reads the report of the client until it has passed `count` boundaries and one more; false if the
/// run was over before.
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
    (0..=count).all(|_| receiver.recv_timeout(DEADLINE).is_ok())
}
