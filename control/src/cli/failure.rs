//! Why a command did not do what it was asked for, and the exit code that says so to a script.
//!
//! One table for every command. Called as `consul`, the program ends as Consul's does: 1 for whatever went wrong. By its
//! own name it says more. What is printed is the same; where scripts know a text of Consul's, it is that text.

use callboard::http::Answer;
use http::StatusCode;

use crate::program::ProgramError;

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// None of the others.
    Failed,
    /// The command line is wrong; nothing was tried.
    Usage,
    /// What was asked for is not there.
    NotFound,
    /// The token may not do this.
    Denied,
    /// Somebody else was faster, or holds it.
    Conflict,
    /// No server answered.
    Unreachable,
    /// It took longer than the caller would wait.
    TimedOut,
    /// A part was done, and the text says which.
    Partial,
}

/// Whose exit codes are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Consul's: called as `consul`, or behind that word.
    Consul,
    /// Our own.
    Own,
}

impl Kind {
    /// Returns the exit code.
    pub(super) fn code(self, manner: Manner) -> u8 {
        if manner == Manner::Consul {
            return 1;
        }
        match self {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::NotFound => 3,
            Kind::Denied => 4,
            Kind::Conflict => 5,
            Kind::Unreachable => 6,
            Kind::TimedOut => 7,
            Kind::Partial => 9,
        }
    }
}

/// What went wrong, in words for people.
#[derive(Debug)]
pub(super) struct Failure {
    /// What kind.
    pub(super) kind: Kind,
    /// What happened.
    pub(super) text: String,
    /// Why, from the outside in.
    pub(super) causes: Vec<String>,
    /// What to try next.
    pub(super) hint: Option<String>,
}

impl Failure {
    /// Says what went wrong.
    pub(super) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), causes: Vec::new(), hint: None }
    }

    /// Says that something went wrong, because of an error.
    pub(super) fn because(kind: Kind, text: impl Into<String>, error: &dyn std::error::Error) -> Self {
        let mut failure = Self::new(kind, text);
        let mut cause = Some(error);
        while let Some(error) = cause {
            failure.causes.push(error.to_string());
            cause = error.source();
        }
        failure
    }

    /// Says that the command line is wrong.
    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self::new(Kind::Usage, text)
    }

    /// Adds what to try next.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Turns an answer with an error into a failure.
    pub(super) fn answered(doing: &str, answer: &Answer) -> Self {
        let cut = &answer.body[..answer.body.len().min(4096)];
        let body = String::from_utf8_lossy(cut);
        let code = answer.status.as_u16();
        Self::new(kind_of(answer.status), format!("{doing}: Unexpected response code: {code} ({})", body.trim()))
    }
}

/// What the status of an answer means for whoever waits for the exit code.
fn kind_of(status: StatusCode) -> Kind {
    match status {
        StatusCode::NOT_FOUND => Kind::NotFound,
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Kind::Denied,
        StatusCode::CONFLICT => Kind::Conflict,
        _ => Kind::Failed,
    }
}

impl From<callboard::Error> for Failure {
    fn from(error: callboard::Error) -> Self {
        let kind = match &error {
            callboard::Error::Unreachable { .. } => Kind::Unreachable,
            callboard::Error::Timeout { .. } | callboard::Error::NotLocked { .. } => Kind::TimedOut,
            callboard::Error::LockConflict { .. } => Kind::Conflict,
            callboard::Error::Config { .. } => Kind::Usage,
            callboard::Error::Status { status, .. } => kind_of(*status),
            _ => Kind::Failed,
        };
        let mut failure = Self::because(kind, String::new(), &error);
        failure.text = failure.causes.remove(0);
        match kind {
            Kind::Unreachable => failure.hint("is an agent running there? -http-addr or CONSUL_HTTP_ADDR says where"),
            _ => failure,
        }
    }
}

impl From<ProgramError> for Failure {
    fn from(error: ProgramError) -> Self {
        match &error {
            ProgramError::Nothing => Self::usage(error.to_string()),
            ProgramError::Start(_) | ProgramError::Read(_) | ProgramError::Wait(_) => {
                Self::because(Kind::Failed, "Error running handler", &error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own_code_and_consul_knows_one() {
        let kinds = [
            (Kind::Failed, 1),
            (Kind::Usage, 2),
            (Kind::NotFound, 3),
            (Kind::Denied, 4),
            (Kind::Conflict, 5),
            (Kind::Unreachable, 6),
            (Kind::TimedOut, 7),
            (Kind::Partial, 9),
        ];
        for (kind, code) in kinds {
            assert_eq!((kind.code(Manner::Own), kind.code(Manner::Consul)), (code, 1), "{kind:?}");
        }
        for (status, kind) in [(404, Kind::NotFound), (403, Kind::Denied), (409, Kind::Conflict), (500, Kind::Failed)] {
            assert_eq!(kind_of(StatusCode::from_u16(status).unwrap()), kind);
        }
    }
}
