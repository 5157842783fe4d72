//! Builds the value that a text in HCL stands for.

use serde_json::{Map, Value};

use super::DEPTH_MAX;
use super::error::Error;
use super::lexer::{Lexer, Token, TokenKind};

/// Reads a whole text.
pub(super) fn read(text: &str) -> Result<Value, Error> {
    let mut lexer = Lexer::new(text);
    let token = lexer.next()?;
    let mut reader = Reader { lexer, token };
    let settings = reader.settings(&TokenKind::End, 0)?;
    Ok(Value::Object(settings))
}

struct Reader<'t> {
    lexer: Lexer<'t>,
    /// The token that is looked at.
    token: Token<'t>,
}

/// A name or a label, and where it stands.
struct Key {
    at: usize,
    name: String,
}

impl<'t> Reader<'t> {
    /// Goes on to the next token and returns the present one.
    fn take(&mut self) -> Result<Token<'t>, Error> {
        let next = self.lexer.next()?;
        Ok(std::mem::replace(&mut self.token, next))
    }

    /// Reads settings and blocks up to a token, and over it. Commas between them are for who likes them.
    fn settings(&mut self, end: &TokenKind<'_>, depth: usize) -> Result<Map<String, Value>, Error> {
        let mut settings = Map::new();
        loop {
            if self.token.kind == *end {
                self.take()?;
                return Ok(settings);
            }
            let keys = self.keys()?;
            let alone = keys.len() == 1;
            let value = match self.token.kind {
                TokenKind::Assign if alone => {
                    self.take()?;
                    self.value(depth)?
                }
                TokenKind::OpenBrace => self.value(depth)?,
                _ if alone => return Err(self.lexer.expected(self.token.at, "\"=\", \"{\" or a label")),
                _ => return Err(self.lexer.expected(self.token.at, "\"{\" or another label")),
            };
            self.place(&mut settings, keys, value)?;
            if self.token.kind == TokenKind::Comma {
                self.take()?;
            }
        }
    }

    /// Reads a name and the labels behind it.
    fn keys(&mut self) -> Result<Vec<Key>, Error> {
        let mut keys = Vec::new();
        loop {
            match &mut self.token.kind {
                TokenKind::Word(word) => {
                    let name = (*word).to_owned();
                    keys.push(Key { at: self.token.at, name });
                }
                TokenKind::Text(text) => keys.push(Key { at: self.token.at, name: std::mem::take(text) }),
                _ if keys.is_empty() => return Err(self.lexer.expected(self.token.at, "a name")),
                _ => return Ok(keys),
            }
            // Each label is an object of its own.
            if keys.len() > DEPTH_MAX {
                return Err(Error::TooDeep { at: self.lexer.position(self.token.at) });
            }
            self.take()?;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, Error> {
        let token = self.take()?;
        if depth >= DEPTH_MAX {
            return Err(Error::TooDeep { at: self.lexer.position(token.at) });
        }
        match token.kind {
            TokenKind::Word("true") => Ok(Value::Bool(true)),
            TokenKind::Word("false") => Ok(Value::Bool(false)),
            TokenKind::Text(text) => Ok(Value::String(text)),
            TokenKind::Number(number) => Ok(Value::Number(number)),
            TokenKind::OpenBrace => self.settings(&TokenKind::CloseBrace, depth + 1).map(Value::Object),
            TokenKind::OpenBracket => self.list(depth + 1),
            _ => Err(self
                .lexer
                .expected(token.at, "a value: text in quotes, a number, true, false, a list or an object")),
        }
    }

    /// Reads values with commas between them, and one behind the last for who likes it.
    fn list(&mut self, depth: usize) -> Result<Value, Error> {
        let mut list = Vec::new();
        while self.token.kind != TokenKind::CloseBracket {
            list.push(self.value(depth)?);
            match self.token.kind {
                TokenKind::Comma => drop(self.take()?),
                TokenKind::CloseBracket => {}
                _ => return Err(self.lexer.expected(self.token.at, "\",\" or \"]\"")),
            }
        }
        self.take()?;
        Ok(Value::Array(list))
    }

    /// Puts a value under its names. Of several objects with the same names a list is made.
    fn place(&self, settings: &mut Map<String, Value>, keys: Vec<Key>, value: Value) -> Result<(), Error> {
        let mut keys = keys.into_iter();
        let Some(key) = keys.next() else { return Ok(()) };
        let labels: Vec<Key> = keys.collect();
        let Some(present) = settings.get_mut(&key.name) else {
            settings.insert(key.name, nested(labels, value));
            return Ok(());
        };
        match present {
            // Blocks that differ in their labels stand beside one another in one object.
            Value::Object(inner) if !labels.is_empty() => self.place(inner, labels, value),
            Value::Object(_) if value.is_object() => {
                *present = Value::Array(vec![present.take(), value]);
                Ok(())
            }
            Value::Array(list) if value.is_object() && list.iter().all(Value::is_object) => {
                list.push(nested(labels, value));
                Ok(())
            }
            _ => Err(Error::Twice { at: self.lexer.position(key.at), name: key.name }),
        }
    }
}

/// The value inside one object for each label.
fn nested(labels: Vec<Key>, value: Value) -> Value {
    labels.into_iter().rev().fold(value, |inner, label| Value::Object(Map::from_iter([(label.name, inner)])))
}
