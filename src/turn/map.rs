//! The hash of every table: keyed from the core's seed, because clients choose the keys.

/// Builds a keyed hasher; the same seed gives the same order of everything.
pub(super) type Hasher = ahash::RandomState;

/// A hasher with keys from the core's own generator.
pub(super) fn hasher(rng: &mut impl rand::Rng) -> Hasher {
    Hasher::with_seeds(rng.next_u64(), rng.next_u64(), rng.next_u64(), rng.next_u64())
}
