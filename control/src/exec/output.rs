//! Cuts what a program says into pieces of a bounded size, up to a bound for all of it. PURE.

/// The largest piece, in bytes, as with Consul.
pub(super) const PIECE_MAX: usize = 4 * 1024;
/// The most that one program may say on one node, in bytes: all of it passes through the log.
pub(super) const OUTPUT_MAX: usize = 1 << 20;

/// What a program said and nobody was told yet.
#[derive(Debug)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    /// How much may still be said.
    room: usize,
    max: usize,
    /// Whether there was no room for all of it.
    is_cut: bool,
}

impl Pending {
    /// Begins, with room for so many bytes.
    pub(super) fn new(max: usize) -> Pending {
        Pending { bytes: Vec::new(), room: max, max, is_cut: false }
    }

    /// Takes what comes next. Past the bound it is dropped, and said so once.
    pub(super) fn push(&mut self, said: &[u8]) {
        let fits = said.len().min(self.room);
        self.bytes.extend_from_slice(&said[..fits]);
        self.room -= fits;
        if fits < said.len() && !self.is_cut {
            self.is_cut = true;
            let text = format!("\ncallboard: what is said beyond {} bytes is left out\n", self.max);
            self.bytes.extend_from_slice(text.as_bytes());
        }
    }

    /// Takes a whole piece, once there is one.
    pub(super) fn whole(&mut self) -> Option<Vec<u8>> {
        (self.bytes.len() >= PIECE_MAX).then(|| self.bytes.drain(..PIECE_MAX).collect())
    }

    /// Takes whatever there is, one piece at a time.
    pub(super) fn rest(&mut self) -> Option<Vec<u8>> {
        self.whole().or_else(|| (!self.is_empty()).then(|| std::mem::take(&mut self.bytes)))
    }

    /// Says whether nothing waits to be told.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn everything_is_told_once_in_pieces_that_are_not_too_large(
            said in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6000), 0..6),
            max in 0usize..20_000,
        ) {
            let mut pending = Pending::new(max);
            let mut told: Vec<Vec<u8>> = Vec::new();
            for part in &said {
                pending.push(part);
                while let Some(piece) = pending.whole() {
                    prop_assert_eq!(piece.len(), PIECE_MAX);
                    told.push(piece);
                }
            }
            while let Some(piece) = pending.rest() {
                prop_assert!((1..=PIECE_MAX).contains(&piece.len()));
                told.push(piece);
            }
            prop_assert!(pending.is_empty());
            let (said, told) = (said.concat(), told.concat());
            if said.len() <= max {
                prop_assert_eq!(said, told);
            } else {
                let text = format!("\ncallboard: what is said beyond {max} bytes is left out\n");
                prop_assert_eq!(&told[..max], &said[..max]);
                prop_assert_eq!(&told[max..], text.as_bytes());
            }
        }
    }
}
