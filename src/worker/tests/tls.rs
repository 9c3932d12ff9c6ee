//! What is TLS's alone: handshakes that take too long, are too many or fail, and what comes after
//! them that is none of theirs.

use super::*;

use crate::net::tls::Identity;
use rcgen::generate_simple_self_signed;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A keyring, and how clients believe it.
pub(super) fn keyring() -> (Arc<Keyring>, Arc<ClientConfig>) {
    let made = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let identity = Identity::new(vec![made.cert.der().clone()], key, &[]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(Keyring::new(vec![identity], true).unwrap()), Arc::new(config))
}

fn tls(options: Options) -> (Running, Arc<ClientConfig>) {
    let (keyring, config) = keyring();
    (start_with(options, Some(Secured { keyring, guests: None })), config)
}

fn connect(server: &Running) -> TcpStream {
    let stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A client whose handshake is done.
pub(super) fn open(
    server: &Running,
    config: &Arc<ClientConfig>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut stream = connect(server);
    let name = "localhost".try_into().unwrap();
    let mut tls = ClientConnection::new(Arc::clone(config), name).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut stream).unwrap();
    }
    StreamOwned::new(tls, stream)
}

/// A Binding request and its answer.
pub(super) fn asks(stream: &mut (impl Read + Write)) {
    let request = b"\x00\x01\x00\x00\x21\x12\xa4\x42tls request.";
    stream.write_all(request).unwrap();
    let mut answer = [0; 32];
    stream.read_exact(&mut answer).unwrap();
    success(&answer);
}

/// Whether the server ends the connection, whatever it may have said before.
fn has_ended(mut stream: TcpStream) -> bool {
    loop {
        match stream.read(&mut [0; 1024]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn a_client_is_served_behind_its_handshake() {
    let (server, config) = tls(Options::default());
    let mut client = open(&server, &config);
    asks(&mut client);
    asks(&mut client);
    let stats = server.stop()[0].stats;
    assert_eq!((stats.handshakes_done, stats.handshakes_failed), (1, 0));
    // A frame counts as what it is inside.
    assert_eq!((stats.tcp.packets_in, stats.tcp.bytes_in), (2, 40));
}

#[test]
fn a_handshake_that_takes_too_long_is_given_up() {
    let limits = TlsLimits { handshake: Lifetime::from_secs(3), ..TlsLimits::default() };
    let (server, config) = tls(Options { tls: limits, ..Options::default() });
    let mut quick = open(&server, &config);
    let silent = connect(&server);
    let mut halting = connect(&server);
    halting.write_all(&[22, 3, 1, 1, 0]).unwrap();
    assert!(has_ended(silent) && has_ended(halting));
    asks(&mut quick);
    let stats = server.stop()[0].stats;
    assert_eq!((stats.handshakes_late, stats.connections_idle), (2, 0));
    assert_eq!((stats.handshakes_done, stats.handshakes_failed), (1, 0));
}

#[test]
fn the_oldest_of_too_many_handshakes_makes_room() {
    let limits = TlsLimits { handshakes: 3, ..TlsLimits::default() };
    let (server, config) = tls(Options { tls: limits, ..Options::default() });
    let mut before = open(&server, &config);
    let mut waiting: Vec<_> = (0..5).map(|_| connect(&server)).collect();
    let snapshot = server.until(|snapshot| snapshot.stats.handshakes_displaced == 2);
    assert_eq!(snapshot.connections, 4);
    // Those that came first are gone; one that came later can still finish, and so can others.
    assert!(waiting.drain(..2).all(has_ended));
    asks(&mut before);
    asks(&mut open(&server, &config));
    server.stop();
}

#[test]
fn a_handshake_that_fails_is_counted_and_costs_nobody_else() {
    let (server, config) = tls(Options::default());
    let mut client = open(&server, &config);
    let mut plain = connect(&server);
    plain.write_all(b"\x00\x01\x00\x00\x21\x12\xa4\x42is this TLS?").unwrap();
    let mut alert = Vec::new();
    plain.read_to_end(&mut alert).unwrap();
    assert_eq!(alert[0], 21, "the content type of alerts");
    drop(connect(&server));
    server.until(|snapshot| snapshot.stats.handshakes_failed == 2);
    asks(&mut client);
    assert_eq!(server.stop()[0].connections, 1);
}

#[test]
fn what_is_no_record_of_the_session_ends_the_connection() {
    let (server, config) = tls(Options::default());
    let mut client = open(&server, &config);
    asks(&mut client);
    client.sock.write_all(&[23, 3, 3, 0, 32]).unwrap();
    client.sock.write_all(&[0; 32]).unwrap();
    let error = client.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}: an alert");
    let stats = server.stop()[0].stats;
    assert_eq!((stats.connections_broken, stats.handshakes_failed), (1, 0));
}

#[test]
fn the_end_that_a_client_says_is_answered_with_an_end() {
    let (server, config) = tls(Options::default());
    let mut client = open(&server, &config);
    asks(&mut client);
    client.conn.send_close_notify();
    client.flush().unwrap();
    // Without the word for it this is an error.
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    server.until(|snapshot| snapshot.connections == 0);
    server.stop();
}

#[test]
fn a_client_that_speaks_http_is_shown_in_with_what_it_has_said() {
    let (shows_in, mut guests) = mpsc::channel(1);
    let (keyring, config) = keyring();
    let secured = Secured { keyring, guests: Some(shows_in) };
    let server = start_with(Options::default(), Some(secured));
    let mut client = open(&server, &config);
    client.write_all(b"GET / HTTP/1.1").unwrap();
    server.until(|snapshot| snapshot.stats.guests_shown_in == 1);
    // Nobody has time for a second one.
    let mut second = open(&server, &config);
    second.write_all(b"GET / HTTP/1.1").unwrap();
    assert!(has_ended(second.sock));
    let Guest { stream, session, said, client: from, server: reached } = guests.try_recv().unwrap();
    assert_eq!(said, b"GET / HTTP/1.1");
    assert_eq!((from, reached), (client.sock.local_addr().unwrap(), server.address));
    assert!(!session.is_opening());
    drop(stream);
    asks(&mut open(&server, &config));
    let snapshot = server.until(|snapshot| snapshot.connections == 0);
    assert_eq!((snapshot.stats.guests_shown_in, snapshot.stats.guests_refused), (1, 1));
    server.stop();
}
