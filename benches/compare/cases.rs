//! What is compared: each case is a line of options for `hairpin load`.

use crate::bare::Way;

/// Which bare loop's work a case's work is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pattern {
    /// One flow, each datagram by itself.
    One,
    /// Many flows.
    Many,
    /// Bursts of one flow.
    Burst,
}

impl Pattern {
    pub(crate) fn line(self) -> &'static str {
        match self {
            Self::One => "--flows 1",
            Self::Many => "--flows 200",
            Self::Burst => "--flows 1 --burst 16",
        }
    }

    /// The bare loops that do the same work: many allocations are many sockets to send by, so a
    /// loop with one of them is no floor to that.
    pub(crate) fn ways(self) -> &'static [Way] {
        match self {
            Self::One | Self::Burst => &[Way::Single, Way::Batch, Way::Merged],
            Self::Many => &[Way::Single, Way::Batch, Way::Merged, Way::Spread],
        }
    }

    /// Of them those that count as the floor.
    pub(crate) fn floor(self) -> &'static [Way] {
        match self {
            Self::Many => &[Way::Spread],
            _ => self.ways(),
        }
    }
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) transport: &'static str,
    pub(crate) line: &'static str,
    /// `None` where nothing bare does the like.
    pub(crate) pattern: Option<Pattern>,
    /// `None` where there is no payload.
    pub(crate) size: Option<u32>,
}

const SIZES: [u32; 2] = [160, 1200];

pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, transport, line, pattern) in [
        ("one flow, up", "udp", "--mode up", Some(Pattern::One)),
        ("one flow, down", "udp", "--mode down", Some(Pattern::One)),
        ("200 flows, up", "udp", "--mode up --flows 200", Some(Pattern::Many)),
        ("200 flows, down", "udp", "--mode down --flows 200", Some(Pattern::Many)),
        (
            "200 flows, 200 peers, up",
            "udp",
            "--mode up --flows 200 --peers 200",
            Some(Pattern::Many),
        ),
        (
            "200 flows, 200 peers, down",
            "udp",
            "--mode down --flows 200 --peers 200",
            Some(Pattern::Many),
        ),
        ("bursts of 16, up", "udp", "--mode up --burst 16", Some(Pattern::Burst)),
        ("bursts of 16, down", "udp", "--mode down --burst 16", Some(Pattern::Burst)),
        ("hairpin", "udp", "--mode hairpin", Some(Pattern::One)),
        ("hairpin, bursts of 16", "udp", "--mode hairpin --burst 16", Some(Pattern::Burst)),
        ("Send indications", "udp", "--mode up --framing indication", Some(Pattern::One)),
        ("Data indications", "udp", "--mode down --framing indication", Some(Pattern::One)),
        ("TCP client, up", "tcp", "--mode up", None),
        ("TCP client, down", "tcp", "--mode down", None),
        ("TLS client, up", "tls", "--mode up", None),
        ("TLS client, down", "tls", "--mode down", None),
    ] {
        cases.extend(SIZES.map(|size| Case { name, transport, line, pattern, size: Some(size) }));
    }
    for (name, line) in
        [("Binding", "--mode binding"), ("Allocate + Refresh 0", "--mode allocate --flows 16")]
    {
        cases.push(Case { name, transport: "udp", line, pattern: None, size: None });
    }
    cases
}
