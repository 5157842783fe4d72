//! Records and replies as values, and how a reply is made to fit.
//!
//! The wire form is the business of the sockets; this file only decides what is left out when the wire form is too
//! long. Built by `answer`, encoded by the control node and the sidecar.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::text::Text;

/// The type of a record or a question (RFC 1035 section 3.2.2 and later).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordType {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// Another name for the owner.
    Cname,
    /// The authority of a zone.
    Soa,
    /// A name server.
    Ns,
    /// A name for an address.
    Ptr,
    /// Text.
    Txt,
    /// A host and port that offer a service.
    Srv,
    /// A mail server; nothing here has any.
    Mx,
    /// Whatever there is.
    Any,
    /// Any other type, by its number.
    Other(u16),
}

impl RecordType {
    /// Reads the number that stands in a message.
    #[must_use]
    pub fn from_code(code: u16) -> Self {
        match code {
            1 => Self::A,
            2 => Self::Ns,
            5 => Self::Cname,
            6 => Self::Soa,
            12 => Self::Ptr,
            15 => Self::Mx,
            16 => Self::Txt,
            28 => Self::Aaaa,
            33 => Self::Srv,
            255 => Self::Any,
            other => Self::Other(other),
        }
    }

    /// Returns the number that stands in a message.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Ns => 2,
            Self::Cname => 5,
            Self::Soa => 6,
            Self::Ptr => 12,
            Self::Mx => 15,
            Self::Txt => 16,
            Self::Aaaa => 28,
            Self::Srv => 33,
            Self::Any => 255,
            Self::Other(code) => code,
        }
    }

    /// Says whether a question of this type is answered by this address.
    pub(super) fn takes(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::A => address.is_ipv4(),
            Self::Aaaa => address.is_ipv6(),
            _ => false,
        }
    }
}

/// One resource record of class IN.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// The owner: fully qualified, each label at most 63 bytes, 253 in all; the labels may hold any characters but
    /// dots.
    pub name: Text,
    /// How long it may be cached, in seconds.
    pub ttl: u32,
    /// What it says.
    pub data: RecordData,
}

/// What a record says. Names in it are fully qualified.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RecordData {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// Another name for the owner.
    Cname(Text),
    /// A host and port that offer a service (RFC 2782).
    Srv {
        /// Lower is tried first; always 1 here.
        priority: u16,
        /// The share among equals.
        weight: u16,
        /// The port.
        port: u16,
        /// The host.
        target: Text,
    },
    /// Text of any length; on the wire it is cut into strings as [`RecordData::txt_strings`] does.
    Txt(String),
    /// A name server.
    Ns(Text),
    /// A name for an address.
    Ptr(Text),
    /// The authority of a zone; times in seconds.
    Soa {
        /// The primary name server.
        mname: String,
        /// The mailbox of the people in charge.
        rname: String,
        /// The version of the zone.
        serial: u32,
        /// How often secondaries look for changes.
        refresh: u32,
        /// How long they wait after a failure.
        retry: u32,
        /// When they give up.
        expire: u32,
        /// How long "there is no such name" may be cached.
        minimum: u32,
    },
}

impl RecordData {
    /// Makes the address record of the right family.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::A(v4),
            IpAddr::V6(v6) => Self::Aaaa(v6),
        }
    }

    /// Cuts the text of a TXT record into strings of at most 255 bytes; an empty text is one empty string.
    pub fn txt_strings(text: &str) -> impl Iterator<Item = &[u8]> {
        let empty = text.is_empty().then_some(&[][..]);
        empty.into_iter().chain(text.as_bytes().chunks(255))
    }
}

/// The code of a reply (RFC 1035 section 4.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseCode {
    /// The name exists, though perhaps not with a record of the asked type.
    NoError,
    /// The question makes no sense.
    FormErr,
    /// Something failed here.
    ServFail,
    /// There is no such name.
    NxDomain,
    /// This kind of question is not supported.
    NotImp,
    /// The question is for someone else.
    Refused,
}

/// How a question came, and so how long its reply may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A datagram; with EDNS the size that the client accepts, in bytes.
    Udp {
        /// The size in the OPT record of the question, if it had one.
        edns: Option<u16>,
    },
    /// A stream.
    Tcp,
}

impl Transport {
    /// Returns how many bytes the encoded reply may have.
    #[must_use]
    pub fn size_max(self) -> usize {
        match self {
            Self::Udp { edns: None } => 512,
            Self::Udp { edns: Some(size) } => usize::from(size.max(512)),
            Self::Tcp => usize::from(u16::MAX),
        }
    }
}

