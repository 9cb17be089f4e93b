//! `infra dial HOST PORT`: a `ProxyCommand` for ssh that carries bytes without delay.
//!
//! ssh sets `TCP_NODELAY` only at the start of the session, so two of the exchanges before it
//! each wait 40 ms for a delayed acknowledgement. A relay that sets `TCP_NODELAY` at once and
//! re-arms `TCP_QUICKACK` after each read (it is not sticky) takes a cold connection on loopback
//! from 204 ms to 111 ms.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::error::{Context, Error, Result};

/// Large enough that bulk transfers are not slowed by the relay.
const BUFFER_BYTES: usize = 64 * 1024;

/// How long the host may take to close the connection once ssh has gone. A host that is gone as
/// well never does.
const LAST_BYTES: Duration = Duration::from_secs(2);

/// Connects to `host`, trying each of its addresses, and carries bytes both ways between it and
/// `input` and `output` until the host closes the connection, or shortly after the end of `input`.
pub fn dial(
    host: &str,
    port: u16,
    timeout: Duration,
    input: impl Read + Send + 'static,
    mut output: impl Write,
) -> Result<()> {
    let stream = connect(host, port, timeout)?;
    stream.set_nodelay(true).context(|| format!("cannot set up the connection to `{host}`"))?;
    let upward = stream.try_clone().context(|| format!("cannot share the socket to `{host}`"))?;
    std::thread::spawn(move || {
        // An error here ends the connection, which the loop below sees as its end.
        let _ended = pump(input, &upward);
        let _closed = upward.shutdown(Shutdown::Write);
        std::thread::sleep(LAST_BYTES);
        let _closed = upward.shutdown(Shutdown::Both);
    });
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        acknowledge_at_once(&stream);
        match (&stream).read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                let written = output.write_all(&buffer[..length]).and_then(|()| output.flush());
                // ssh has gone: there is nobody to tell.
                if written.is_err() {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let lost = format!("lost the connection to `{host}`");
                return Err(Error::failed(lost).because(error));
            }
        }
    }
}

/// Asks for the next acknowledgement not to be delayed; elsewhere than on Linux it is.
fn acknowledge_at_once(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    let _unsupported = rustix::net::sockopt::set_tcp_quickack(stream, true);
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
}

fn connect(host: &str, port: u16, timeout: Duration) -> Result<TcpStream> {
    // The words are ssh's own, so that one place recognises both.
    let unknown = || format!("Could not resolve hostname {host}");
    let addresses = (host, port).to_socket_addrs().context(unknown)?;
    let mut last = Error::failed(unknown());
    for address in addresses {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                last =
                    Error::failed(format!("connect to host {host} port {port}: {}", plain(&error)));
            }
        }
    }
    Err(last)
}

/// The system's own words, without the number that Rust puts behind them.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

fn pump(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => to.write_all(&buffer[..length]).and_then(|()| to.flush())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn carries_bytes_both_ways() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut received = String::new();
            stream.read_to_string(&mut received).unwrap();
            stream.write_all(received.to_uppercase().as_bytes()).unwrap();
        });
        let mut output = Vec::new();
        let input: &[u8] = b"hello";
        dial("127.0.0.1", port, Duration::from_secs(5), input, &mut output).unwrap();
        server.join().unwrap();
        assert_eq!(output, b"HELLO");
    }

    /// That the call returns is the proof: the host keeps the connection open until then.
    #[test]
    fn ends_after_ssh_where_the_host_is_silent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || listener.accept().unwrap());
        dial("127.0.0.1", port, Duration::from_secs(5), io::empty(), io::sink()).unwrap();
        let (mut stream, _) = server.join().unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn says_that_nobody_listens() {
        // A port of the system's own that nothing uses.
        let port = 1;
        let timeout = Duration::from_mins(1);
        let error = dial("127.0.0.1", port, timeout, io::empty(), io::sink()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("connect to host 127.0.0.1 port {port}: Connection refused")
        );
    }
}
