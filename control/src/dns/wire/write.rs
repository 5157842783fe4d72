//! Writes replies.
//!
//! One writer is kept by each reader of a socket and used for every reply, so that writing allocates nothing once
//! it has grown. Names are compressed (RFC 1035 section 4.1.4) except the targets of SRV records, which must not be
//! (RFC 2782) but which later names may point into. Letter case is kept, so only names of equal case share bytes.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use callboard_proto::dns::{Record, RecordData, View};

use super::read::Edns;
use super::{Code, HEADER_BYTES, flag};

/// Where a pointer can reach: 14 bits.
const POINTER_MAX: usize = 0x3fff;
const LABEL_BYTES_MAX: usize = 63;
const CLASS_IN: [u8; 2] = [0, 1];
const TYPE_OPT: u16 = 41;
const OPTION_CLIENT_SUBNET: [u8; 2] = [0, 8];

/// What stands around the records of a reply.
#[derive(Debug, Clone, Copy)]
pub(in crate::dns) struct Head<'a> {
    /// The id of the question.
    pub(in crate::dns) id: u16,
    /// The flags of the reply, without the code.
    pub(in crate::dns) flags: u16,
    /// The code.
    pub(in crate::dns) code: Code,
    /// The question section as it came, or nothing.
    pub(in crate::dns) question: &'a [u8],
    /// The name in it, without the last dot.
    pub(in crate::dns) name: &'a str,
    /// The OPT record of the question; the reply then has one too.
    pub(in crate::dns) edns: Option<Edns<'a>>,
}

/// Writes messages, one after the other, into memory of its own.
pub(in crate::dns) struct Writer {
    bytes: Vec<u8>,
    /// Where the end of a name that has this hash was written.
    places: HashMap<u64, u16, BuildHasherDefault<Identity>>,
    /// The labels of the name being written: where each begins, and the hash from there to the end of the name.
    labels: Vec<(usize, u64)>,
    compress: bool,
}

