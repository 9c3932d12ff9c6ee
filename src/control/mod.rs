//! The control plane: asynchronous where it must be, and never on a packet's road.

pub mod cli;
pub mod config;
pub mod credentials;
pub mod interfaces;
pub mod log;
