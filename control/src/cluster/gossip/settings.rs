//! What foca is told: settings for the size of the cluster, and dice.

use std::convert::Infallible;
use std::num::{NonZeroU8, NonZeroU32, NonZeroUsize};
use std::time::Duration;

use foca::PeriodicParams;

use super::keyring::OVERHEAD;

/// How often a member sends each piece of news at least.
const TRANSMISSIONS_MIN: NonZeroU8 = NonZeroU8::new(6).unwrap();
/// The longest datagram: below the smallest usual path limit, less headers.
const DATAGRAM_MAX: usize = 1400;

/// Dice for foca, which only picks whom to talk to.
pub(super) struct Dice;

impl rand_core::TryRng for Dice {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(fastrand::u32(..))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(fastrand::u64(..))
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        fastrand::fill(dst);
        Ok(())
    }
}

/// Settings for a cluster of a size, on a local network.
pub(super) fn config(size: usize) -> foca::Config {
    let size = u32::try_from(size).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
    let usual = foca::Config::new_lan(size);
    foca::Config {
        // In a small cluster a word would be sent twice, and a lost packet could be the end of it.
        max_transmissions: usual.max_transmissions.max(TRANSMISSIONS_MIN),
        max_packet_size: NonZeroUsize::new(DATAGRAM_MAX - OVERHEAD - 1).unwrap_or(NonZeroUsize::MIN),
        // Members that seem gone are asked after often: a network that comes back is to be noticed within seconds.
        periodic_announce_to_down_members: Some(PeriodicParams {
            frequency: Duration::from_secs(10),
            num_members: NonZeroUsize::MIN,
        }),
        ..usual
    }
}
