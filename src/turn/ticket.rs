//! Mobility tickets (RFC 8016 §3.3): what a client shows when it comes back from elsewhere.
//!
//! ```text
//! nonce(12) | sealed: share(2) allocation(8) number(8) | tag(16)      46 bytes
//! ```
//!
//! Sealed with AES-256-GCM under a key of their own, tickets tell nothing to whoever sees them, and
//! whoever makes one up is found out without a look at any table. They are of one length, so that
//! the answers that carry them fit every path (§3.1.2).

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit as _};
use hmac::{Hmac, Mac};
use rand::RngExt as _;
use rand::rngs::StdRng;
use sha2::Sha256;

use crate::turn::table::AllocationId;

const NONCE: usize = 12;
const STATE: usize = 2 + 8 + 8;
const TAG: usize = 16;

/// A ticket as MOBILITY-TICKET carries it.
#[derive(Clone, Copy)]
pub(super) struct Ticket([u8; NONCE + STATE + TAG]);

impl Ticket {
    pub(super) const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Ticket {
    /// Whoever has it and the password may take the allocation along.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ticket")
    }
}

/// What a ticket says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TicketState {
    /// The share of the core that has the allocation.
    pub(super) share: u16,
    pub(super) allocation: AllocationId,
    /// Random: each ticket has another, and no allocation takes another one's for its own.
    pub(super) number: u64,
}

/// Makes tickets, and opens those that a core of this server has made.
pub(super) struct TicketMint(Aes256Gcm);

impl std::fmt::Debug for TicketMint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketMint")
    }
}

impl TicketMint {
    /// `secret` is the same on each core; what is made of it here is of use for nothing else.
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
        mac.update(b"mobility ticket");
        Self(Aes256Gcm::new(&mac.finalize().into_bytes()))
    }

    /// A ticket that says this.
    pub(super) fn seal(&self, state: TicketState, rng: &mut StdRng) -> Ticket {
        let mut ticket = [0; NONCE + STATE + TAG];
        let (nonce, rest) = ticket.split_at_mut(NONCE);
        let (text, tag) = rest.split_at_mut(STATE);
        nonce.copy_from_slice(&rng.random::<[u8; NONCE]>());
        text[..2].copy_from_slice(&state.share.to_be_bytes());
        text[2..10].copy_from_slice(&state.allocation.to_bits().to_be_bytes());
        text[10..].copy_from_slice(&state.number.to_be_bytes());
        let nonce = (&*nonce).try_into().expect("twelve bytes");
        let made = self.0.encrypt_inout_detached(nonce, b"", text.into());
        tag.copy_from_slice(&made.expect("18 bytes are within what GCM can seal"));
        Ticket(ticket)
    }

    /// What a ticket says, if it was made by a server with this secret.
    pub(super) fn open(&self, ticket: &[u8]) -> Option<TicketState> {
        let mut ticket: [u8; NONCE + STATE + TAG] = ticket.try_into().ok()?;
        let (nonce, rest) = ticket.split_at_mut(NONCE);
        let (text, tag) = rest.split_at_mut(STATE);
        let nonce = (&*nonce).try_into().ok()?;
        let tag = (&*tag).try_into().ok()?;
        self.0.decrypt_inout_detached(nonce, b"", (&mut *text).into(), tag).ok()?;
        let (share, rest) = text.split_first_chunk()?;
        let (allocation, number) = rest.split_first_chunk()?;
        Some(TicketState {
            share: u16::from_be_bytes(*share),
            allocation: AllocationId::from_bits(u64::from_be_bytes(*allocation)),
            number: u64::from_be_bytes(number.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    const STATE: TicketState = TicketState {
        share: 3,
        allocation: AllocationId::from_bits(0x0102_0304_0506_0708),
        number: 9,
    };

    #[test]
    fn a_ticket_says_what_was_sealed_in_it() {
        let mut rng = StdRng::seed_from_u64(1);
        let mint = TicketMint::new(&[7; 32]);
        let ticket = mint.seal(STATE, &mut rng);
        assert_eq!(mint.open(ticket.as_bytes()), Some(STATE));
        assert_eq!(TicketMint::new(&[8; 32]).open(ticket.as_bytes()), None);
        assert_ne!(ticket.as_bytes(), mint.seal(STATE, &mut rng).as_bytes());
    }

    #[test]
    fn a_ticket_that_differs_in_any_bit_or_in_length_opens_nothing() {
        let mint = TicketMint::new(&[7; 32]);
        let ticket = mint.seal(STATE, &mut StdRng::seed_from_u64(1));
        let whole = ticket.as_bytes();
        for bit in 0..whole.len() * 8 {
            let mut changed = whole.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(mint.open(&changed), None, "bit {bit}");
        }
        for length in 0..whole.len() {
            assert_eq!(mint.open(&whole[..length]), None);
        }
        assert_eq!(mint.open(&[whole, &[0]].concat()), None);
    }
}