/// The keys are hashes already.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| mix(hash, u64::from(*byte)));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Folds a word into a hash (the finalizer of MurmurHash3). Equal hashes of different names only cost compression:
/// what is pointed at is compared first.
fn mix(hash: u64, word: u64) -> u64 {
    let mut hash = (hash ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

fn label_hash(after: u64, label: &[u8]) -> u64 {
    let (words, rest) = label.as_chunks::<8>();
    let hash = words.iter().fold(mix(after, label.len() as u64 + 1), |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    if rest.is_empty() { hash } else { mix(hash, u64::from_le_bytes(last)) }
}

impl Writer {
    /// Makes a writer.
    pub(in crate::dns) fn new(compress: bool) -> Writer {
        Writer { bytes: Vec::with_capacity(1024), places: HashMap::default(), labels: Vec::new(), compress }
    }

    /// The message written last.
    pub(in crate::dns) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes a reply and returns its length in bytes. One of more than 65535 bytes is no message, only a length.
    pub(in crate::dns) fn reply(&mut self, head: &Head<'_>, view: View<'_>) -> usize {
        self.begin(head);
        for record in view.answers() {
            self.record(record, head.name);
        }
        for record in view.authority() {
            self.record(record, head.name);
        }
        let mut additional = 0;
        for record in view.additional() {
            self.record(record, head.name);
            additional += 1;
        }
        self.finish(head, [view.answers().len(), view.authority().len(), additional])
    }

    /// Writes a reply without records.
    pub(in crate::dns) fn bare(&mut self, head: &Head<'_>) -> usize {
        self.begin(head);
        self.finish(head, [0; 3])
    }

    fn begin(&mut self, head: &Head<'_>) {
        self.bytes.clear();
        self.places.clear();
        self.word(head.id);
        self.word(flag::RESPONSE | head.flags | (head.code.0 & flag::CODE));
        self.word(u16::from(!head.question.is_empty()));
        // The number of records is known at the end.
        self.bytes.resize(HEADER_BYTES, 0);
        self.bytes.extend_from_slice(head.question);
        if !head.question.is_empty() {
            self.note_labels(head.name);
            let mut at = HEADER_BYTES;
            for place in (0..self.labels.len()).rev() {
                self.note_place(self.labels[place].1, at);
                at += 1 + self.bytes.get(at).map_or(0, |length| usize::from(*length));
            }
        }
    }

    fn finish(&mut self, head: &Head<'_>, mut counts: [usize; 3]) -> usize {
        if let Some(edns) = head.edns {
            self.opt(edns, head.code);
            counts[2] += 1;
        }
        for (section, count) in counts.into_iter().enumerate() {
            // Each record has at least 11 bytes, so what is counted wrong here is too long to be sent anyway.
            let count = u16::try_from(count).unwrap_or(u16::MAX);
            let at = 6 + 2 * section;
            self.bytes[at..at + 2].copy_from_slice(&count.to_be_bytes());
        }
        self.bytes.len()
    }

    fn opt(&mut self, edns: Edns<'_>, code: Code) {
        self.bytes.push(0);
        self.word(TYPE_OPT);
        self.word(edns.size);
        self.bytes.extend_from_slice(&[(code.0 >> 4) as u8, 0, u8::from(edns.dnssec_ok) << 7, 0]);
        let Some(subnet) = edns.subnet else { return self.word(0) };
        // Its scope stays 0: the answer is the same for every subnet.
        self.word(subnet.len() as u16 + 4);
        self.bytes.extend_from_slice(&OPTION_CLIENT_SUBNET);
        self.word(subnet.len() as u16);
        self.bytes.extend_from_slice(subnet);
    }

    fn record(&mut self, record: &Record, asked: &str) {
        let is_asked = self.compress && record.name.strip_suffix('.').is_some_and(|name| name == asked);
        if is_asked && !asked.is_empty() {
            self.word(0xc000 | HEADER_BYTES as u16);
        } else {
            self.name(&record.name, self.compress);
        }
        self.word(kind(&record.data));
        self.bytes.extend_from_slice(&CLASS_IN);
        self.bytes.extend_from_slice(&record.ttl.to_be_bytes());
        let at = self.bytes.len();
        self.word(0);
        self.data(&record.data);
        let length = u16::try_from(self.bytes.len() - at - 2).unwrap_or(u16::MAX);
        self.bytes[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }

    fn data(&mut self, data: &RecordData) {
        match data {
            RecordData::A(address) => self.bytes.extend_from_slice(&address.octets()),
            RecordData::Aaaa(address) => self.bytes.extend_from_slice(&address.octets()),
            RecordData::Cname(name) | RecordData::Ns(name) | RecordData::Ptr(name) => self.name(name, self.compress),
            RecordData::Srv { priority, weight, port, target } => {
                for word in [priority, weight, port] {
                    self.word(*word);
                }
                self.name(target, false);
            }
            RecordData::Txt(text) => {
                for string in RecordData::txt_strings(text) {
                    self.bytes.push(string.len() as u8);
                    self.bytes.extend_from_slice(string);
                }
            }
            RecordData::Soa { mname, rname, serial, refresh, retry, expire, minimum } => {
                self.name(mname, self.compress);
                self.name(rname, self.compress);
                for word in [serial, refresh, retry, expire, minimum] {
                    self.bytes.extend_from_slice(&word.to_be_bytes());
                }
            }
        }
    }

    /// Writes a name: its new labels, then a pointer to where the rest already stands.
    fn name(&mut self, name: &str, compress: bool) {
        self.note_labels(name);
        let name = name.strip_suffix('.').unwrap_or(name);
        let mut end = 0;
        for place in (0..self.labels.len()).rev() {
            let (begin, hash) = self.labels[place];
            if compress
                && let Some(at) = self.places.get(&hash).copied()
                && self.stands_at(usize::from(at), &name[begin..])
            {
                return self.word(0xc000 | at);
            }
            self.note_place(hash, self.bytes.len());
            end = place.checked_sub(1).map_or(name.len(), |next| self.labels[next].0 - 1);
            let label = &name.as_bytes()[begin..end];
            let label = &label[..label.len().min(LABEL_BYTES_MAX)];
            self.bytes.push(label.len() as u8);
            self.bytes.extend_from_slice(label);
        }
        debug_assert!(end == name.len() || self.labels.is_empty(), "every label was written");
        self.bytes.push(0);
    }

    /// Finds the labels of a name, the last one first.
    fn note_labels(&mut self, name: &str) {
        self.labels.clear();
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.is_empty() {
            return;
        }
        let mut begin = name.len() + 1;
        let mut hash = 0;
        for label in name.rsplit('.') {
            begin -= label.len() + 1;
            hash = label_hash(hash, label.as_bytes());
            self.labels.push((begin, hash));
        }
    }

    fn note_place(&mut self, hash: u64, at: usize) {
        if at <= POINTER_MAX {
            self.places.entry(hash).or_insert(at as u16);
        }
    }

    /// Says whether the end of a name stands at a place of the message.
    fn stands_at(&self, mut at: usize, name: &str) -> bool {
        for label in name.split('.') {
            // Pointers were written here and lead backwards, so this ends.
            while let Some([high, low]) = self.bytes.get(at..at + 2)
                && *high >= 0xc0
            {
                at = usize::from(u16::from_be_bytes([high & 0x3f, *low]));
            }
            let length = label.len();
            if self.bytes.get(at).copied().map(usize::from) != Some(length)
                || self.bytes.get(at + 1..at + 1 + length) != Some(label.as_bytes())
            {
                return false;
            }
            at += 1 + length;
        }
        self.bytes.get(at) == Some(&0)
    }

    fn word(&mut self, word: u16) {
        self.bytes.extend_from_slice(&word.to_be_bytes());
    }
}

fn kind(data: &RecordData) -> u16 {
    use callboard_proto::dns::RecordType::{A, Aaaa, Cname, Ns, Ptr, Soa, Srv, Txt};
    match data {
        RecordData::A(_) => A,
        RecordData::Aaaa(_) => Aaaa,
        RecordData::Cname(_) => Cname,
        RecordData::Srv { .. } => Srv,
        RecordData::Txt(_) => Txt,
        RecordData::Ns(_) => Ns,
        RecordData::Ptr(_) => Ptr,
        RecordData::Soa { .. } => Soa,
    }
    .code()
}
