//! How long things took, kept in buckets: log-linear, so that a bucket is never wider than 1/128 of
//! what it holds, at any magnitude.
//!
//! ```text
//! 0 … 255         one value each
//! 256 … 511       2 values each           every further octave has 128 buckets, twice as wide
//! 512 … 1023      4 values each
//! ```

use std::fmt;

/// Bits that a bucket tells apart, the leading one included.
const PRECISION: u32 = 8;
/// Buckets in an octave.
const OCTAVE: usize = 1 << (PRECISION - 1);

/// Counts of values, here nanoseconds.
#[derive(Clone)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    sum: u64,
    max: u64,
}

impl Histogram {
    /// One that holds nothing.
    pub fn new() -> Self {
        let buckets = vec![0; index(u64::MAX) + 1];
        Self { buckets, count: 0, sum: 0, max: 0 }
    }

    /// Counts `value`.
    #[inline]
    pub fn record(&mut self, value: u64) {
        self.buckets[index(value)] += 1;
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
        self.max = self.max.max(value);
    }

    /// Values counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The largest value; 0 where there is none.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The mean; 0 where there is none.
    pub fn mean(&self) -> u64 {
        self.sum.checked_div(self.count).unwrap_or(0)
    }

    /// A value that `percent` of all values do not exceed, at most 1/128 too large; 0 where there
    /// is none.
    pub fn percentile(&self, percent: f64) -> u64 {
        let rank =
            ((percent / 100.0 * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper(index).min(self.max);
            }
        }
        self.max
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Histogram({} values up to {})", self.count, self.max)
    }
}

/// The bucket of `value`.
#[inline]
fn index(value: u64) -> usize {
    let bits = u64::BITS - value.leading_zeros();
    let shift = bits.saturating_sub(PRECISION);
    shift as usize * OCTAVE + (value >> shift) as usize
}

/// The largest value in a bucket.
fn upper(index: usize) -> u64 {
    let shift = (index / OCTAVE).saturating_sub(1);
    let step = (index - shift * OCTAVE) as u64;
    (step << shift) + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_gaps() {
        let values = (0..100_000).chain((17..64).flat_map(|bit| {
            let power = 1_u64 << bit;
            [power - 1, power, power + 1]
        }));
        let mut last = 0;
        for value in values {
            let at = index(value);
            assert!(at == last || at == last + 1 || value > 100_000, "{value}");
            assert!(upper(at) >= value && upper(at) - value <= value / 128, "{value}");
            assert!(at == 0 || upper(at - 1) < value, "{value}");
            last = at;
        }
        assert_eq!(upper(index(u64::MAX)), u64::MAX);
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut histogram = Histogram::new();
        assert_eq!((histogram.percentile(99.0), histogram.mean()), (0, 0));
        for value in 1..=1000 {
            histogram.record(value * 1000);
        }
        for (percent, exact) in [(0.0, 1), (50.0, 500), (90.0, 900), (99.0, 990), (99.9, 999)] {
            let (found, exact) = (histogram.percentile(percent), exact * 1000);
            assert!(found >= exact && found <= exact + exact / 128, "{percent}: {found}");
        }
        assert_eq!(histogram.percentile(100.0), 1_000_000);
        assert_eq!((histogram.mean(), histogram.count()), (500_500, 1000));
    }
}
