//! The log, and metrics.

use super::Fate::{Carried, Needless};
use super::Row;

const STDERR: &str = "the log goes to stderr, and whoever starts hairpin keeps it: under systemd \
                      `journalctl -u hairpin` has it";
const METRICS: &str = "metrics are always there: at /metrics of [listen] http, for whoever shows \
                       [admin] token, or where there is none for this machine, and for networks \
                       in [admin] metrics_from";

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
    Row::flag("prometheus", Needless(METRICS)),
    Row::value("prometheus-port", Needless(METRICS)),
    Row::value("prometheus-address", Needless(METRICS)),
    Row::value("prometheus-path", Needless(METRICS)),
    Row::flag("prometheus-username-labels", Needless(METRICS)),
    Row::flag("prometheus-tls", Needless(METRICS)),
    Row::value("prometheus-cert", Needless(METRICS)),
    Row::value("prometheus-key", Needless(METRICS)),
];
