//! Attribute types (RFC 8489 §18.3, RFC 8656 §18, RFC 6062 §6.2, RFC 5780 §7) and which of them
//! this server knows.

use std::fmt;

/// An attribute's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributeType(pub u16);

impl AttributeType {
    /// Whether a receiver that does not know this type must refuse the message (RFC 8489 §14).
    pub const fn is_comprehension_required(self) -> bool {
        self.0 < 0x8000
    }

    /// Whether every request is read for this type. What is not is unknown but to whoever looks
    /// for it: the attributes of RFC 5780, which most servers do not serve.
    pub const fn is_known_everywhere(self) -> bool {
        self.slot().is_some()
    }

    /// RFC 5780 §7.2.
    pub const CHANGE_REQUEST: Self = Self(0x0003);
    /// RFC 3489 §11.2.5: what classic clients know RESPONSE-ORIGIN by.
    pub const SOURCE_ADDRESS: Self = Self(0x0004);
    /// RFC 3489 §11.2.3: what classic clients know OTHER-ADDRESS by.
    pub const CHANGED_ADDRESS: Self = Self(0x0005);
    /// RFC 5780 §7.6.
    pub const PADDING: Self = Self(0x0026);
    /// RFC 5780 §7.5.
    pub const RESPONSE_PORT: Self = Self(0x0027);
    /// RFC 5780 §7.3.
    pub const RESPONSE_ORIGIN: Self = Self(0x802B);
    /// RFC 5780 §7.4.
    pub const OTHER_ADDRESS: Self = Self(0x802C);
}

/// The attributes that are looked up in a message: each has a slot in its index.
macro_rules! known_attributes {
    ($($name:ident = $code:literal, $what:literal;)*) => {
        /// A slot in a message's index.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "the RFCs' spelling")]
        enum Slot { $($name,)* COUNT }

        /// How many attributes have a slot.
        pub(super) const SLOTS: usize = Slot::COUNT as usize;

        impl AttributeType {
            $(#[doc = $what] pub const $name: Self = Self($code);)*

            /// Where the index keeps the first attribute of this type.
            #[inline]
            pub(super) const fn slot(self) -> Option<usize> {
                match self.0 {
                    $($code => Some(Slot::$name as usize),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for AttributeType {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    $($code => f.write_str(&stringify!($name).replace('_', "-")),)*
                    other => write!(f, "attribute {other:#06x}"),
                }
            }
        }
    };
}

known_attributes! {
    MAPPED_ADDRESS = 0x0001, "RFC 8489 §14.1";
    USERNAME = 0x0006, "RFC 8489 §14.3";
    MESSAGE_INTEGRITY = 0x0008, "RFC 8489 §14.5";
    ERROR_CODE = 0x0009, "RFC 8489 §14.8";
    UNKNOWN_ATTRIBUTES = 0x000A, "RFC 8489 §14.13";
    CHANNEL_NUMBER = 0x000C, "RFC 8656 §18.1";
    LIFETIME = 0x000D, "RFC 8656 §18.2";
    XOR_PEER_ADDRESS = 0x0012, "RFC 8656 §18.3";
    DATA = 0x0013, "RFC 8656 §18.4";
    REALM = 0x0014, "RFC 8489 §14.9";
    NONCE = 0x0015, "RFC 8489 §14.10";
    XOR_RELAYED_ADDRESS = 0x0016, "RFC 8656 §18.5";
    REQUESTED_ADDRESS_FAMILY = 0x0017, "RFC 8656 §18.6";
    EVEN_PORT = 0x0018, "RFC 8656 §18.7";
    REQUESTED_TRANSPORT = 0x0019, "RFC 8656 §18.8";
    DONT_FRAGMENT = 0x001A, "RFC 8656 §18.9";
    ACCESS_TOKEN = 0x001B, "RFC 7635 §6.2";
    MESSAGE_INTEGRITY_SHA256 = 0x001C, "RFC 8489 §14.6";
    PASSWORD_ALGORITHM = 0x001D, "RFC 8489 §14.12";
    USERHASH = 0x001E, "RFC 8489 §14.4";
    XOR_MAPPED_ADDRESS = 0x0020, "RFC 8489 §14.2";
    RESERVATION_TOKEN = 0x0022, "RFC 8656 §18.10";
    CONNECTION_ID = 0x002A, "RFC 6062 §6.2.1";
    ADDITIONAL_ADDRESS_FAMILY = 0x8000, "RFC 8656 §18.11";
    ADDRESS_ERROR_CODE = 0x8001, "RFC 8656 §18.12";
    PASSWORD_ALGORITHMS = 0x8002, "RFC 8489 §14.11";
    ALTERNATE_DOMAIN = 0x8003, "RFC 8489 §14.16";
    ICMP = 0x8004, "RFC 8656 §18.13";
    SOFTWARE = 0x8022, "RFC 8489 §14.14";
    ALTERNATE_SERVER = 0x8023, "RFC 8489 §14.15";
    FINGERPRINT = 0x8028, "RFC 8489 §14.7";
    THIRD_PARTY_AUTHORIZATION = 0x802E, "RFC 7635 §6.1";
    MOBILITY_TICKET = 0x8030, "RFC 8016 §3.3";
    DRAFT_ADDITIONAL_ADDRESS_FAMILY = 0x8032, "RFC 8656 §18.11, by its number in the drafts";
}
