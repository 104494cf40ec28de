//! Uids and name suffixes from a seed, so that the same run makes the same names.

/// The alphabet of generated names: no vowels, nothing that is mistaken for another (as in the real server).
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A generator of numbers (splitmix64): small, and good enough for names.
#[derive(Debug)]
pub(crate) struct Generator(u64);

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A UUID of version 4.
    pub(crate) fn uid(&mut self) -> String {
        let (high, low) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            0x8000 | ((low >> 48) & 0x3fff),
            low & 0xffff_ffff_ffff
        )
    }

    /// The five characters that end a generated name.
    pub(crate) fn suffix(&mut self) -> String {
        let mut bits = self.next();
        let mut suffix = String::with_capacity(5);
        for _ in 0..5 {
            let place = usize::try_from(bits % 27).unwrap_or_default();
            suffix.push(char::from(ALPHABET.get(place).copied().unwrap_or(b'x')));
            bits /= 27;
        }
        suffix
    }

    /// Sixteen hexadecimal digits, as they end the names of events.
    pub(crate) fn hex(&mut self) -> String {
        format!("{:016x}", self.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_names() {
        let (mut one, mut other) = (Generator::new(7), Generator::new(7));
        assert_eq!((one.uid(), one.suffix()), (other.uid(), other.suffix()));
        assert_ne!(one.uid(), Generator::new(8).uid());
    }
}
