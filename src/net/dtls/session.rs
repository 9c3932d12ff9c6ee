//! Sessions as OpenSSL makes them. Whatever it is not asked it cannot do: no renegotiation, no
//! resumption, no compression, no client certificates, nothing before DTLS 1.2.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::sync::LazyLock;
use std::time::Duration;

use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::pkey::PKey;
use openssl::ssl::{
    AlpnError, ErrorCode, Ssl, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions,
    SslSessionCacheMode, SslStream, SslVersion, select_next_proto,
};
use openssl::x509::X509;

use crate::net::dtls::record::{HANDSHAKE_MESSAGE_MAX, INTERNAL_ERROR};
use crate::net::dtls::{ClientHello, Flaw, MESSAGE_MAX, Read, Unsent, Wires};
use crate::net::sys::dtls as sys;

/// A certificate chain with its key, and all else that sessions have in common.
#[derive(Clone)]
pub struct Identity(SslContext);

/// A client's session, from its ClientHello with a good cookie on.
pub struct Session {
    stream: SslStream<Wires>,
    random: [u8; 32],
    is_open: bool,
    /// Encrypted datagrams that came before the handshake was through.
    early: u8,
}

/// Where a session keeps the cookie that was found good.
static COOKIE: LazyLock<Option<Index<Ssl, Vec<u8>>>> = LazyLock::new(|| Ssl::new_ex_index().ok());

impl Identity {
    /// Whether this build knows DTLS.
    pub const KNOWN: bool = true;

    /// From a certificate chain, the server's own first, and the key to it.
    ///
    /// # Errors
    ///
    /// Where one of both is none, or they do not belong together.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, Flaw> {
        let bad_certificate = |error: ErrorStack| Flaw::Certificate(told(&error));
        let chain = X509::stack_from_pem(certificate).map_err(bad_certificate)?;
        let mut chain = chain.into_iter();
        let Some(own) = chain.next() else {
            return Err(Flaw::Certificate("is not in the file, which has to be PEM".to_owned()));
        };
        // Without a callback OpenSSL would ask at the terminal.
        let key = PKey::private_key_from_pem_callback(key, |_| Ok(0)).map_err(|_| {
            Flaw::Key("is not in the file, which has to be PEM without a passphrase".to_owned())
        })?;
        let mut context = common().map_err(bad_certificate)?;
        context.set_certificate(&own).map_err(bad_certificate)?;
        for next in chain {
            context.add_extra_chain_cert(next).map_err(bad_certificate)?;
        }
        context
            .set_private_key(&key)
            .and_then(|()| context.check_private_key())
            .map_err(|_| Flaw::Key("is not that of the certificate".to_owned()))?;
        Ok(Self(context.build()))
    }
}

/// What does not depend on the certificate.
fn common() -> Result<SslContextBuilder, ErrorStack> {
    let mut context = SslContextBuilder::new(SslMethod::dtls_server())?;
    context.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
    context.set_max_proto_version(Some(SslVersion::DTLS1_2))?;
    context.set_cipher_list(SUITES)?;
    sys::set_dh_auto(&mut context);
    sys::set_message_max(&mut context, HANDSHAKE_MESSAGE_MAX);
    context.set_options(
        SslOptions::CIPHER_SERVER_PREFERENCE
            | SslOptions::COOKIE_EXCHANGE
            | SslOptions::NO_COMPRESSION
            | SslOptions::NO_QUERY_MTU
            | SslOptions::NO_RENEGOTIATION
            | SslOptions::NO_TICKET
            | SslOptions::SINGLE_DH_USE,
    );
    context.set_mode(SslMode::RELEASE_BUFFERS);
    context.set_session_cache_mode(SslSessionCacheMode::OFF);
    // RFC 7443; a client that offers neither, but something, wants another server (RFC 7301 §3.2).
    context.set_alpn_select_callback(|_, offered| {
        select_next_proto(ALPN, offered).ok_or(AlpnError::ALERT_FATAL)
    });
    // It was judged before a session was begun; here it only has to be the same.
    context.set_cookie_verify_cb(|ssl, shown| {
        let good = (*COOKIE).and_then(|index| ssl.ex_data(index));
        good.is_some_and(|good| good == shown)
    });
    Ok(context)
}

impl Session {
    /// Takes the ClientHello of a client whose cookie was good. `None` where OpenSSL has another
    /// opinion of it than we, or no memory.
    pub fn begin(identity: &Identity, hello: &ClientHello<'_>, wires: &mut Wires) -> Option<Self> {
        drop(ErrorStack::get());
        let mut ssl = Ssl::new(&identity.0).ok()?;
        ssl.set_ex_data((*COOKIE)?, hello.cookie.to_vec());
        ssl.set_mtu(HANDSHAKE_MTU).ok()?;
        let stream = SslStream::new(ssl, Wires::default()).ok()?;
        let mut session = Self { stream, random: *hello.random, is_open: false, early: 0 };
        wires.arrive(hello.record);
        let listened = session.lend(wires, |stream| sys::listen(stream.ssl()));
        let going = listened && session.shake_hands(wires) != Read::Ended;
        going.then_some(session)
    }

    /// What the client made up for the handshake.
    pub fn random(&self) -> &[u8; 32] {
        &self.random
    }

