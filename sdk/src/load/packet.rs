//! The datagram of a probe, and of its reply: 24 bytes each, so that a reply is never larger than what asked for it.
//!
//! Bytes, numbers with the high byte first: `CBLD`, version (1), kind (0 asks, 1 replies), two of zero, the nonce (8),
//! requests in flight (4), latency in microseconds (4). A question has zeros for the last two. Whatever differs in
//! length, magic, version, kind or the zeros is no packet: it is dropped without an answer.

use crate::endpoint::Load;

/// The length of every packet, in bytes.
pub const PACKET_LEN: usize = 24;

const MAGIC: [u8; 4] = *b"CBLD";
const VERSION: u8 = 1;

/// Holds what a datagram says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Asks for the load.
    Ask {
        /// Comes back in the reply.
        nonce: u64,
    },
    /// Says the load.
    Reply {
        /// That of the question.
        nonce: u64,
        /// How busy the server is.
        load: Load,
    },
}

impl Packet {
    /// Writes the packet.
    #[must_use]
    pub fn bytes(self) -> [u8; PACKET_LEN] {
        let (kind, nonce, load) = match self {
            Self::Ask { nonce } => (0, nonce, Load { in_flight: 0, latency: 0 }),
            Self::Reply { nonce, load } => (1, nonce, load),
        };
        let mut bytes = [0; PACKET_LEN];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&[VERSION, kind]);
        bytes[8..16].copy_from_slice(&nonce.to_be_bytes());
        bytes[16..20].copy_from_slice(&load.in_flight.to_be_bytes());
        bytes[20..].copy_from_slice(&load.latency.to_be_bytes());
        bytes
    }

    /// Reads a datagram; none when it is no packet.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; PACKET_LEN] = bytes.try_into().ok()?;
        let (head, rest) = bytes.split_first_chunk::<8>()?;
        let (nonce, rest) = rest.split_first_chunk::<8>()?;
        let (in_flight, latency) = rest.split_first_chunk::<4>()?;
        let latency: &[u8; 4] = latency.try_into().ok()?;
        let nonce = u64::from_be_bytes(*nonce);
        let load = Load { in_flight: u32::from_be_bytes(*in_flight), latency: u32::from_be_bytes(*latency) };
        if head[..4] != MAGIC || head[4] != VERSION || head[6..] != [0, 0] {
            return None;
        }
        match head[5] {
            0 if load == (Load { in_flight: 0, latency: 0 }) => Some(Self::Ask { nonce }),
            1 => Some(Self::Reply { nonce, load }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_are_these() {
        let reply = Packet::Reply { nonce: 0x0102_0304_0506_0708, load: Load { in_flight: 3, latency: 0x1_0000 } };
        let bytes = b"CBLD\x01\x01\0\0\x01\x02\x03\x04\x05\x06\x07\x08\0\0\0\x03\0\x01\0\0";
        assert_eq!((reply.bytes(), Packet::read(bytes)), (*bytes, Some(reply)));
        let ask = Packet::Ask { nonce: 9 };
        assert_eq!(Packet::read(&ask.bytes()), Some(ask));
    }

    proptest! {
        #[test]
        fn one_changed_byte_of_the_head_is_no_packet(place in 0usize..8, by in 1u8..) {
            let mut bytes = Packet::Ask { nonce: 7 }.bytes();
            bytes[place] = bytes[place].wrapping_add(by);
            let reply = place == 5 && bytes[5] == 1;
            prop_assert_eq!(Packet::read(&bytes).is_some(), reply);
        }

        #[test]
        fn no_bytes_panic_and_no_other_length_is_a_packet(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(Packet::read(&bytes).is_none() || bytes.len() == PACKET_LEN);
        }
    }
}
