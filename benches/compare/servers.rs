//! The processes that are compared, and the one that measures them; each ends with its handle.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::bare::Way;

/// The CPU of what is measured, and that of what measures.
const SERVER_CPU: &str = "0";
const LOAD_CPU: &str = "1";

/// A process of ours.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `program`, held to one CPU where there are two and the system can do that. The process is the
/// program's own, as taskset becomes it.
fn pinned(cpu: &str, program: &Path) -> Command {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    if cpus < 2 {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", cpu]).arg(program);
    command
}

/// The load tool, to be given its options.
pub(crate) fn load() -> Command {
    let mut command = pinned(LOAD_CPU, Path::new(env!("CARGO_BIN_EXE_hairpin")));
    command.arg("load").stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

pub(crate) fn hairpin(directory: &Path, address: SocketAddrV4) -> io::Result<Running> {
    fs::create_dir_all(directory)?;
    let file = directory.join("turnserver.toml");
    let text = format!(
        "realm = \"bench\"\nworkers = 1\n[listen]\nudp = [\"{address}\"]\ntcp = [\"{address}\"]\n\
         http = []\n[relay]\nport_min = 49152\nport_max = 57343\n[auth]\n\
         users = [{{ name = \"u\", password = \"p\" }}]\n[peers]\nallow = [\"127.0.0.0/8\"]\n\
         [log]\nlevel = \"warn\"\n"
    );
    fs::write(&file, text)?;
    let mut command = pinned(SERVER_CPU, Path::new(env!("CARGO_BIN_EXE_hairpin")));
    start(command.arg("--config").arg(file).current_dir(directory), address)
}

/// How coturn relays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relaying {
    /// By a socket for each allocation, as ever.
    Apart,
    /// By one socket for all, which is what lets it send in batches and segments (4.17 and later).
    Together,
}

pub(crate) fn coturn(
    program: &Path,
    directory: &Path,
    at: SocketAddrV4,
    relaying: Relaying,
) -> io::Result<Running> {
    fs::create_dir_all(directory)?;
    let place = |name: &str| directory.join(name).display().to_string();
    let (ip, port) = (at.ip().to_string(), at.port().to_string());
    let mut command = pinned(SERVER_CPU, program);
    command
        .args(["-n", "-m", "1", "-L", &ip, "-E", &ip, "-p", &port])
        .args(["--allow-loopback-peers", "--no-cli", "--no-tls", "--no-dtls"])
        .args(["--lt-cred-mech", "-u", "u:p", "-r", "bench"])
        .args(["--min-port", "57344", "--max-port", "65535", "--no-stdout-log", "--simple-log"])
        .args(["--log-file", &place("log"), "--pidfile", &place("pid")])
        .args(["--userdb", &place("turndb")])
        .current_dir(directory);
    if relaying == Relaying::Together {
        let [shared, _] = free_addresses()?;
        command.args(["--multiplex-peer", "--multiplex-peer-port", &shared.port().to_string()]);
        command.args(["--udp-gso", "--udp-recvmmsg"]);
    }
    start(&mut command, at)
}

/// Starts a server, and waits until it answers a Binding request.
fn start(command: &mut Command, address: SocketAddrV4) -> io::Result<Running> {
    const REQUEST: [u8; 20] = *b"\x00\x01\x00\x00\x21\x12\xa4\x42are you here";
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = Running(command.spawn()?);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut answer = [0; 1500];
    while Instant::now() < deadline && running.0.try_wait()?.is_none() {
        socket.send_to(&REQUEST, address)?;
        if socket.recv_from(&mut answer).is_ok() {
            return Ok(running);
        }
    }
    Err(io::Error::other(format!("{command:?} does not answer")))
}

pub(crate) fn bare(way: Way, from: SocketAddrV4, to: SocketAddrV4) -> io::Result<Running> {
    let mut command = pinned(SERVER_CPU, &std::env::current_exe()?);
    let way = format!("{way:?}").to_lowercase();
    command.args(["--bare", &way, "--listen", &from.to_string(), "--peer", &to.to_string()]);
    let mut running = Running(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?);
    // It is there when nobody else can have its port.
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline && running.0.try_wait()?.is_none() {
        if UdpSocket::bind(from).is_err() {
            return Ok(running);
        }
        std::thread::yield_now();
    }
    Err(io::Error::other("the bare loop does not start"))
}

/// Two addresses that nobody uses at the moment, neither over UDP nor over TCP.
pub(crate) fn free_addresses() -> io::Result<[SocketAddrV4; 2]> {
    let mut held = Vec::new();
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = udp.local_addr()?.port();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            held.push((udp, SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)));
        }
        if let [(_, first), (_, second)] = held[..] {
            return Ok([first, second]);
        }
    }
}
