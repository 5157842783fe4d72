//! What the DNS server counts about itself.
//!
//! Labels are from fixed lists, never what a client sent. Written by the sockets, read by telemetry.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use callboard_proto::dns::RecordType;

use super::wire::Code;

/// The types that are counted apart, with the last for all others and for questions that could not be read.
const TYPES: [&str; 10] = ["A", "AAAA", "SRV", "TXT", "CNAME", "NS", "SOA", "PTR", "ANY", "other"];
/// The codes that are counted apart, by number; the last is for all others.
const CODES: [&str; 7] = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "other"];

/// The counters of the DNS server; each only grows.
#[derive(Debug, Default)]
pub struct DnsCounters {
    queries: [[AtomicU64; CODES.len()]; TYPES.len()],
    pub(super) truncated: AtomicU64,
    pub(super) forwarded: AtomicU64,
    pub(super) ignored: AtomicU64,
    pub(super) overloaded: AtomicU64,
    pub(super) connections_refused: AtomicU64,
}

impl DnsCounters {
    /// Returns how many replies were sent by asked type and response code, every pair of labels once.
    pub fn queries(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        TYPES.into_iter().zip(&self.queries).flat_map(|(record_type, codes)| {
            CODES.into_iter().zip(codes).map(move |(code, count)| (record_type, code, count.load(Relaxed)))
        })
    }

    /// Returns how many replies had answers left out to fit.
    #[must_use]
    pub fn truncated(&self) -> u64 {
        self.truncated.load(Relaxed)
    }

    /// Returns how many questions went to the recursors.
    #[must_use]
    pub fn forwarded(&self) -> u64 {
        self.forwarded.load(Relaxed)
    }

    /// Returns how many messages got no reply: too short, or replies themselves.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.ignored.load(Relaxed)
    }

    /// Returns how many questions were answered SERVFAIL because too many others waited for recursors.
    #[must_use]
    pub fn overloaded(&self) -> u64 {
        self.overloaded.load(Relaxed)
    }

    /// Returns how many connections were closed at once because too many were open.
    #[must_use]
    pub fn connections_refused(&self) -> u64 {
        self.connections_refused.load(Relaxed)
    }

    pub(super) fn count(&self, asked: Option<RecordType>, code: Code) {
        let row = match asked {
            Some(RecordType::A) => 0,
            Some(RecordType::Aaaa) => 1,
            Some(RecordType::Srv) => 2,
            Some(RecordType::Txt) => 3,
            Some(RecordType::Cname) => 4,
            Some(RecordType::Ns) => 5,
            Some(RecordType::Soa) => 6,
            Some(RecordType::Ptr) => 7,
            Some(RecordType::Any) => 8,
            _ => TYPES.len() - 1,
        };
        let column = usize::from(code.0).min(CODES.len() - 1);
        add(&self.queries[row][column]);
    }
}

pub(super) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_counted_by_type_and_code() {
        let counters = DnsCounters::default();
        counters.count(Some(RecordType::Srv), Code::NX_DOMAIN);
        counters.count(Some(RecordType::Mx), Code::BAD_VERSION);
        counters.count(None, Code::FORM_ERR);
        let counted: Vec<_> = counters.queries().filter(|(.., count)| *count > 0).collect();
        assert_eq!(counted, [("SRV", "NXDOMAIN", 1), ("other", "FORMERR", 1), ("other", "other", 1)]);
        assert_eq!(counters.queries().count(), TYPES.len() * CODES.len());
    }
}
