//! The host's PostgreSQL, over its socket.
//!
//! The server lets the operating system's user `postgres` in as its superuser and asks the kernel
//! who connects (peer authentication): the effective user of the thread that does. Linux keeps
//! identities by thread, so that a thread of its own makes each connection with this user as its
//! effective one, and ends. Its real and saved users stay root, because whoever shares either of
//! them with a thread may end the whole agent. Another thread bounds the time of every question.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use postgres::error::SqlState;
use postgres::types::Type;
use postgres::{Client, Config, NoTls};
use rustix::fs::{Gid, Uid};

use super::clusters::{self, Running, SOCKETS};
use crate::error::{Context, Error, Kind, Result};
use crate::resources::probe::{Cluster, SqlRow};

/// How long the socket and the handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a server that says "I am starting up" is asked again.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections to the running clusters of the host, by port, kept while the run lasts.
#[derive(Default)]
pub(super) struct Postgres {
    workers: RefCell<BTreeMap<u16, Worker>>,
}

/// Whether a connection may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Access {
    Read,
    Write,
}

/// The thread that holds the connections to one cluster.
struct Worker {
    cluster: Running,
    questions: mpsc::Sender<Question>,
}

/// A statement on its way to the thread.
struct Question {
    access: Access,
    database: String,
    sql: String,
    parameters: Vec<String>,
    answer: mpsc::Sender<Result<Vec<SqlRow>>>,
}

impl Access {
    /// How long a statement may take. Making a database copies a template; dropping one waits
    /// for the disk.
    fn timeout(self) -> Duration {
        Duration::from_secs(match self {
            Self::Read => 30,
            Self::Write => 900,
        })
    }

    /// Settings of the session, which win over those that the owner of a database gave it: names
    /// are looked up in PostgreSQL's own catalogue alone. Statements stay out of the server's
    /// log, because they may hold the verifiers of passwords.
    fn options(self) -> String {
        let settings = match self {
            Self::Read => "-c default_transaction_read_only=on",
            Self::Write => "-c log_statement=none -c log_min_error_statement=panic",
        };
        let names = "-c search_path=pg_catalog,pg_temp";
        format!("{names} {settings} -c statement_timeout={}s", self.timeout().as_secs())
    }
}

impl Postgres {
    /// Rows of a question, in a read-only transaction.
    pub(super) fn read(
        &self,
        cluster: &Cluster,
        database: &str,
        sql: &str,
        params: &[&str],
    ) -> Result<Vec<SqlRow>> {
        self.ask(Access::Read, cluster, database, sql, params)
    }

    /// Executes a statement, outside a transaction.
    pub(super) fn execute(
        &self,
        cluster: &Cluster,
        database: &str,
        sql: &str,
        params: &[&str],
    ) -> Result<Vec<SqlRow>> {
        self.ask(Access::Write, cluster, database, sql, params)
    }

    fn ask(
        &self,
        access: Access,
        cluster: &Cluster,
        database: &str,
        sql: &str,
        params: &[&str],
    ) -> Result<Vec<SqlRow>> {
        let cluster = clusters::find(cluster)?;
        let port = cluster.port;
        let mut workers = self.workers.borrow_mut();
        if workers.get(&port).is_none_or(|worker| worker.cluster != cluster) {
            workers.insert(port, Worker::start(cluster)?);
        }
        let (answer, answers) = mpsc::channel();
        let question = Question {
            access,
            database: database.to_owned(),
            sql: sql.to_owned(),
            parameters: params.iter().map(ToString::to_string).collect(),
            answer,
        };
        let sent = workers.get(&port).is_some_and(|worker| worker.questions.send(question).is_ok());
        // The server enforces the statement's own time first and says so.
        let patience = access.timeout() + STARTUP_TIMEOUT + CONNECT_TIMEOUT;
        match answers.recv_timeout(patience) {
            Ok(rows) if sent => rows,
            _ => {
                workers.remove(&port);
                Err(Error::failed(format!(
                    "PostgreSQL did not answer within {} seconds",
                    patience.as_secs()
                )))
            }
        }
    }
}

impl Worker {
    fn start(cluster: Running) -> Result<Self> {
        let (questions, received) = mpsc::channel();
        let served = cluster.clone();
        thread::Builder::new()
            .name("postgresql".to_owned())
            .spawn(move || serve(&served, &received))
            .context(|| "cannot start a thread for PostgreSQL".to_owned())?;
        Ok(Self { cluster, questions })
    }
}

