//! Reads questions.
//!
//! Of a message only the header, the one question and the OPT record are understood; other records are stepped
//! over. What is wrong with a message is told as the code to answer with; a message that is itself a reply, or
//! too short to have an id, gets none at all (answering those lets two servers talk for ever).

use callboard_proto::dns::RecordType;

use super::{Code, HEADER_BYTES, flag};

const CLASS_IN: u16 = 1;
const TYPE_OPT: u16 = 41;
const TYPE_IXFR: u16 = 251;
const TYPE_AXFR: u16 = 252;
const OPTION_CLIENT_SUBNET: u16 = 8;

/// The longest name on the wire, with the lengths of its labels (RFC 1035 section 2.3.4).
const NAME_BYTES_MAX: usize = 255;

/// What a message turned out to be.
#[derive(Debug)]
pub(in crate::dns) enum Read<'a> {
    /// A question that can be answered.
    Request(Request<'a>),
    /// Something that is answered with a code only.
    Rejected(Rejected<'a>),
    /// Not for us.
    Ignored,
}

/// One question and what came along.
#[derive(Debug)]
pub(in crate::dns) struct Request<'a> {
    /// The number that the reply must carry.
    pub(in crate::dns) id: u16,
    /// The flags, as they came.
    pub(in crate::dns) flags: u16,
    /// The question section, as it came.
    pub(in crate::dns) question: &'a [u8],
    /// The name: labels and dots, without the last one. A label that cannot be text is marked so that it equals no
    /// name that anyone registers.
    pub(in crate::dns) name: String,
    /// The asked type.
    pub(in crate::dns) record_type: RecordType,
    /// The OPT record.
    pub(in crate::dns) edns: Option<Edns<'a>>,
}

/// The OPT record of a question (RFC 6891).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dns) struct Edns<'a> {
    /// The longest datagram that the client takes, in bytes.
    pub(in crate::dns) size: u16,
    version: u8,
    /// Whether the client wants DNSSEC records; there are none, but the bit is repeated (RFC 3225 section 3).
    pub(in crate::dns) dnssec_ok: bool,
    /// The data of the client-subnet option (RFC 7871), if it is well-formed.
    pub(in crate::dns) subnet: Option<&'a [u8]>,
}

/// A message that gets no answer but a code.
#[derive(Debug)]
pub(in crate::dns) struct Rejected<'a> {
    /// The number that the reply must carry.
    pub(in crate::dns) id: u16,
    /// The flags, as they came.
    pub(in crate::dns) flags: u16,
    /// The question section, if it could be read.
    pub(in crate::dns) question: &'a [u8],
    /// The asked type, if it could be read.
    pub(in crate::dns) record_type: Option<RecordType>,
    /// The OPT record, if it could be read.
    pub(in crate::dns) edns: Option<Edns<'a>>,
    /// The code.
    pub(in crate::dns) code: Code,
}

/// Steps through the bytes of a message; every step may fail.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn word(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    /// Steps over the name of a record without following it.
    fn skip_name(&mut self) -> Option<()> {
        loop {
            match self.byte()? {
                0 => return Some(()),
                length @ 1..64 => self.take(usize::from(length))?,
                // A pointer is the end of a name (RFC 1035 section 4.1.4).
                192.. => return self.take(1).map(|_| ()),
                _ => return None,
            };
        }
    }

    /// Reads the name of a question. Nothing stands before it that it could point to.
    fn name(&mut self) -> Option<String> {
        let begin = self.at;
        let mut name = String::with_capacity(64);
        loop {
            let length = match self.byte()? {
                0 => return (self.at - begin <= NAME_BYTES_MAX).then_some(name),
                length @ 1..64 => usize::from(length),
                _ => return None,
            };
            if !name.is_empty() {
                name.push('.');
            }
            match std::str::from_utf8(self.take(length)?) {
                Ok(label) if !label.contains('.') => name.push_str(label),
                // Within text a dot would part one label into two.
                _ => name.push(char::REPLACEMENT_CHARACTER),
            }
            if self.at - begin > NAME_BYTES_MAX {
                return None;
            }
        }
    }
}

