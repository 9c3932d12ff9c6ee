//! The processes that are compared, and the one that measures them; each ends with its handle.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::bare::Way;
use crate::table::Subject;

/// The CPU of what is measured, and that of what measures.
pub(crate) const SERVER_CPU: &str = "0";
pub(crate) const LOAD_CPU: &str = "1";

/// Where a server sits: its CPUs, and what it relays from.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) workers: u32,
    /// Whether it may run on each CPU.
    pub(crate) everywhere: bool,
    /// Addresses to relay from; ports below this and from that on.
    pub(crate) relay: Vec<Ipv4Addr>,
    pub(crate) ports: (u16, u16),
    /// Whether the kernel may join what it receives, where the server asks for that.
    pub(crate) gro: bool,
}

impl Seat {
    /// One worker on one CPU, with ports that leave room for the other servers.
    pub(crate) fn beside(subject: Subject) -> Self {
        let ports = if subject == Subject::Hairpin { (49152, 57343) } else { (57344, 65535) };
        Self { workers: 1, everywhere: false, relay: vec![Ipv4Addr::LOCALHOST], ports, gro: true }
    }

    fn cpu(&self) -> Option<&'static str> {
        (!self.everywhere).then_some(SERVER_CPU)
    }
}

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
fn pinned(cpu: Option<&str>, program: &Path) -> Command {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let Some(cpu) = cpu.filter(|_| cpus > 1) else { return Command::new(program) };
    let mut command = Command::new("taskset");
    command.args(["-c", cpu]).arg(program);
    command
}

/// The load tool, to be given its options.
pub(crate) fn load(cpu: Option<&str>) -> Command {
    let mut command = pinned(cpu, Path::new(env!("CARGO_BIN_EXE_hairpin")));
    command.arg("load").stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Where a server listens: for UDP and TCP, and for TLS.
pub(crate) type Addresses = [SocketAddrV4; 2];

/// A certificate and its key, as files of these names in `directory`; no client asks whose.
fn certify(directory: &Path) -> io::Result<[PathBuf; 2]> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
    let made = made.map_err(io::Error::other)?;
    let files = ["cert.pem", "key.pem"].map(|name| directory.join(name));
    fs::write(&files[0], made.cert.pem())?;
    fs::write(&files[1], made.signing_key.serialize_pem())?;
    Ok(files)
}

pub(crate) fn hairpin(
    directory: &Path,
    [at, secure]: Addresses,
    seat: &Seat,
) -> io::Result<Running> {
    fs::create_dir_all(directory)?;
    certify(directory)?;
    let file = directory.join("turnserver.toml");
    let relay: Vec<String> = seat.relay.iter().map(|address| format!("\"{address}\"")).collect();
    let text = format!(
        "realm = \"bench\"\nworkers = {}\ngro = \"{}\"\n[listen]\nudp = [\"{at}\"]\n\
         tcp = [\"{at}\"]\ntls = [\"{secure}\"]\nhttp = []\n[relay]\naddresses = [{}]\n\
         port_min = {}\nport_max = {}\n[auth]\nusers = [{{ name = \"u\", password = \"p\" }}]\n\
         [peers]\nallow = [\"127.0.0.0/8\"]\n[log]\nlevel = \"warn\"\n",
        seat.workers,
        if seat.gro { "auto" } else { "off" },
        relay.join(", "),
        seat.ports.0,
        seat.ports.1,
    );
    fs::write(&file, text)?;
    let mut command = pinned(seat.cpu(), Path::new(env!("CARGO_BIN_EXE_hairpin")));
    start(command.arg("--config").arg(file).current_dir(directory), at)
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
    [at, secure]: Addresses,
    seat: &Seat,
    relaying: Relaying,
) -> io::Result<Running> {
    fs::create_dir_all(directory)?;
    let [certificate, key] = certify(directory)?;
    let place = |name: &str| directory.join(name).display().to_string();
    let (ip, port) = (at.ip().to_string(), at.port().to_string());
    let mut command = pinned(seat.cpu(), program);
    command
        .args(["-n", "-m", &seat.workers.to_string(), "-L", &ip, "-p", &port])
        .args(seat.relay.iter().flat_map(|address| ["-E".to_owned(), address.to_string()]))
        .args(["--allow-loopback-peers", "--no-cli", "--no-dtls"])
        .args(["--tls-listening-port", &secure.port().to_string()])
        .arg("--cert")
        .arg(certificate)
        .arg("--pkey")
        .arg(key)
        .args(["--lt-cred-mech", "-u", "u:p", "-r", "bench"])
        .args(["--min-port", &seat.ports.0.to_string(), "--max-port", &seat.ports.1.to_string()])
        .args(["--no-stdout-log", "--simple-log"])
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
    let mut command = pinned(Some(SERVER_CPU), &std::env::current_exe()?);
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
