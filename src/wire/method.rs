//! Methods and classes, and the 14 bits that carry both (RFC 8489 §5, figure 3).

use std::fmt;

/// A method (RFC 8489 §18.1, RFC 8656 §17, RFC 6062 §6.1). Twelve bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Method(u16);

impl Method {
    /// Binding.
    pub const BINDING: Self = Self(0x001);
    /// Allocate.
    pub const ALLOCATE: Self = Self(0x003);
    /// Refresh.
    pub const REFRESH: Self = Self(0x004);
    /// Send, only as an indication.
    pub const SEND: Self = Self(0x006);
    /// Data, only as an indication.
    pub const DATA: Self = Self(0x007);
    /// CreatePermission.
    pub const CREATE_PERMISSION: Self = Self(0x008);
    /// ChannelBind.
    pub const CHANNEL_BIND: Self = Self(0x009);
    /// Connect.
    pub const CONNECT: Self = Self(0x00A);
    /// ConnectionBind.
    pub const CONNECTION_BIND: Self = Self(0x00B);
    /// ConnectionAttempt, only as an indication.
    pub const CONNECTION_ATTEMPT: Self = Self(0x00C);

    /// The method with this number; only the low twelve bits count.
    pub const fn new(number: u16) -> Self {
        Self(number & 0x0FFF)
    }

    /// The method's number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// A class (RFC 8489 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Wants a response.
    Request,
    /// Wants none.
    Indication,
    /// Answers a request that succeeded.
    Success,
    /// Answers a request that did not.
    Error,
}

/// The message type of a method and a class.
pub const fn message_type(method: Method, class: Class) -> u16 {
    let m = method.0;
    let class_bits = match class {
        Class::Request => 0x0000,
        Class::Indication => 0x0010,
        Class::Success => 0x0100,
        Class::Error => 0x0110,
    };
    (m & 0xF80) << 2 | (m & 0x070) << 1 | (m & 0x00F) | class_bits
}

/// The method and class of a message type; its two top bits must be zero.
pub const fn split_message_type(message_type: u16) -> (Method, Class) {
    let t = message_type;
    let method = (t & 0x3E00) >> 2 | (t & 0x00E0) >> 1 | (t & 0x000F);
    let class = match t & 0x0110 {
        0x0000 => Class::Request,
        0x0010 => Class::Indication,
        0x0100 => Class::Success,
        _ => Class::Error,
    };
    (Method(method), class)
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::BINDING => "Binding",
            Self::ALLOCATE => "Allocate",
            Self::REFRESH => "Refresh",
            Self::SEND => "Send",
            Self::DATA => "Data",
            Self::CREATE_PERMISSION => "CreatePermission",
            Self::CHANNEL_BIND => "ChannelBind",
            Self::CONNECT => "Connect",
            Self::CONNECTION_BIND => "ConnectionBind",
            Self::CONNECTION_ATTEMPT => "ConnectionAttempt",
            Self(other) => return write!(f, "method {other:#05x}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_the_16384_types_splits_and_joins_to_itself() {
        for t in 0..0x4000 {
            let (method, class) = split_message_type(t);
            assert_eq!(message_type(method, class), t);
        }
    }

    #[test]
    fn binding_types_are_those_of_the_rfc() {
        assert_eq!(message_type(Method::BINDING, Class::Request), 0x0001);
        assert_eq!(message_type(Method::BINDING, Class::Indication), 0x0011);
        assert_eq!(message_type(Method::BINDING, Class::Success), 0x0101);
        assert_eq!(message_type(Method::BINDING, Class::Error), 0x0111);
    }
}
