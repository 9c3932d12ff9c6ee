//! Stands for `session` in builds without the feature `dtls`: what has no value cannot be used,
//! and whatever would use it costs nothing.

use std::convert::Infallible;
use std::time::Duration;

use crate::net::dtls::{ClientHello, Flaw, Read, Unsent, Wires};

/// Nobody has one.
#[derive(Clone, Debug)]
pub struct Identity(Infallible);

/// Nobody has one.
#[derive(Debug)]
pub struct Session(Infallible);

impl Identity {
    /// Whether this build knows DTLS.
    pub const KNOWN: bool = false;

    /// # Errors
    ///
    /// Always.
    pub fn from_pem(_certificate: &[u8], _key: &[u8]) -> Result<Self, Flaw> {
        Err(Flaw::Certificate("cannot be used: this build knows no DTLS".to_owned()))
    }
}

impl Session {
    /// There is no identity to begin with.
    pub fn begin(
        identity: &Identity,
        _hello: &ClientHello<'_>,
        _wires: &mut Wires,
    ) -> Option<Self> {
        match identity.0 {}
    }

    /// There is no session.
    pub fn random(&self) -> &[u8; 32] {
        match self.0 {}
    }

    /// There is no session.
    pub fn is_open(&self) -> bool {
        match self.0 {}
    }

    /// There is no session.
    pub fn read(&mut self, _wires: &mut Wires, _buffer: &mut [u8]) -> Read {
        match self.0 {}
    }

    /// There is no session.
    pub fn write(&mut self, _wires: &mut Wires, _message: &[u8]) -> Result<(), Unsent> {
        match self.0 {}
    }

    /// There is no session.
    pub fn timeout(&self) -> Option<Duration> {
        match self.0 {}
    }

    /// There is no session.
    pub fn handle_timeout(&mut self, _wires: &mut Wires) -> bool {
        match self.0 {}
    }

    /// There is no session.
    pub fn give_up(&mut self, _wires: &mut Wires) {
        match self.0 {}
    }

    /// There is no session.
    pub fn close(&mut self, _wires: &mut Wires) {
        match self.0 {}
    }
}
