//! What the kernel may do for many datagrams at once, and the kernels that do it wrong.

use std::fmt;
use std::str::FromStr;

use crate::net::batch::Segments;

/// What sockets ask of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offload {
    /// Runs of datagrams leave as segments of one message (UDP_SEGMENT).
    pub gso: bool,
    /// Datagrams of one sender that came together are handed over together (UDP_GRO).
    pub gro: bool,
}

/// The operator's word about one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Switch {
    /// On, unless this kernel is known to do it wrong.
    #[default]
    Auto,
    /// On, whatever the kernel is.
    On,
    /// Off.
    Off,
}

impl Default for Offload {
    fn default() -> Self {
        Self { gso: true, gro: true }
    }
}

impl Offload {
    /// What these switches come to on a kernel of this release (`uname -r`).
    pub fn choose(gso: Switch, gro: Switch, release: &str) -> Self {
        let kernel = Kernel::of(release);
        Self {
            gso: gso.is_on(!kernel.is_some_and(Kernel::corrupts_segments)),
            gro: gro.is_on(!kernel.is_some_and(Kernel::joins_wrongly)),
        }
    }

    pub(super) fn segments(self) -> Segments {
        if self.gso { Segments::ON } else { Segments::OFF }
    }
}

impl Switch {
    fn is_on(self, auto: bool) -> bool {
        match self {
            Self::Auto => auto,
            Self::On => true,
            Self::Off => false,
        }
    }
}

impl FromStr for Switch {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "auto" => Ok(Self::Auto),
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            _ => Err(()),
        }
    }
}

/// A kernel's version, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kernel {
    major: u32,
    minor: u32,
    /// Of a release candidate its number.
    candidate: Option<u32>,
}

impl Kernel {
    fn of(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        let candidate = release
            .split_once("-rc")
            .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
        Some(Self { major, minor, candidate })
    }

    /// From 7.0-rc1 to 7.1-rc4 the length and checksum of segments of equal size come out wrong,
    /// and nothing tells at run time.
    fn corrupts_segments(self) -> bool {
        match (self.major, self.minor) {
            (7, 0) => true,
            (7, 1) => self.candidate.is_some_and(|candidate| candidate <= 4),
            _ => false,
        }
    }

    /// Before 5.12 datagrams could be joined that were on their way to others.
    fn joins_wrongly(self) -> bool {
        (self.major, self.minor) < (5, 12)
    }
}

impl fmt::Display for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |on| if on { "on" } else { "off" };
        write!(f, "gso {}, gro {}", word(self.gso), word(self.gro))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto(release: &str) -> (bool, bool) {
        let Offload { gso, gro } = Offload::choose(Switch::Auto, Switch::Auto, release);
        (gso, gro)
    }

    #[test]
    fn kernels_that_corrupt_segments_get_none_by_themselves() {
        for release in ["7.0.0-rc1", "7.0.3-generic", "7.0", "7.1.0-rc4-next"] {
            assert_eq!(auto(release), (false, true), "{release}");
        }
        for release in ["6.18.44", "7.1.0-rc5", "7.1.2", "7.2.0-rc1", "17.0.1"] {
            assert_eq!(auto(release), (true, true), "{release}");
        }
    }

    #[test]
    fn old_kernels_join_nothing_by_themselves() {
        assert_eq!(auto("5.10.0-21-amd64"), (true, false));
        assert_eq!(auto("4.19.0"), (true, false));
        assert_eq!(auto("5.12.0"), (true, true));
    }

    #[test]
    fn the_operators_word_is_above_what_is_known_of_the_kernel() {
        let forced = Offload::choose(Switch::On, Switch::On, "7.0.0");
        assert_eq!(forced, Offload { gso: true, gro: true });
        let none = Offload::choose(Switch::Off, Switch::Off, "6.18.0");
        assert_eq!(none.to_string(), "gso off, gro off");
        assert_eq!(auto("no kernel at all"), (true, true));
    }
}