    /// Whether the handshake is through.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Reads the next message of what has come into `buffer`, which has room for
    /// [`MESSAGE_MAX`] bytes. To be asked again until there is nothing more.
    pub fn read(&mut self, wires: &mut Wires, buffer: &mut [u8]) -> Read {
        if !self.is_open {
            self.early += u8::from(wires.is_new && wires.is_encrypted);
            if self.early > EARLY_MAX {
                self.early = EARLY_MAX;
                wires.is_new = false;
            }
            if self.shake_hands(wires) == Read::Ended {
                return Read::Ended;
            }
            if !self.is_open {
                return Read::Nothing;
            }
        }
        match self.lend(wires, |stream| stream.ssl_read(buffer)) {
            Ok(length) => Read::Message(length),
            Err(error) => fate(error.code()),
        }
    }

    /// Goes on with the handshake as far as it gets.
    fn shake_hands(&mut self, wires: &mut Wires) -> Read {
        match self.lend(wires, SslStream::accept) {
            Ok(()) => {
                self.is_open = true;
                Read::Nothing
            }
            Err(error) => fate(error.code()),
        }
    }

    /// Sends a message, as one record in one datagram.
    ///
    /// # Errors
    ///
    /// Where it is too long for that, or there is no open session.
    pub fn write(&mut self, wires: &mut Wires, message: &[u8]) -> Result<(), Unsent> {
        if !self.is_open {
            return Err(Unsent::NotOpen);
        }
        if message.len() > MESSAGE_MAX {
            return Err(Unsent::TooLong);
        }
        let sent = self.lend(wires, |stream| stream.ssl_write(message));
        sent.map(drop).map_err(|_| Unsent::NotOpen)
    }

    /// In how long [`Session::handle_timeout`] wants to be called.
    pub fn timeout(&self) -> Option<Duration> {
        if self.is_open { None } else { sys::timeout(self.stream.ssl()) }
    }

    /// Sends the last flight again if it is time; answers whether there is still hope that the
    /// client hears it.
    #[must_use]
    pub fn handle_timeout(&mut self, wires: &mut Wires) -> bool {
        self.lend(wires, |stream| sys::handle_timeout(stream.ssl()))
    }

    /// Tells the client of a handshake that is not gone on with, by an alert in the clear (RFC 5246
    /// §7.2.2), as there is no key yet. OpenSSL has no word for that.
    pub fn give_up(&mut self, wires: &mut Wires) {
        if !self.is_open {
            wires.leaving.extend_from_slice(&INTERNAL_ERROR);
            wires.ends.push(wires.leaving.len());
        }
    }

    /// Says close_notify.
    pub fn close(&mut self, wires: &mut Wires) {
        if mem::take(&mut self.is_open) {
            // One that is broken has nothing more to say.
            let _ = self.lend(wires, SslStream::shutdown);
        }
    }

    /// Does something with these wires. What OpenSSL has noted of earlier errors, any session's, it
    /// would take for this one's.
    fn lend<T>(&mut self, wires: &mut Wires, work: impl FnOnce(&mut SslStream<Wires>) -> T) -> T {
        drop(ErrorStack::get());
        mem::swap(self.stream.get_mut(), wires);
        let result = work(&mut self.stream);
        mem::swap(self.stream.get_mut(), wires);
        result
    }
}

/// What an error means for its session.
fn fate(code: ErrorCode) -> Read {
    match code {
        ErrorCode::WANT_READ | ErrorCode::WANT_WRITE => Read::Nothing,
        _ => Read::Ended,
    }
}

/// The first of OpenSSL's reasons, as the end of a sentence.
fn told(error: &ErrorStack) -> String {
    let reason = error.errors().first().and_then(|error| error.reason());
    format!("cannot be used: {}", reason.unwrap_or("OpenSSL does not say why"))
}

impl io::Read for Wires {
    /// The whole datagram, once.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !mem::take(&mut self.is_new) {
            return Err(ErrorKind::WouldBlock.into());
        }
        let length = self.arrived.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.arrived[..length]);
        Ok(length)
    }
}

impl Write for Wires {
    /// One datagram.
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.leaving.extend_from_slice(datagram);
        self.ends.push(self.leaving.len());
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Identity {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("is_open", &self.is_open).finish_non_exhaustive()
    }
}

/// RFC 7350 §3 asks for DHE and ECDHE with RSA and AES-128-GCM; every suite here is of that kind,
/// forward secret and authenticated (BCP 195). `record` counts on AES-GCM.
const SUITES: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
                      ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
                      DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384";

/// The protocols of RFC 7443, each with its length in front, the preferred one first.
const ALPN: &[u8] = b"\x09stun.turn\x12stun.nat-discovery";

/// Bytes of a datagram with a flight of the handshake in it: what every path carries whole. For
/// messages it is no bound; a long one is for the IP layer to take apart, as it is without DTLS.
const HANDSHAKE_MTU: u32 = 1200;

/// How many encrypted datagrams may come before there is a key: OpenSSL keeps each of them for
/// then, in a buffer of 17 KiB. An honest client's Finished may overtake what goes before it, and
/// be sent again a few times.
const EARLY_MAX: u8 = 3;
