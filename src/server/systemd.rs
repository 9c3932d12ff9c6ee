//! What systemd is told (Type=notify, sd_notify(3)): that the server is up, that it reads its
//! configuration again, that it drains, and while that is so that it lives. Where nobody asked for
//! it nothing is sent.

use std::time::Duration;

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tracing::debug;

/// How often a sign of life is due; `None` where none is wanted.
pub(super) fn watchdog() -> Option<Duration> {
    watchdog_enabled().map(|timeout| timeout / 3)
}

pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It ends with another [`ready`].
pub(super) fn reloading() {
    // Without the time systemd would take this for an older one's.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => debug!("the system has no monotonic clock: {error}"),
    }
}

pub(super) fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

fn tell(state: &[NotifyState<'_>]) {
    // Whoever asked and does not listen learns it from the log.
    if let Err(error) = notify(state) {
        debug!("systemd cannot be told: {error}");
    }
}
