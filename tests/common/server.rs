//! The server as a user starts it: the built binary with a configuration file, on loopback.
//!
//! `HAIRPIN_TEST_SERVER=127.0.0.1:3478` puts another server under the same tests; it has to know
//! the users of [`CONFIG`] and to allow peers on loopback.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

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
    running: Option<(Child, TempDir)>,
}

impl Server {
    /// Starts the server and returns when it answers over UDP and TCP.
    pub(crate) fn start() -> Self {
        if let Ok(address) = std::env::var("HAIRPIN_TEST_SERVER") {
            let address = address.parse().expect("HAIRPIN_TEST_SERVER must be ADDRESS:PORT");
            return Self { address, running: None };
        }
        // Between the choice of a free port and its use somebody else may take it.
        let mut log = String::new();
        for _ in 0..3 {
            match Self::start_on(free_port()) {
                Ok(server) => return server,
                Err(said) => log = said,
            }
        }
        panic!("the server does not start; it says:\n{log}");
    }

    /// Where the server listens, for UDP as for TCP.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn start_on(port: u16) -> Result<Self, String> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (config, log) =
            (directory.path().join("turnserver.toml"), directory.path().join("log"));
        fs::write(&config, CONFIG.replace("PORT", &port.to_string())).expect("the configuration");
        let out = File::create(&log).expect("the log");
        let child = Command::new(env!("CARGO_BIN_EXE_hairpin"))
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a second handle of the log"))
            .stderr(out)
            .spawn()
            .expect("the binary that cargo built for this test starts");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut server = Self { address, running: Some((child, directory)) };
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if answers_binding(address) && TcpStream::connect(address).is_ok() {
                return Ok(server);
            }
            let ended = server.running.as_mut().and_then(|(child, _)| child.try_wait().ok()?);
            if ended.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("{said}(ended: {ended:?})"));
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.running {
            // It may have ended by itself; then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A port of 127.0.0.1 that nobody uses at the moment, neither over UDP nor over TCP.
fn free_port() -> u16 {
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free UDP port");
        let port = udp.local_addr().expect("a bound socket has an address").port();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Whether a Binding request gets a success response; waits for it a twentieth of a second.
fn answers_binding(server: SocketAddr) -> bool {
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
