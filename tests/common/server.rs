//! The server as a user starts it: the built binary with a configuration file, on loopback.
//!
//! `HAIRPIN_TEST_SERVER=127.0.0.1:3478` puts another server under the same tests; it has to know
//! the users of [`CONFIG`] and to allow peers on loopback. Tests that look at the process, signal
//! it or start it again say that they need one of their own.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs::{self, File};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use toml::{Table, Value};

const READY_WITHIN: Duration = Duration::from_secs(10);

const CONFIG: &str = r#"
realm = "example.org"
[listen]
udp = ["127.0.0.1:PORT", "[::1]:PORT"]
tcp = ["127.0.0.1:PORT", "[::1]:PORT"]
tls = []
dtls = []
http = []
[auth]
secrets = ["s3cret"]
users = [{ name = "user1", password = "test" }, { name = "user2", password = "test2" }]
[peers]
allow = ["127.0.0.0/8", "::1/128"]
"#;

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    ports: Ports,
    directory: TempDir,
}

/// What stands for PORT, SECURE, DTLS and HTTP in a configuration.
#[derive(Clone, Copy, Debug)]
struct Ports {
    turn: u16,
    secure: u16,
    http: u16,
    dtls: u16,
}

impl Server {
    /// Starts the server and returns when it answers over UDP and TCP.
    pub(crate) fn start() -> Self {
        Self::with("")
    }

    /// The same with these keys of the configuration changed. PORT, SECURE, DTLS and HTTP stand for
    /// free ports.
    pub(crate) fn with(changes: &str) -> Self {
        Self::limited(changes, None)
    }

    /// The same with these variables in its environment.
    pub(crate) fn with_env(changes: &str, environment: &[(&str, &str)]) -> Self {
        Self::prepared(changes, None, environment)
    }

    /// The same with no more than so many descriptors.
    pub(crate) fn limited(changes: &str, descriptors: Option<u32>) -> Self {
        Self::prepared(changes, descriptors, &[])
    }

    fn prepared(changes: &str, descriptors: Option<u32>, environment: &[(&str, &str)]) -> Self {
        if let Ok(address) = std::env::var("HAIRPIN_TEST_SERVER") {
            let address = address.parse().expect("HAIRPIN_TEST_SERVER must be ADDRESS:PORT");
            return Self { address, running: None };
        }
        // Between the choice of a free port and its use somebody else may take it.
        let mut log = String::new();
        for _ in 0..3 {
            let ports = Ports {
                turn: free_port(),
                secure: free_port(),
                http: free_port(),
                dtls: free_port(),
            };
            match Running::start(changes, descriptors, environment, ports) {
                Ok(running) => {
                    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.turn));
                    return Self { address, running: Some(running) };
                }
                Err(said) => log = said,
            }
        }
        panic!("the server does not start; it says:\n{log}");
    }

    /// Where the server listens, for UDP as for TCP.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same port on another address.
    pub(crate) fn at(&self, ip: impl Into<IpAddr>) -> SocketAddr {
        SocketAddr::new(ip.into(), self.address.port())
    }

    /// Where it listens for TLS, if the configuration says that it does at SECURE.
    pub(crate) fn secure_at(&self, ip: impl Into<IpAddr>) -> SocketAddr {
        SocketAddr::new(ip.into(), self.running().ports.secure)
    }

    /// Where it serves HTTP, if the configuration says that it does.
    pub(crate) fn http(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.running().ports.http))
    }

    /// Where it serves DTLS, if the configuration says that it does.
    pub(crate) fn dtls(&self, ip: impl Into<IpAddr>) -> SocketAddr {
        SocketAddr::new(ip.into(), self.running().ports.dtls)
    }

    /// Ends the process at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        let child = &mut self.running_mut().child;
        child.kill().expect("a running child can be killed");
        child.wait().expect("a child that was killed ends");
    }

    /// Ends the process at once and starts it again on the same ports.
    pub(crate) fn start_again(&mut self, changes: &str) {
        self.kill();
        let running = Running::start(changes, None, &[], self.running().ports);
        self.running = Some(running.expect("what has started once starts again"));
    }

    /// Writes the configuration anew, with these keys changed, for a server that reads it again.
    pub(crate) fn write_config(&self, changes: &str) {
        let Running { directory, ports, .. } = self.running();
        let path = directory.path().join("turnserver.toml");
        fs::write(path, config(changes, *ports)).expect("the configuration");
    }

    /// The same as it is written, whatever that is.
    pub(crate) fn write_bad_config(&self, text: &str) {
        let path = self.running().directory.path().join("turnserver.toml");
        fs::write(path, text).expect("the configuration");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.running().pid()), signal).expect("the server runs");
    }

    /// How it has ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.running_mut().child.try_wait().expect("a child can be waited for")
    }

    /// Its process; `None` where it was not started here.
    pub(crate) fn process(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
    }

    /// What it has said, on stdout and stderr.
    pub(crate) fn said(&self) -> String {
        self.running().said()
    }

    /// Descriptors that the process holds.
    pub(crate) fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.running().pid());
        fs::read_dir(path).expect("a running process has descriptors").count()
    }

    /// Memory of the process's own that is in use, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.running().pid());
        let status = fs::read_to_string(path).expect("a running process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
        line.trim().trim_end_matches(" kB").parse().expect("a number of kB")
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("this test needs a server of its own")
    }

    fn running_mut(&mut self) -> &mut Running {
        self.running.as_mut().expect("this test needs a server of its own")
    }
}

