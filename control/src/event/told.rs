//! An event as gossip carries it. PURE.

use callboard_proto::api::event::UserEvent;
use serde::{Deserialize, Serialize};

/// First byte of every event, so that a later format can be told apart.
const FORMAT: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Told {
    id: [u8; 16],
    name: String,
    payload: Vec<u8>,
    filters: [String; 3],
}

/// Why bytes are no event.
#[derive(Debug, thiserror::Error)]
#[error("an event that cannot be understood")]
pub(super) struct Unreadable;

/// Writes an event that was just made: its id is a UUID, its payload base64.
pub(super) fn encode(event: &UserEvent) -> Result<Vec<u8>, Unreadable> {
    let told = Told {
        id: uuid::Uuid::try_parse(&event.id).map_err(|_| Unreadable)?.into_bytes(),
        name: event.name.clone(),
        payload: event.bytes().map_err(|_| Unreadable)?,
        filters: [event.node_filter.clone(), event.service_filter.clone(), event.tag_filter.clone()],
    };
    postcard::to_extend(&told, vec![FORMAT]).map_err(|_| Unreadable)
}

/// Reads what another node wrote, which may be anything.
pub(super) fn decode(bytes: &[u8], ltime: u64) -> Result<UserEvent, Unreadable> {
    let Some((&FORMAT, rest)) = bytes.split_first() else { return Err(Unreadable) };
    let told: Told = postcard::from_bytes(rest).map_err(|_| Unreadable)?;
    let [node_filter, service_filter, tag_filter] = told.filters;
    Ok(UserEvent {
        id: uuid::Uuid::from_bytes(told.id).to_string(),
        name: told.name,
        payload: UserEvent::encode(&told.payload),
        node_filter,
        service_filter,
        tag_filter,
        version: 1,
        ltime,
    })
}

#[cfg(test)]
mod tests {
    use callboard_proto::api::event::EVENT_BYTES_MAX;
    use proptest::prelude::*;

    use super::*;
    use crate::cluster::{Spoken, WORD_MAX, Word};

    proptest! {
        #[test]
        fn what_is_told_is_read_back(id: u128, name: String, payload: Vec<u8>, filters: [String; 3], ltime: u64) {
            let [node_filter, service_filter, tag_filter] = filters;
            let event = UserEvent {
                id: uuid::Uuid::from_u128(id).to_string(), name, payload: UserEvent::encode(&payload), node_filter,
                service_filter, tag_filter, version: 1, ltime,
            };
            prop_assert_eq!(decode(&encode(&event).unwrap(), ltime).unwrap(), event);
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            let _ = decode(&bytes, 1);
        }
    }

    #[test]
    fn the_largest_event_fits_into_a_word() {
        let event = UserEvent {
            id: uuid::Uuid::max().to_string(),
            name: "n".to_owned(),
            payload: UserEvent::encode(&[0; EVENT_BYTES_MAX - 1]),
            ..UserEvent::default()
        };
        let spoken = Spoken { time: u64::MAX, word: Word::Event(encode(&event).unwrap()) };
        assert!(postcard::to_allocvec(&spoken).unwrap().len() < WORD_MAX);
    }
}
