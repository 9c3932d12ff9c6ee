//! What every client of ours says: the URIs that lead to a server, and requests; and whom it
//! believes.
//!
//! ```text
//! uri       stun:, stuns:, turn: and turns:
//! message   requests and their signatures, by a codec that is not the server's
//! authority the file of --ca
//! ```

pub mod authority;
pub mod message;
pub mod uri;

pub use message::{Login, Outcome, Session};
pub use uri::{Scheme, Uri};
