//! From the bytes of a question to the bytes of its reply, without waiting for anyone.
//!
//! What has to wait, because others must be asked, is handed back as a [`Step`] and finished by `recursor`. Each
//! reader of a socket has a [`Responder`] of its own, so nothing here is locked. Called by `udp` and `tcp`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use callboard_proto::dns::{Found, Lookup, Query, RecordType, Reply, Transport, answer};

use super::counters::{DnsCounters, add};
use super::find::{Rows, found};
use super::wire::{Code, Head, Read, Rejected, Request, Writer, flag, read};
use super::{DnsOptions, Shared, Source};
use crate::query::Asker;

/// The longest datagram that IPv4 can carry.
const DATAGRAM_BYTES_MAX: u16 = 65_507;

/// How a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    /// As a datagram.
    Udp,
    /// In a stream.
    Tcp,
}

/// What to do with a message.
pub(super) enum Step {
    /// Send [`Responder::bytes`].
    Send,
    /// Nothing: it does not deserve a reply.
    Ignore,
    /// Pass it on to the recursors.
    Forward,
    /// Find the addresses of [`Reply::hosts`], then [`Responder::send`] the reply.
    Resolve(Box<Reply>),
}

/// Answers questions from the registry.
pub(super) struct Responder {
    source: Source,
    options: Arc<DnsOptions>,
    counters: Arc<DnsCounters>,
    rows: Rows,
    random: fastrand::Rng,
    writer: Writer,
}

impl Responder {
    /// Makes a responder.
    pub(super) fn new(shared: &Shared) -> Responder {
        let options = shared.options.clone();
        Responder {
            source: shared.source.clone(),
            counters: shared.counters.clone(),
            rows: Rows::new((shared.source)(), options.only_passing),
            random: fastrand::Rng::new(),
            writer: Writer::new(options.compress),
            options,
        }
    }

    /// The reply written last.
    pub(super) fn bytes(&self) -> &[u8] {
        self.writer.bytes()
    }

    /// Answers a message from an address, or says what is missing.
    pub(super) fn respond(&mut self, message: &[u8], carrier: Carrier, from: IpAddr) -> Step {
        let request = match read(message) {
            Read::Request(request) => request,
            Read::Rejected(rejected) => return self.reject(&rejected),
            Read::Ignored => {
                add(&self.counters.ignored);
                return Step::Ignore;
            }
        };
        let options = self.options.clone();
        let asked = options.zone.lookup(&request.name);
        let recurses = !options.recursors.is_empty();
        if asked.lookup == Lookup::OutsideDomain && recurses {
            return Step::Forward;
        }
        self.rows.follow((self.source)());
        let healthy = self.rows.healthy(&asked.lookup);
        let asker = Asker { agent: options.node.as_ref(), address: Some(from) };
        let (seen, dice) = (self.rows.seen(), &mut self.random);
        let found = found(seen, &options.settings, &asked.lookup, &healthy, asker, dice);
        if recurses && matches!(&found, Found::Names { nodes, services } if nodes.is_empty() && services.is_empty()) {
            return Step::Forward;
        }
        let query = Query {
            name: &request.name,
            record_type: request.record_type,
            transport: transport(&request, carrier),
            random: self.random.u64(..),
            serial: serial(),
        };
        let reply = answer(&options.zone, &options.settings, &query, &asked, found);
        if request.record_type != RecordType::Cname && reply.hosts().iter().any(|host| options.can_resolve(host)) {
            return Step::Resolve(Box::new(reply));
        }
        self.send(&request, carrier, reply);
        Step::Send
    }