/// The life of the thread: answers until the agent ends.
fn serve(cluster: &Running, questions: &mpsc::Receiver<Question>) {
    let mut clients = BTreeMap::new();
    for question in questions {
        let rows = answer(cluster, &mut clients, &question);
        // Nobody waits any more for an answer that came too late.
        let _ = question.answer.send(rows);
    }
}

/// Gives this thread, and no other, the effective identity of a user.
fn act_as(uid: u32, gid: u32) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::thread::set_thread_groups(&[gid])
        .and_then(|()| rustix::thread::set_thread_res_gid(None::<Gid>, gid, None::<Gid>))
        .and_then(|()| rustix::thread::set_thread_res_uid(None::<Uid>, uid, None::<Uid>))
        .context(|| "cannot connect as the user of PostgreSQL".to_owned())
}

type Clients = BTreeMap<(Access, String), Client>;

fn answer(cluster: &Running, clients: &mut Clients, question: &Question) -> Result<Vec<SqlRow>> {
    if question.access == Access::Write {
        // A database that somebody is connected to can neither be dropped nor be a template.
        clients.retain(|(_, database), _| *database == question.database);
    }
    let key = (question.access, question.database.clone());
    // The server may have been restarted since the last question.
    let mut kept = clients.remove(&key);
    let alive = kept.take_if(|client| client.is_valid(CONNECT_TIMEOUT).is_ok());
    let mut client = match alive {
        Some(client) => client,
        None => connect_as_its_user(cluster, &question.database, question.access)?,
    };
    let rows = query(&mut client, &question.sql, &question.parameters);
    clients.insert(key, client);
    rows
}

/// Connects on a thread that has the cluster's user as its effective one, and ends with it.
fn connect_as_its_user(cluster: &Running, database: &str, access: Access) -> Result<Client> {
    thread::scope(|scope| {
        let connecting =
            thread::Builder::new().name("connect".to_owned()).spawn_scoped(scope, || {
                act_as(cluster.uid, cluster.gid)?;
                connect(cluster, database, access)
            });
        let connecting =
            connecting.context(|| "cannot start a thread for PostgreSQL".to_owned())?;
        connecting.join().unwrap_or_else(|_| Err(Error::failed("a connection to PostgreSQL broke")))
    })
}

fn connect(cluster: &Running, database: &str, access: Access) -> Result<Client> {
    let mut config = Config::new();
    config
        .host_path(SOCKETS)
        .port(cluster.port)
        .user("postgres")
        .dbname(database)
        .application_name("infra")
        .options(&access.options())
        .connect_timeout(CONNECT_TIMEOUT);
    let started = Instant::now();
    loop {
        match config.connect(NoTls) {
            Ok(client) => return Ok(client),
            Err(error)
                if error.code() == Some(&SqlState::CANNOT_CONNECT_NOW)
                    && started.elapsed() < STARTUP_TIMEOUT =>
            {
                thread::sleep(Duration::from_millis(200));
            }
            Err(error) if error.code() == Some(&SqlState::INVALID_CATALOG_NAME) => {
                return Err(Error::new(
                    Kind::ToolMissing,
                    format!("database `{database}` is not there"),
                ));
            }
            Err(error) if error.as_db_error().is_none() => {
                let message = format!("PostgreSQL does not answer on port {}", cluster.port);
                return Err(Error::new(Kind::ToolMissing, message).because(error));
            }
            Err(error) => {
                return Err(explain("cannot connect to PostgreSQL as `postgres`", &error));
            }
        }
    }
}

fn query(client: &mut Client, sql: &str, parameters: &[String]) -> Result<Vec<SqlRow>> {
    let failed = |error: postgres::Error| explain("PostgreSQL refused a statement", &error);
    let typed: Vec<_> = parameters
        .iter()
        .map(|text| (text as &(dyn postgres::types::ToSql + Sync), Type::TEXT))
        .collect();
    let rows = client.query_typed(sql, &typed).map_err(failed)?;
    rows.iter()
        .map(|row| {
            let cells = (0..row.len()).map(|column| row.try_get(column).map_err(failed));
            cells.collect()
        })
        .collect()
}

/// What the server said. The statement is not repeated: it may hold a verifier.
fn explain(what: &str, error: &postgres::Error) -> Error {
    let Some(refusal) = error.as_db_error() else {
        return Error::failed(what).because(error);
    };
    let reasons = [Some(refusal.message()), refusal.detail(), refusal.hint()];
    reasons.into_iter().flatten().fold(Error::failed(what), Error::because)
}