/// Reads a message from a client.
pub(in crate::dns) fn read(bytes: &[u8]) -> Read<'_> {
    let mut cursor = Cursor { bytes, at: 0 };
    let Some([id, flags, questions, answers, authority, additional]) = header(&mut cursor) else {
        return Read::Ignored;
    };
    if flags & flag::RESPONSE != 0 {
        return Read::Ignored;
    }
    let mut rejected = Rejected { id, flags, question: &[], record_type: None, edns: None, code: Code::FORM_ERR };
    if flags & flag::OPCODE != 0 {
        rejected.code = Code::NOT_IMP;
        return Read::Rejected(rejected);
    }
    if questions != 1 {
        return Read::Rejected(rejected);
    }
    let Some((name, kind, class)) = question(&mut cursor) else { return Read::Rejected(rejected) };
    rejected.question = &bytes[HEADER_BYTES..cursor.at];
    let record_type = RecordType::from_code(kind);
    rejected.record_type = Some(record_type);
    let records = usize::from(answers) + usize::from(authority) + usize::from(additional);
    let Some(edns) = edns(&mut cursor, records) else { return Read::Rejected(rejected) };
    rejected.edns = edns;
    rejected.code = if edns.is_some_and(|edns| edns.version != 0) {
        Code::BAD_VERSION
    } else if class != CLASS_IN {
        Code::REFUSED
    } else if matches!(kind, TYPE_AXFR | TYPE_IXFR) {
        Code::NOT_IMP
    } else {
        return Read::Request(Request { id, flags, question: rejected.question, name, record_type, edns });
    };
    Read::Rejected(rejected)
}

/// Says whether a message is the reply to a question: the same id, and the same question if it repeats one.
pub(in crate::dns) fn is_answer_to(reply: &[u8], id: u16, asked: &[u8]) -> bool {
    let mut cursor = Cursor { bytes: reply, at: 0 };
    let Some([reply_id, flags, questions, ..]) = header(&mut cursor) else { return false };
    if reply_id != id || flags & flag::RESPONSE == 0 || flags & flag::OPCODE != 0 || questions != 1 {
        return false;
    }
    cursor.take(asked.len()).is_some_and(|question| question.eq_ignore_ascii_case(asked))
}

/// Returns the response code of a message, without the bits that EDNS adds.
pub(in crate::dns) fn response_code(reply: &[u8]) -> Code {
    let flags = reply.get(2..4).and_then(|flags| flags.try_into().ok()).map_or(0, u16::from_be_bytes);
    Code(flags & flag::CODE)
}

/// Reads the six words of the header: id, flags, and how many records each section has.
fn header(cursor: &mut Cursor<'_>) -> Option<[u16; 6]> {
    let mut words = [0; 6];
    for word in &mut words {
        *word = cursor.word()?;
    }
    Some(words)
}

fn question(cursor: &mut Cursor<'_>) -> Option<(String, u16, u16)> {
    Some((cursor.name()?, cursor.word()?, cursor.word()?))
}

/// Steps over the records and finds the OPT record among them. The outer `None` means that the message is broken,
/// which two OPT records are too (RFC 6891 section 6.1.1).
fn edns<'a>(cursor: &mut Cursor<'a>, records: usize) -> Option<Option<Edns<'a>>> {
    let mut found = None;
    for _ in 0..records {
        let is_root = cursor.bytes.get(cursor.at) == Some(&0);
        cursor.skip_name()?;
        let (kind, size) = (cursor.word()?, cursor.word()?);
        let [_, version, flags, _] = *cursor.take(4)? else { return None };
        let length = cursor.word()?;
        let data = cursor.take(usize::from(length))?;
        if kind == TYPE_OPT {
            if found.is_some() || !is_root {
                return None;
            }
            found = Some(Edns { size, version, dnssec_ok: flags & 0x80 != 0, subnet: client_subnet(data)? });
        }
    }
    Some(found)
}

/// Finds the client subnet among the options; the outer `None` means that they are broken.
fn client_subnet(options: &[u8]) -> Option<Option<&[u8]>> {
    let mut cursor = Cursor { bytes: options, at: 0 };
    let mut found = None;
    while cursor.at < options.len() {
        let (option, length) = (cursor.word()?, cursor.word()?);
        let data = cursor.take(usize::from(length))?;
        if option == OPTION_CLIENT_SUBNET && is_client_subnet(data) {
            found = Some(data);
        }
    }
    Some(found)
}

/// Says whether option data is a family, two prefix lengths and as much of an address as the first one needs
/// (RFC 7871 section 6).
fn is_client_subnet(data: &[u8]) -> bool {
    let [0, family, prefix, scope, address @ ..] = data else { return false };
    let bits_max = match family {
        1 => 32,
        2 => 128,
        _ => return false,
    };
    *prefix <= bits_max && *scope == 0 && address.len() == usize::from(*prefix).div_ceil(8)
}