    /// Returns the records that our own zone has for a host, and the host names that they point at.
    pub(super) fn own_records(&mut self, host: &str, record_type: RecordType) -> Reply {
        let options = self.options.clone();
        let asked = options.zone.lookup(host);
        self.rows.follow((self.source)());
        let healthy = self.rows.healthy(&asked.lookup);
        let asker = Asker { agent: options.node.as_ref(), address: None };
        let (seen, dice) = (self.rows.seen(), &mut self.random);
        let found = found(seen, &options.settings, &asked.lookup, &healthy, asker, dice);
        let random = self.random.u64(..);
        let query = Query { name: host, record_type, transport: Transport::Tcp, random, serial: serial() };
        answer(&options.zone, &options.settings, &query, &asked, found)
    }

    /// Writes a reply so that it fits, and counts it.
    pub(super) fn send(&mut self, request: &Request<'_>, carrier: Carrier, mut reply: Reply) {
        let size_max = transport(request, carrier).size_max();
        let mut head = self.head(request);
        head.code = reply.code.into();
        if reply.authoritative {
            head.flags |= flag::AUTHORITATIVE;
        }
        let whole = reply.view().answers().len();
        let mut measured = 0;
        let flags = |truncated| if truncated { flag::TRUNCATED } else { 0 };
        let writer = &mut self.writer;
        let told = Head { flags: head.flags | flags(reply.truncated), ..head };
        let mut length = 0;
        reply.trim(size_max, |view| {
            measured += 1;
            length = writer.reply(&told, view);
            length
        });
        // What was measured once did fit and stands written.
        if measured > 1 || length > size_max {
            let told = Head { flags: head.flags | flags(reply.truncated), ..head };
            length = self.writer.reply(&told, reply.view());
        }
        if length > size_max {
            // Not even a reply without answers fits, which takes absurdly long domains.
            self.writer.bare(&Head { flags: head.flags | flag::TRUNCATED, ..head });
        }
        if reply.truncated || reply.view().answers().len() < whole || length > size_max {
            add(&self.counters.truncated);
        }
        self.counters.count(Some(request.record_type), head.code);
    }

    /// Writes the reply for a question that nobody could answer.
    pub(super) fn fail(&mut self, request: &Request<'_>) {
        let head = Head { code: Code::SERV_FAIL, ..self.head(request) };
        self.writer.bare(&head);
        self.counters.count(Some(request.record_type), head.code);
    }

    /// Writes a reply with a question and nothing else, to make the client come back in a stream.
    pub(super) fn truncate(&mut self, request: &Request<'_>, code: Code) {
        let head = self.head(request);
        self.writer.bare(&Head { code, flags: head.flags | flag::TRUNCATED, ..head });
        add(&self.counters.truncated);
        self.counters.count(Some(request.record_type), code);
    }

    fn reject(&mut self, rejected: &Rejected<'_>) -> Step {
        self.writer.bare(&Head {
            id: rejected.id,
            flags: self.flags(rejected.flags) | (rejected.flags & flag::OPCODE),
            code: rejected.code,
            question: rejected.question,
            name: "",
            edns: rejected.edns,
        });
        self.counters.count(rejected.record_type, rejected.code);
        Step::Send
    }

    fn head<'a>(&self, request: &'a Request<'a>) -> Head<'a> {
        Head {
            id: request.id,
            flags: self.flags(request.flags),
            code: Code::NO_ERROR,
            question: request.question,
            name: &request.name,
            edns: request.edns,
        }
    }

    /// The flags that every reply has: two of the question, and whether we recurse.
    fn flags(&self, asked: u16) -> u16 {
        let recurses = if self.options.recursors.is_empty() { 0 } else { flag::RECURSION_AVAILABLE };
        (asked & (flag::RECURSION_DESIRED | flag::CHECKING_DISABLED)) | recurses
    }
}

/// Says how long the reply may be.
pub(super) fn transport(request: &Request<'_>, carrier: Carrier) -> Transport {
    match carrier {
        Carrier::Udp => Transport::Udp { edns: request.edns.map(|edns| edns.size.min(DATAGRAM_BYTES_MAX)) },
        Carrier::Tcp => Transport::Tcp,
    }
}

/// The serial number of the zone: seconds since 1970. It may wrap, as serial numbers do.
fn serial() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
}
