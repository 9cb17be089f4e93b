//! Many servers at once: connect, check, and apply what was checked.

mod guard;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::error::{Error, Kind};
use crate::events::Event;
use crate::inventory::connection::SshSettings;
use crate::manifest::{Expect, Manifest, ResourceId};
use crate::resources::Facts;
use crate::size::Size;
use crate::transport::{Link, Login, Transport};
use crate::wire::{Request, RunOptions};

/// One server: how to reach it and what it should be.
#[derive(Clone, Debug)]
pub struct Server {
    /// How it is reached.
    pub ssh: SshSettings,
    /// What it should be; holds its name.
    pub manifest: Arc<Manifest>,
    /// Resources that are declared for it and that it does not hear of: not what the user stopped
    /// declaring.
    pub withheld: Vec<ResourceId>,
}

/// What is told about a server.
#[derive(Debug)]
pub enum News {
    /// A connection is being made.
    Connecting,
    /// The agent says so.
    Event(Event),
    /// Nothing more will come from it.
    Failed(Error),
}

/// The servers whose plan is made and whose agents wait for what is to be done.
pub struct Fleet {
    transport: Arc<Transport>,
    links: BTreeMap<String, (Link, SshSettings)>,
    /// How many servers are worked on at once.
    jobs: usize,
}

/// How urgently the user wants the runs to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Not at all.
    No,
    /// After the resource in hand.
    Soon,
    /// Now: the program in hand is ended.
    Now,
}

type Sender = mpsc::Sender<(String, News)>;

/// So much news may wait for the report: a server that is faster has to wait.
const MOST_WAITING: usize = 16;

impl Fleet {
    /// Nobody is connected to yet. At most `jobs` servers are worked on at once.
    pub fn new(transport: Transport, jobs: usize) -> Self {
        Self { transport: Arc::new(transport), links: BTreeMap::new(), jobs: jobs.max(1) }
    }

    /// Connects to every server and makes its plan; nothing is changed.
    ///
    /// # Errors
    /// Those of `tell`. What goes wrong on a server is told.
    pub async fn check(
        &mut self,
        servers: Vec<Server>,
        options: &RunOptions,
        mut tell: impl FnMut(&str, News) -> io::Result<()>,
    ) -> io::Result<()> {
        let (sender, mut news) = mpsc::channel(MOST_WAITING);
        let turns = Arc::new(Semaphore::new(self.jobs));
        let mut tasks = JoinSet::new();
        for server in servers {
            let (sender, turns) = (sender.clone(), Arc::clone(&turns));
            let (transport, options) = (Arc::clone(&self.transport), options.clone());
            tasks.spawn(async move {
                let _turn = turns.acquire().await;
                let name = server.manifest.server.clone();
                match check(&transport, &server, options, &sender).await {
                    Ok(link) => Some((name, (link, server.ssh))),
                    Err(error) => {
                        send(&sender, &name, News::Failed(error)).await;
                        None
                    }
                }
            });
        }
        drop(sender);
        while let Some((server, news)) = news.recv().await {
            tell(&server, news)?;
        }
        while let Some(done) = tasks.join_next().await {
            // A task that panicked has no link; there is nothing more to say about it.
            self.links.extend(done.ok().flatten());
        }
        Ok(())
    }

    /// Connects to servers, by name, and asks each the same.
    ///
    /// # Errors
    /// Those of `tell`. What goes wrong on a server is told.
    pub async fn ask(
        &self,
        servers: Vec<(String, SshSettings)>,
        request: &Request,
        mut tell: impl FnMut(&str, News) -> io::Result<()>,
    ) -> io::Result<()> {
        let (sender, mut news) = mpsc::channel(MOST_WAITING);
        let turns = Arc::new(Semaphore::new(self.jobs));
        let mut tasks = JoinSet::new();
        for (name, settings) in servers {
            let (sender, turns) = (sender.clone(), Arc::clone(&turns));
            let (transport, request) = (Arc::clone(&self.transport), request.clone());
            tasks.spawn(async move {
                let _turn = turns.acquire().await;
                let login = Login { server: &name, settings: &settings };
                if let Err(error) = ask(&transport, login, &request, &sender).await {
                    send(&sender, &name, News::Failed(error)).await;
                }
            });
        }
        drop(sender);
        while let Some((server, news)) = news.recv().await {
            tell(&server, news)?;
        }
        Ok(())
    }

    /// Applies the plans of `servers`, all at once, and lets every agent end, earlier if `stop` says
    /// so.
    ///
    /// # Errors
    /// Those of `tell`. What goes wrong on a server is told.
    pub async fn apply(
        &mut self,
        servers: &[String],
        stop: &watch::Receiver<Stop>,
        mut tell: impl FnMut(&str, News) -> io::Result<()>,
    ) -> io::Result<()> {
        let (sender, mut news) = mpsc::channel(MOST_WAITING);
        let turns = Arc::new(Semaphore::new(self.jobs));
        let mut tasks = JoinSet::new();
        for name in servers {
            let Some((mut link, settings)) = self.links.remove(name) else { continue };
            let (sender, turns) = (sender.clone(), Arc::clone(&turns));
            let (name, stop) = (name.clone(), stop.clone());
            let transport = Arc::clone(&self.transport);
            tasks.spawn(async move {
                let _turn = turns.acquire().await;
                let login = Login { server: &name, settings: &settings };
                if let Err(error) = apply(&transport, login, &mut link, stop, &sender).await {
                    send(&sender, &name, News::Failed(error)).await;
                }
            });
        }
        drop(sender);
        while let Some((server, news)) = news.recv().await {
            tell(&server, news)?;
        }
        Ok(())
    }
}

