//! Cuts the text of a filter into tokens.
//!
//! A whole selector (`Service.Meta["a b"]`) is one token, because no space may stand inside it. Keywords are not
//! told from other words here: `Name == in` compares with the word "in". Called by `parser` only.

use super::error::Error;
use super::expression::{begins_word, continues_word};
use crate::escape::unescape;
use crate::position::Position;

/// One token with the byte offset at which it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token<'t> {
    pub(super) at: usize,
    pub(super) kind: TokenKind<'t>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenKind<'t> {
    /// A word, or words joined by dots and brackets; `text` is how it was written.
    Path {
        text: &'t str,
        parts: Vec<String>,
    },
    /// A quoted or raw string, without its quotes.
    Text(String),
    Number(&'t str),
    Equal,
    NotEqual,
    Open,
    Close,
    End,
}

pub(super) struct Lexer<'t> {
    text: &'t str,
    offset: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, offset: 0 }
    }

    /// Makes the error "something else should stand here".
    pub(super) fn expected(&self, at: usize, expected: &'static str) -> Error {
        Error::Syntax { at: Position::find(self.text, at), expected }
    }

    /// Makes the error "nested too deep".
    pub(super) fn too_deep(&self, at: usize) -> Error {
        Error::TooDeep { at: Position::find(self.text, at) }
    }

    /// Reads the next token; at the end of the text, [`TokenKind::End`] again and again.
    pub(super) fn next(&mut self) -> Result<Token<'t>, Error> {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.offset += 1;
        }
        let at = self.offset;
        let kind = match self.peek() {
            None => TokenKind::End,
            Some(b'(') => self.symbol(1, TokenKind::Open),
            Some(b')') => self.symbol(1, TokenKind::Close),
            Some(b'=') if self.rest().starts_with("==") => self.symbol(2, TokenKind::Equal),
            Some(b'!') if self.rest().starts_with("!=") => self.symbol(2, TokenKind::NotEqual),
            Some(b'"') => TokenKind::Text(self.quoted()?),
            Some(b'`') => TokenKind::Text(self.raw()?),
            Some(b'-' | b'0'..=b'9') => TokenKind::Number(self.number()?),
            Some(byte) if begins_word(byte) => self.path()?,
            Some(_) => {
                return Err(self.expected(at, "a selector, a value, an operator or a parenthesis"));
            }
        };
        Ok(Token { at, kind })
    }

    fn rest(&self) -> &'t str {
        // The offset only moves past whole characters; an empty rest is the safe answer if that were ever wrong.
        self.text.get(self.offset..).unwrap_or("")
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.offset).copied()
    }

    fn symbol(&mut self, length: usize, kind: TokenKind<'t>) -> TokenKind<'t> {
        self.offset += length;
        kind
    }

    fn word(&mut self) -> &'t str {
        let rest = self.rest();
        let length = rest.bytes().take_while(|byte| continues_word(*byte)).count();
        self.offset += length;
        &rest[..length]
    }

    fn path(&mut self) -> Result<TokenKind<'t>, Error> {
        let begin = self.offset;
        let mut parts = vec![self.word().to_owned()];
        loop {
            match self.peek() {
                Some(b'.') => {
                    self.offset += 1;
                    if !self.peek().is_some_and(begins_word) {
                        return Err(self.expected(self.offset, "[a-zA-Z]; other names are written [\"name\"]"));
                    }
                    parts.push(self.word().to_owned());
                }
                Some(b'[') => {
                    self.offset += 1;
                    parts.push(match self.peek() {
                        Some(b'"') => self.quoted()?,
                        Some(b'`') => self.raw()?,
                        _ => return Err(self.expected(self.offset, "a quoted name")),
                    });
                    if self.peek() != Some(b']') {
                        return Err(self.expected(self.offset, "\"]\""));
                    }
                    self.offset += 1;
                }
                // A bare word ends at a space, an operator or a parenthesis; `node-1` is three things in this
                // language.
                Some(b' ' | b'\t' | b'\r' | b'\n' | b'(' | b')' | b'=' | b'!') | None => break,
                Some(_) => {
                    return Err(self.expected(self.offset, "[a-zA-Z0-9_/]; other text is written in quotes"));
                }
            }
        }
        Ok(TokenKind::Path { text: &self.text[begin..self.offset], parts })
    }

    /// Reads `-`? (`0` | `[1-9][0-9]*`) (`.` `[0-9]+`)?
    fn number(&mut self) -> Result<&'t str, Error> {
        let begin = self.offset;
        if self.peek() == Some(b'-') {
            self.offset += 1;
        }
        let whole = self.digits();
        if whole.is_empty() {
            return Err(self.expected(self.offset, "a digit"));
        }
        if whole.len() > 1 && whole.starts_with('0') {
            return Err(self.expected(begin, "a number without leading zeroes, or quotes around it"));
        }
        if self.peek() == Some(b'.') {
            self.offset += 1;
            if self.digits().is_empty() {
                return Err(self.expected(self.offset, "a digit"));
            }
        }
        if self.peek().is_some_and(|byte| continues_word(byte) || matches!(byte, b'.' | b'-' | b':')) {
            return Err(self.expected(self.offset, "the end of the number, or quotes around the value"));
        }
        Ok(&self.text[begin..self.offset])
    }

    fn digits(&mut self) -> &'t str {
        let rest = self.rest();
        let length = rest.bytes().take_while(u8::is_ascii_digit).count();
        self.offset += length;
        &rest[..length]
    }

    fn raw(&mut self) -> Result<String, Error> {
        let begin = self.offset;
        self.offset += 1;
        let rest = self.rest();
        let length = rest.find('`').ok_or_else(|| self.expected(begin, "a closing \"`\""))?;
        self.offset += length + 1;
        // Go leaves carriage returns out of raw strings.
        Ok(rest[..length].replace('\r', ""))
    }

    /// Reads a double-quoted string with the escapes of a Go string.
    fn quoted(&mut self) -> Result<String, Error> {
        let begin = self.offset;
        self.offset += 1;
        // Bytes, not characters: `\xe2\x82\xac` is one character written as three escapes.
        let mut bytes = Vec::new();
        loop {
            let at = self.offset;
            let byte = self.peek().ok_or_else(|| self.expected(begin, "a closing '\"'"))?;
            self.offset += 1;
            match byte {
                b'"' => break,
                b'\\' => {
                    let behind = unescape(self.text, self.offset, &mut bytes);
                    self.offset = behind.map_err(|expected| self.expected(at, expected))?;
                }
                other => bytes.push(other),
            }
        }
        String::from_utf8(bytes).map_err(|_| self.expected(begin, "a string of valid UTF-8"))
    }
}
