//! Threads, sockets, what is said on the wire, and the process.

use super::Fate::{Carried, Needless};
use super::{Row, unsupported};

const UNIT: &str = "the service manager does this: see systemd/hairpin.service";
const CALLS: &str = "many packets share a system call wherever the kernel allows it";

pub(super) const ROWS: &[Row] = &[
    Row::value("relay-threads", Carried("workers")),
    Row::value("cpus", Carried("workers")),
    Row::value(
        "sock-buf-size",
        Needless("socket buffers are chosen, and where the kernel grants less that is told"),
    ),
    Row::value("ne", Needless("there is one engine")),
    Row::flag("udp-recvmmsg", Needless(CALLS)),
    Row::flag("udp-recvmmsg-log", Needless(CALLS)),
    Row::flag("udp-sendmmsg", Needless(CALLS)),
    Row::flag("udp-sendmmsg-log", Needless(CALLS)),
    Row::flag("udp-gso", Needless("runs of datagrams are sent as one unless gso = \"off\"")),
    Row::flag("fingerprint", Needless("whoever sends FINGERPRINT is answered with it")),
    Row::flag("no-software-attribute", Carried("software")),
    Row::flag("software-attribute", Carried("software")),
    Row::flag("prod", Carried("software")),
    Row::flag(
        "stun-backward-compatibility",
        unsupported(
            "MAPPED-ADDRESS is for clients of RFC 3489 only, which get it: home routers rewrite it",
            "update clients that cannot read XOR-MAPPED-ADDRESS",
        ),
    ),
    Row::flag(
        "no-stun-backward-compatibility",
        Needless("MAPPED-ADDRESS is for clients of RFC 3489 only"),
    ),
    Row::flag("rfc3489-compatibility", Needless("clients of RFC 3489 are always answered")),
    Row::flag(
        "rfc5766-channel-numbers",
        unsupported(
            "channels have the numbers 0x4000 to 0x4FFF (RFC 8656 §12)",
            "update clients that choose others",
        ),
    ),
    Row::flag("include-reason-string", Needless("every error says in its phrase what is wrong")),
    Row::flag(
        "respond-http-unsupported",
        unsupported(
            "HTTP at a port of TURN is closed and counted, unless [signalling] demo = true opens \
             the page by TLS",
            "ask [listen] http instead, at /healthz",
        ),
    ),
    Row::flag("drop-invalid-packets", Needless("what is not STUN is dropped and counted")),
    Row::flag("drop-invalid-packets-log", Needless("nothing is logged for single packets")),
    Row::value(
        "drain-min-allocations",
        unsupported(
            "a drain ends after a time, or when nobody is left",
            "write drain_secs = 600, for ten minutes, at the top of turnserver.toml",
        ),
    )
    .idle_at("0"),
    Row::flag("daemon", Needless(UNIT)),
    Row::value("pidfile", Needless(UNIT)),
    Row::value("proc-user", Needless(UNIT)),
    Row::value("proc-group", Needless(UNIT)),
    Row::flag("version", Needless("`hairpin --version` tells it")),
    Row::flag("no-cli", Needless("there is no telnet interface")),
    Row::flag(
        "cli",
        unsupported(
            "there is no telnet interface",
            "ask over HTTP at /admin/v1 of [listen] http: allocations, drain, reload, log level",
        ),
    ),
    Row::value("cli-ip", Needless("there is no telnet interface")),
    Row::value("cli-port", Needless("there is no telnet interface")),
    Row::secret("cli-password", Needless("there is no telnet interface")),
    Row::value("cli-max-output-sessions", Needless("there is no telnet interface")),
    Row::flag(
        "web-admin",
        unsupported(
            "there is no page for operators",
            "ask over HTTP at /admin/v1 of [listen] http, or put a dashboard on /metrics",
        ),
    ),
    Row::value("web-admin-ip", Needless("there is no page for operators")),
    Row::value("web-admin-port", Needless("there is no page for operators")),
    Row::flag("web-admin-listen-on-workers", Needless("there is no page for operators")),
];
