//! DNS messages as bytes: questions are read, replies are written.
//!
//! Knows the layout of RFC 1035 and RFC 6891 and nothing of what a name means. Everything read here comes from
//! strangers: whatever the bytes are, the answer is a value, never a panic. Called by `respond`, and by `recursor`
//! for what comes back from others.

mod read;
mod write;

#[cfg(test)]
mod tests;

pub(super) use read::{Read, Rejected, Request, is_answer_to, read, response_code};
pub(super) use write::{Head, Writer};

/// The length of the fixed part that every message begins with.
pub(super) const HEADER_BYTES: usize = 12;

/// Bits of the second word of the header (RFC 1035 section 4.1.1).
pub(super) mod flag {
    /// A reply, not a question.
    pub(in crate::dns) const RESPONSE: u16 = 0x8000;
    /// Whoever replies is in charge of the name.
    pub(in crate::dns) const AUTHORITATIVE: u16 = 0x0400;
    /// Records were left out.
    pub(in crate::dns) const TRUNCATED: u16 = 0x0200;
    /// The client asks for recursion.
    pub(in crate::dns) const RECURSION_DESIRED: u16 = 0x0100;
    /// We offer recursion.
    pub(in crate::dns) const RECURSION_AVAILABLE: u16 = 0x0080;
    /// The client does not want DNSSEC checked (RFC 4035 section 3.2.2).
    pub(in crate::dns) const CHECKING_DISABLED: u16 = 0x0010;
    /// Where the kind of question is.
    pub(in crate::dns) const OPCODE: u16 = 0x7800;
    /// Where the response code is.
    pub(in crate::dns) const CODE: u16 = 0x000f;
}

/// A response code by its number: the six of RFC 1035 and the one that EDNS adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Code(pub(super) u16);

impl Code {
    pub(super) const NO_ERROR: Code = Code(0);
    pub(super) const FORM_ERR: Code = Code(1);
    pub(super) const SERV_FAIL: Code = Code(2);
    pub(super) const NX_DOMAIN: Code = Code(3);
    pub(super) const NOT_IMP: Code = Code(4);
    pub(super) const REFUSED: Code = Code(5);
    /// The version of EDNS is not known (RFC 6891 section 9); its upper bits stand in the OPT record.
    pub(super) const BAD_VERSION: Code = Code(16);
}

impl From<callboard_proto::dns::ResponseCode> for Code {
    fn from(code: callboard_proto::dns::ResponseCode) -> Code {
        use callboard_proto::dns::ResponseCode::{FormErr, NoError, NotImp, NxDomain, Refused, ServFail};
        match code {
            NoError => Code::NO_ERROR,
            FormErr => Code::FORM_ERR,
            ServFail => Code::SERV_FAIL,
            NxDomain => Code::NX_DOMAIN,
            NotImp => Code::NOT_IMP,
            Refused => Code::REFUSED,
        }
    }
}