impl Running {
    fn start(
        changes: &str,
        descriptors: Option<u32>,
        environment: &[(&str, &str)],
        ports: Ports,
    ) -> Result<Self, String> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("turnserver.toml");
        fs::write(path, config(changes, ports)).expect("the configuration");
        let arguments = ["--config", "turnserver.toml"];
        let child = spawn_with(directory.path(), &arguments, descriptors, environment);
        let mut running = Self { child, ports, directory };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.turn));
        let deadline = Instant::now() + READY_WITHIN;
        while !(answers_binding(address) && accepts(address)) {
            let ended = running.child.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > deadline {
                return Err(format!("{}(ended: {ended:?})", running.said()));
            }
        }
        Ok(running)
    }

    fn pid(&self) -> i32 {
        self.child.id().try_into().expect("a process id")
    }

    fn said(&self) -> String {
        let read = |name| fs::read_to_string(self.directory.path().join(name)).unwrap_or_default();
        read("stdout") + &read("stderr")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the binary in `directory`, where the files `stdout` and `stderr` take what it says.
pub(crate) fn spawn(directory: &Path, arguments: &[&str], descriptors: Option<u32>) -> Child {
    spawn_with(directory, arguments, descriptors, &[])
}

fn spawn_with(
    directory: &Path,
    arguments: &[&str],
    descriptors: Option<u32>,
    environment: &[(&str, &str)],
) -> Child {
    let binary = env!("CARGO_BIN_EXE_hairpin");
    let mut command = match descriptors {
        None => Command::new(binary),
        Some(limit) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\""), binary]);
            shell
        }
    };
    let out = |name| File::create(directory.join(name)).expect("a file for what it says");
    command
        .args(arguments)
        .current_dir(directory)
        .env_remove("HAIRPIN_CONFIG")
        .env_remove("HAIRPIN_LOG")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(out("stdout"))
        .stderr(out("stderr"))
        .spawn()
        .expect("the binary that cargo built for this test starts")
}

/// [`CONFIG`] with `changes` and with real ports.
fn config(changes: &str, ports: Ports) -> String {
    let parse = |text: &str| text.parse::<Table>().expect("the test writes TOML");
    let mut config = parse(CONFIG);
    for (key, value) in parse(changes) {
        match (config.get_mut(&key), value) {
            (Some(Value::Table(table)), Value::Table(changed)) => table.extend(changed),
            (_, value) => drop(config.insert(key, value)),
        }
    }
    let text = config.to_string();
    let stands_for = [
        ("PORT", ports.turn),
        ("SECURE", ports.secure),
        ("DTLS", ports.dtls),
        ("HTTP", ports.http),
    ];
    stands_for.iter().fold(text, |text, (word, port)| text.replace(word, &port.to_string()))
}

/// A port that nobody uses at any IPv4 address at the moment, neither over UDP nor over TCP. From
/// below those that the system gives to clients and the server to relays, so that it stays free.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = rand::random_range(16_384..32_768);
        let any = (Ipv4Addr::UNSPECIFIED, port);
        if UdpSocket::bind(any).is_ok() && TcpListener::bind(any).is_ok() {
            return port;
        }
    }
}

/// Whether a TCP connection is accepted, and let go again.
fn accepts(server: SocketAddr) -> bool {
    TcpStream::connect(server).is_ok_and(|mut stream| {
        stream.set_read_timeout(Some(READY_WITHIN)).expect("a timeout");
        stream.shutdown(Shutdown::Write).is_ok() && stream.read(&mut [0]).is_ok()
    })
}

/// Whether a Binding request gets a success response; waits for it a twentieth of a second.
pub(crate) fn answers_binding(server: SocketAddr) -> bool {
    const REQUEST: [u8; 20] = *b"\x00\x01\x00\x00\x21\x12\xa4\x42are you here";
    // Not connected, so that a refusal is not reported and each attempt takes its time.
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free UDP port");
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    let mut answer = [0; 1500];
    socket.send_to(&REQUEST, server).is_ok()
        && socket.recv_from(&mut answer).is_ok_and(|(length, _)| {
            length >= 20 && answer[..2] == [0x01, 0x01] && answer[4..20] == REQUEST[4..]
        })
}
