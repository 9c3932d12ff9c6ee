//! The log, and metrics.

use super::Fate::{Carried, Needless};
use super::{Row, unsupported};

const STDERR: &str = "the log goes to stderr, and whoever starts hairpin keeps it: under systemd \
                      `journalctl -u hairpin` has it";
const NO_METRICS: &str = "there are no metrics for Prometheus yet";
const PROBE: &str = "watch /healthz of [listen] http, and run `hairpin probe` from elsewhere";

pub(super) const ROWS: &[Row] = &[
    Row::flag("verbose", Needless("level = \"info\" in [log] is as much, and is the default")),
    Row::flag("Verbose", Carried("[log] level")),
    Row::value("log-min-level", Carried("[log] level")),
    Row::value("log-file", Needless(STDERR)),
    Row::flag("no-stdout-log", Needless(STDERR)),
    Row::flag("syslog", Needless(STDERR)),
    Row::value("syslog-facility", Needless(STDERR)),
    Row::flag("simple-log", Needless(STDERR)),
    Row::flag("new-log-timestamp", Needless("every line has its time, in UTC")),
    Row::value("new-log-timestamp-format", Needless("every line has its time, in UTC")),
    Row::flag("log-binding", Needless("nothing is logged for single packets")),
    Row::flag("prometheus", unsupported(NO_METRICS, PROBE)),
    Row::value("prometheus-port", Needless(NO_METRICS)),
    Row::value("prometheus-address", Needless(NO_METRICS)),
    Row::value("prometheus-path", Needless(NO_METRICS)),
    Row::flag("prometheus-username-labels", Needless(NO_METRICS)),
    Row::flag("prometheus-tls", unsupported(NO_METRICS, PROBE)),
    Row::value("prometheus-cert", Needless(NO_METRICS)),
    Row::value("prometheus-key", Needless(NO_METRICS)),
];
