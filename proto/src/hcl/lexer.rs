//! Cuts a text in HCL into tokens. Called by `reader` only.

use serde_json::Number;

use super::error::Error;
use crate::escape::unescape;
use crate::position::Position;

/// One token with the byte offset at which it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token<'t> {
    pub(super) at: usize,
    pub(super) kind: TokenKind<'t>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind<'t> {
    /// A name, `true` or `false`.
    Word(&'t str),
    /// What stood in quotes or in a heredoc.
    Text(String),
    Number(Number),
    Assign,
    Comma,
    OpenBrace,
    CloseBrace,
    OpenBracket,
    CloseBracket,
    End,
}

pub(super) struct Lexer<'t> {
    text: &'t str,
    offset: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        // Some editors begin a file with the mark of its byte order.
        Self { text, offset: if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 } }
    }

    /// The line and column of an offset.
    pub(super) fn position(&self, at: usize) -> Position {
        Position::find(self.text, at)
    }

    /// Makes the error "something else should stand here".
    pub(super) fn expected(&self, at: usize, expected: &'static str) -> Error {
        Error::Syntax { at: self.position(at), expected }
    }

    /// Reads the next token; at the end of the text, [`TokenKind::End`] again and again.
    pub(super) fn next(&mut self) -> Result<Token<'t>, Error> {
        self.skip()?;
        let at = self.offset;
        let kind = match self.peek() {
            None => TokenKind::End,
            Some('=') => self.symbol(TokenKind::Assign),
            Some(',') => self.symbol(TokenKind::Comma),
            Some('{') => self.symbol(TokenKind::OpenBrace),
            Some('}') => self.symbol(TokenKind::CloseBrace),
            Some('[') => self.symbol(TokenKind::OpenBracket),
            Some(']') => self.symbol(TokenKind::CloseBracket),
            Some('"') => TokenKind::Text(self.quoted()?),
            Some('<') => TokenKind::Text(self.heredoc()?),
            Some('-' | '.' | '0'..='9') => TokenKind::Number(self.number()?),
            Some(letter) if letter.is_alphabetic() || letter == '_' => TokenKind::Word(self.take_while(continues_word)),
            Some(_) => return Err(self.expected(at, "a name, a value, a brace or a bracket")),
        };
        Ok(Token { at, kind })
    }

    fn rest(&self) -> &'t str {
        // The offset only moves past whole characters; an empty rest is the safe answer if that were ever wrong.
        self.text.get(self.offset..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn symbol(&mut self, kind: TokenKind<'t>) -> TokenKind<'t> {
        self.offset += 1;
        kind
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|letter| !wanted(letter)).unwrap_or(rest.len())];
        self.offset += taken.len();
        taken
    }

    /// Goes over white space and comments.
    fn skip(&mut self) -> Result<(), Error> {
        loop {
            self.take_while(char::is_whitespace);
            let rest = self.rest();
            if rest.starts_with('#') || rest.starts_with("//") {
                self.take_while(|letter| letter != '\n');
            } else if rest.starts_with("/*") {
                let length = rest.find("*/").ok_or_else(|| self.expected(self.offset, "a closing \"*/\""))?;
                self.offset += length + 2;
            } else {
                return Ok(());
            }
        }
    }

    /// Reads a string in quotes with the escapes of Go. `${…}` is copied as it stands, quotes included.
    fn quoted(&mut self) -> Result<String, Error> {
        let begin = self.offset;
        let bytes = self.text.as_bytes();
        let mut out = Vec::new();
        // How many braces are open since `${`.
        let mut braces = 0_usize;
        self.offset += 1;
        loop {
            let at = self.offset;
            let byte = *bytes.get(at).ok_or_else(|| self.expected(begin, "a closing '\"'"))?;
            self.offset += 1;
            match byte {
                b'"' if braces == 0 => break,
                b'\n' if braces == 0 => return Err(self.expected(at, "a closing '\"' in this line")),
                b'\\' if braces == 0 => {
                    let behind = unescape(self.text, self.offset, &mut out);
                    self.offset = behind.map_err(|expected| self.expected(at, expected))?;
                    continue;
                }
                b'{' if braces > 0 || (at > begin + 1 && bytes[at - 1] == b'$') => braces += 1,
                b'}' => braces = braces.saturating_sub(1),
                _ => {}
            }
            out.push(byte);
        }
        String::from_utf8(out).map_err(|_| self.expected(begin, "a string of valid UTF-8"))
    }

    /// Reads `<<NAME`, lines, and `NAME` on a line of its own. With `<<-NAME`, the white space before the last line is
    /// taken from each line, if all of them begin with it.
    fn heredoc(&mut self) -> Result<String, Error> {
        let begin = self.offset;
        let rest = self.rest();
        let rest = rest.strip_prefix("<<").ok_or_else(|| self.expected(begin, "\"<<\" and a name"))?;
        let (rest, indented) = rest.strip_prefix('-').map_or((rest, false), |rest| (rest, true));
        let (name, body) = rest.split_once('\n').ok_or_else(|| self.expected(begin, "lines behind \"<<\""))?;
        let name = name.strip_suffix('\r').unwrap_or(name);
        if name.is_empty() || !name.chars().all(char::is_alphanumeric) {
            return Err(self.expected(begin, "\"<<\" and a name of letters and digits, alone in its line"));
        }
        let mut lines = Vec::new();
        let mut length = 0;
        for line in body.split_inclusive('\n') {
            let last = line.trim_end_matches(['\n', '\r']);
            if last.trim_start_matches([' ', '\t']) == name {
                // What follows in the line of the name is looked at again: its end may be the end of a list's item.
                self.offset = self.text.len() - body.len() + length + last.len();
                let indent = &last[..last.len() - name.len()];
                let strip = indented && lines.iter().all(|line: &&str| line.starts_with(indent));
                return Ok(lines.iter().map(|line| if strip { &line[indent.len()..] } else { line }).collect());
            }
            length += line.len();
            lines.push(line);
        }
        Err(self.expected(begin, "the name of this heredoc on a line of its own"))
    }

    /// Reads a whole number in decimal, `0x` hexadecimal or `0` octal, or one with a point or an exponent.
    fn number(&mut self) -> Result<Number, Error> {
        let at = self.offset;
        let text = self.take_while(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '+' | '_'));
        read_number(text).ok_or_else(|| self.expected(at, "a number, or quotes around the value"))
    }
}

fn continues_word(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.')
}

fn read_number(text: &str) -> Option<Number> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let radix = |digits: &str, radix| {
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        plain.then(|| i128::from_str_radix(digits, radix).ok()).flatten()
    };
    let whole = if let Some(digits) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(radix(digits, 16)?)
    } else if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        Some(radix(digits, 8)?)
    } else if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        Some(radix(digits, 10)?)
    } else {
        None
    };
    if let Some(whole) = whole {
        return Number::from_i128(if negative { -whole } else { whole });
    }
    // `parse` alone would take words like "inf".
    let plain = digits.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'-' | b'+'));
    plain.then(|| text.parse().ok()).flatten().and_then(Number::from_f64)
}
