//! The control plane: configuration, command line, HTTP, signalling sockets. Asynchronous where it
//! must be, and never on a packet's road.

pub mod access;
pub mod admin;
pub mod certificates;
pub mod cli;
pub mod clock;
pub mod config;
pub mod credentials;
pub mod ctl;
mod hall;
pub mod http;
pub mod ice;
pub mod import;
pub mod interfaces;
pub mod log;
pub mod manual;
mod meter;
pub mod metrics;
pub mod quickstart;
mod signal_socket;
mod tls_stream;