/// What is said in return.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The outcome.
    pub code: ResponseCode,
    /// Whether the name is ours to speak of (the AA bit).
    pub authoritative: bool,
    /// Whether the client is told that answers were left out (the TC bit).
    pub truncated: bool,
    pub(super) answers: Vec<Record>,
    pub(super) authority: Vec<Record>,
    pub(super) extras: Vec<Extra>,
    /// Host names that the answers point at and that someone has to resolve.
    pub(super) hosts: Vec<Text>,
    /// Whether leaving out answers is told.
    pub(super) tells_truncation: bool,
}

/// An additional record, which goes along only while there are this many answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extra {
    pub(super) answers_min: usize,
    pub(super) record: Record,
}

/// A reply as it would be with fewer answers, to be encoded and measured.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    reply: &'a Reply,
    answers: usize,
    extras: bool,
}

impl<'a> View<'a> {
    /// Returns the records of the answer section.
    #[must_use]
    pub fn answers(&self) -> &'a [Record] {
        &self.reply.answers[..self.answers]
    }

    /// Returns the records of the authority section.
    #[must_use]
    pub fn authority(&self) -> &'a [Record] {
        &self.reply.authority
    }

    /// Returns the records of the additional section, without OPT.
    pub fn additional(&self) -> impl Iterator<Item = &'a Record> + use<'a> {
        let (answers, wanted) = (self.answers, self.extras);
        self.reply.extras.iter().filter(move |extra| wanted && extra.answers_min <= answers).map(|extra| &extra.record)
    }
}

impl Reply {
    /// Makes a reply without records.
    #[must_use]
    pub fn empty(code: ResponseCode, authoritative: bool) -> Self {
        Self {
            code,
            authoritative,
            truncated: false,
            answers: Vec::new(),
            authority: Vec::new(),
            extras: Vec::new(),
            hosts: Vec::new(),
            tells_truncation: false,
        }
    }

    /// Returns the whole reply for encoding.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View { reply: self, answers: self.answers.len(), extras: true }
    }

    /// Returns the host names that the answers point at without an address beside them. Someone who can resolve them
    /// may hand the records to [`Reply::resolve`]; a reply without them is complete too.
    #[must_use]
    pub fn hosts(&self) -> &[Text] {
        &self.hosts
    }

    /// Adds the records found for one of [`Reply::hosts`]: after a CNAME as answers, beside an SRV as additional
    /// records.
    pub fn resolve(&mut self, host: &str, records: Vec<Record>) {
        self.hosts.retain(|known| **known != *host);
        let is_target = |record: &Record| matches!(&record.data, RecordData::Srv { target, .. } if **target == *host);
        match self.answers.iter().position(is_target) {
            Some(place) => {
                let extra = |record| Extra { answers_min: place + 1, record };
                self.extras.extend(records.into_iter().map(extra));
            }
            None => self.answers.extend(records),
        }
    }

    /// Leaves out answers from the end, with the additional records that belong to them, until the encoded message
    /// fits.
    ///
    /// `measure` returns the encoded length in bytes; it is called once when everything fits, and otherwise about
    /// log2 of the number of answers times. A single answer that does not fit with its additional records is sent
    /// without them.
    pub fn trim(&mut self, size_max: usize, mut measure: impl FnMut(View<'_>) -> usize) {
        if measure(self.view()) <= size_max {
            return;
        }
        let mut fits = |answers, extras| measure(View { reply: self, answers, extras }) <= size_max;
        // Invariant: `most` answers do not fit; fewer than `least` surely do, or nothing does.
        let (mut least, mut most) = (0, self.answers.len());
        while most - least > 1 {
            let middle = least + (most - least) / 2;
            if fits(middle, true) {
                least = middle;
            } else {
                most = middle;
            }
        }
        let bare = least == 0;
        if bare && !self.answers.is_empty() && fits(1, false) {
            least = 1;
        }
        if bare {
            self.extras.clear();
        }
        self.keep(least);
    }

    /// Leaves out all but the first answers.
    pub(super) fn keep(&mut self, answers: usize) {
        if answers < self.answers.len() {
            self.answers.truncate(answers);
            self.extras.retain(|extra| extra.answers_min <= answers);
            // Left-out extras alone are nothing to be told (RFC 2181 section 9).
            self.truncated |= self.tells_truncation;
        }
    }
}