async fn send(sender: &Sender, server: &str, news: News) {
    // The receiver is gone when the run was given up: nobody wants to know any more.
    let _ = sender.send((server.to_owned(), news)).await;
}

async fn check(
    transport: &Transport,
    server: &Server,
    options: RunOptions,
    sender: &Sender,
) -> Result<Link, Error> {
    let name = &server.manifest.server;
    send(sender, name, News::Connecting).await;
    let mut link = transport.connect(Login { server: name, settings: &server.ssh }).await?;
    let manifest = Box::new((*server.manifest).clone());
    let options = RunOptions { withheld: server.withheld.clone(), ..options };
    link.send(&Request::Check { manifest, options }).await?;
    loop {
        let event = link.receive().await?;
        if let Event::Started { facts } = &event {
            for warning in differences(name, &server.manifest.expect, facts)? {
                send(sender, name, News::Event(Event::Warning { message: warning })).await;
            }
        }
        let is_complete = event == Event::PlanComplete;
        let is_over = matches!(event, Event::Finished | Event::Aborted { .. });
        send(sender, name, News::Event(event)).await;
        if is_complete || is_over {
            return Ok(link);
        }
    }
}

async fn ask(
    transport: &Transport,
    login: Login<'_>,
    request: &Request,
    sender: &Sender,
) -> Result<(), Error> {
    let name = login.server;
    send(sender, name, News::Connecting).await;
    let mut link = transport.connect(login).await?;
    link.send(request).await?;
    loop {
        let event = link.receive().await?;
        let is_over = matches!(event, Event::Finished | Event::Aborted { .. });
        send(sender, name, News::Event(event)).await;
        if is_over {
            return Ok(());
        }
    }
}

async fn apply(
    transport: &Transport,
    login: Login<'_>,
    link: &mut Link,
    mut stop: watch::Receiver<Stop>,
    sender: &Sender,
) -> Result<(), Error> {
    let name = login.server;
    if *stop.borrow_and_update() > Stop::No {
        return Err(Error::new(Kind::Interrupted, format!("`{name}` was left as it is")));
    }
    link.send(&Request::Apply).await?;
    let mut may_stop = true;
    loop {
        tokio::select! {
            event = link.receive() => {
                let event = event?;
                let is_over = matches!(event, Event::Finished | Event::Aborted { .. });
                if let Event::ProofWanted { seconds, .. } = event {
                    send(sender, name, News::Event(event)).await;
                    guard::answer(transport, login, link, seconds, sender).await?;
                    continue;
                }
                send(sender, name, News::Event(event)).await;
                if is_over {
                    return Ok(());
                }
            }
            changed = stop.changed(), if may_stop => {
                may_stop = changed.is_ok();
                let wanted = *stop.borrow_and_update();
                let request = match wanted {
                    Stop::No => continue,
                    Stop::Soon => Request::Stop,
                    Stop::Now => Request::StopNow,
                };
                link.send(&request).await?;
            }
        }
    }
}

/// What the facts of the host differ in from those that the manifest was compiled with.
///
/// # Errors
/// If it is another operating system: its manifest would be another one.
fn differences(server: &str, expect: &Expect, facts: &Facts) -> Result<Vec<String>, Error> {
    if let Some(os) = expect.os.as_ref().filter(|os| **os != facts.os) {
        let found = &facts.os;
        return Err(Error::input(format!(
            "`{server}` runs {found}, but its inventory expects {os}"
        ))
        .hint(format!("correct `expect.os` in `inventory/{server}.yaml`")));
    }
    let mut warnings = Vec::new();
    if let Some(cpus) = expect.cpus.filter(|cpus| *cpus != facts.cpus) {
        warnings.push(format!("it has {} processors, its inventory expects {cpus}", facts.cpus));
    }
    for (what, expected, found) in [
        ("memory", expect.memory_bytes, facts.memory_bytes),
        ("disk", expect.disk_bytes, facts.disk_bytes),
    ] {
        // The kernel and the file system keep some of what the provider sells.
        let is_near = |expected: u64| found >= expected / 5 * 4 && found <= expected / 5 * 6;
        if let Some(expected) = expected.filter(|expected| !is_near(*expected)) {
            warnings.push(format!(
                "it has {} of {what}, its inventory expects {}",
                in_gigabytes(found),
                Size(expected)
            ));
        }
    }
    Ok(warnings)
}

/// A number of bytes as people say it of a machine, with one decimal.
fn in_gigabytes(bytes: u64) -> String {
    let tenths = (bytes + 50_000_000) / 100_000_000;
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole} GB"),
        (whole, tenth) => format!("{whole}.{tenth} GB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            os: "debian-13".to_owned(),
            cpus: 2,
            memory_bytes: 3_900_000_000,
            disk_bytes: 40_000_000_000,
            ..Facts::default()
        }
    }

    #[test]
    fn another_system_is_an_error() {
        let expect = Expect { os: Some("debian-12".to_owned()), ..Expect::default() };
        let error = differences("rufus", &expect, &facts()).unwrap_err();
        assert_eq!(error.kind, Kind::Input);
        assert_eq!(
            error.to_string(),
            "`rufus` runs debian-13, but its inventory expects debian-12\n\
             hint: correct `expect.os` in `inventory/rufus.yaml`"
        );
    }

    #[test]
    fn other_sizes_are_told() {
        let expect = Expect {
            os: None,
            cpus: Some(4),
            memory_bytes: Some(4 << 30),
            disk_bytes: Some(80 << 30),
            without: Vec::new(),
        };
        assert_eq!(
            differences("rufus", &expect, &facts()).unwrap(),
            [
                "it has 2 processors, its inventory expects 4",
                "it has 40 GB of disk, its inventory expects 80 GiB"
            ]
        );
    }
}
