//! Tokens in, syntax tree out: recursive descent, one token of lookahead.
//!
//! From loose to tight: `or`, `and`, `not`, then parentheses and comparisons. Whether an operand is a selector or a
//! value is known only when its operator has been read, so both are kept until then. Fields are not looked up here.

use super::error::Error;
use super::expression::{Comparison, Expression, Literal, Operator, Selector};
use super::lexer::{Lexer, Token, TokenKind};
use super::{DEPTH_MAX, TEXT_BYTES_MAX};

impl Expression {
    /// Reads the text of an expression, without knowing what it will be applied to.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`], [`Error::TooDeep`] and [`Error::Syntax`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Error::TooLong { bytes: text.len() });
        }
        let mut lexer = Lexer::new(text);
        let ahead = lexer.next()?;
        let mut parser = Parser { lexer, ahead };
        let expression = parser.any(0)?;
        match parser.ahead.kind {
            TokenKind::End => Ok(expression),
            _ => Err(parser.expected("\"and\", \"or\" or the end of the expression")),
        }
    }
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    ahead: Token<'t>,
}

impl<'t> Parser<'t> {
    fn expected(&self, expected: &'static str) -> Error {
        self.lexer.expected(self.ahead.at, expected)
    }

    fn advance(&mut self) -> Result<TokenKind<'t>, Error> {
        let next = self.lexer.next()?;
        Ok(std::mem::replace(&mut self.ahead, next).kind)
    }

    /// Consumes the keyword if it comes next.
    fn keyword(&mut self, word: &str) -> Result<bool, Error> {
        let found = matches!(&self.ahead.kind, TokenKind::Path { text, .. } if *text == word);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn any(&mut self, depth: usize) -> Result<Expression, Error> {
        let first = self.all(depth)?;
        let mut terms = vec![first];
        while self.keyword("or")? {
            terms.push(self.all(depth)?);
        }
        Ok(single(terms, Expression::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Expression, Error> {
        let first = self.unary(depth)?;
        let mut terms = vec![first];
        while self.keyword("and")? {
            terms.push(self.unary(depth)?);
        }
        Ok(single(terms, Expression::All))
    }

    fn unary(&mut self, depth: usize) -> Result<Expression, Error> {
        if depth > DEPTH_MAX {
            return Err(self.lexer.too_deep(self.ahead.at));
        }
        if self.keyword("not")? {
            return Ok(Expression::Not(Box::new(self.unary(depth + 1)?)));
        }
        if self.ahead.kind == TokenKind::Open {
            self.advance()?;
            let inner = self.any(depth + 1)?;
            if self.ahead.kind != TokenKind::Close {
                return Err(self.expected("\"and\", \"or\" or \")\""));
            }
            self.advance()?;
            return Ok(inner);
        }
        Ok(Expression::Compare(self.comparison()?))
    }

    fn comparison(&mut self) -> Result<Comparison, Error> {
        let left_at = self.ahead.at;
        let left = self.operand("a selector, a value, \"not\" or \"(\"")?;
        let (word, negated) = self.operator()?;
        let (selector, operator) = match word {
            Word::Equal => (self.selector(left, left_at)?, Operator::Equal(self.value()?)),
            Word::Contains => (self.selector(left, left_at)?, Operator::In(self.value()?)),
            Word::Matches => (self.selector(left, left_at)?, Operator::Matches(self.value()?)),
            Word::Empty => (self.selector(left, left_at)?, Operator::Empty),
            Word::In => {
                let right_at = self.ahead.at;
                let right = self.operand("a selector")?;
                (self.selector(right, right_at)?, Operator::In(left.value))
            }
        };
        Ok(Comparison { selector, operator, negated })
    }

    fn operator(&mut self) -> Result<(Word, bool), Error> {
        const EXPECTED: &str = "\"!=\", \"==\", \"contains\", \"in\", \"is\", \"matches\" or \"not\"";
        match self.ahead.kind {
            TokenKind::Equal => self.advance().map(|_| (Word::Equal, false)),
            TokenKind::NotEqual => self.advance().map(|_| (Word::Equal, true)),
            TokenKind::Path { text: "is", .. } => {
                self.advance()?;
                let negated = self.keyword("not")?;
                if !self.keyword("empty")? {
                    return Err(self.expected(if negated { "\"empty\"" } else { "\"empty\" or \"not empty\"" }));
                }
                Ok((Word::Empty, negated))
            }
            TokenKind::Path { text, .. } => {
                let negated = self.keyword("not")?;
                let word = match &self.ahead.kind {
                    TokenKind::Path { text: "in", .. } => Word::In,
                    TokenKind::Path { text: "contains", .. } => Word::Contains,
                    TokenKind::Path { text: "matches", .. } => Word::Matches,
                    _ if text == "not" => {
                        return Err(self.expected("\"contains\", \"in\" or \"matches\""));
                    }
                    _ => return Err(self.expected(EXPECTED)),
                };
                self.advance()?;
                Ok((word, negated))
            }
            _ => Err(self.expected(EXPECTED)),
        }
    }

    /// Reads something that may be a selector, a value, or either.
    fn operand(&mut self, expected: &'static str) -> Result<Operand, Error> {
        if matches!(
            self.ahead.kind,
            TokenKind::Equal | TokenKind::NotEqual | TokenKind::Open | TokenKind::Close | TokenKind::End
        ) {
            return Err(self.expected(expected));
        }
        Ok(match self.advance()? {
            TokenKind::Path { text, parts } => {
                Operand { value: Literal(text.to_owned()), selector: Some(Selector(parts)) }
            }
            TokenKind::Text(text) => {
                let selector = pointer(&text);
                Operand { value: Literal(text), selector }
            }
            TokenKind::Number(text) => Operand { value: Literal(text.to_owned()), selector: None },
            // Refused above, before anything was consumed.
            TokenKind::Equal | TokenKind::NotEqual | TokenKind::Open | TokenKind::Close | TokenKind::End => {
                return Err(self.expected(expected));
            }
        })
    }

    fn value(&mut self) -> Result<Literal, Error> {
        Ok(self.operand("a value: a word, a number or a quoted string")?.value)
    }

    fn selector(&self, operand: Operand, at: usize) -> Result<Selector, Error> {
        operand.selector.ok_or_else(|| self.lexer.expected(at, "a selector"))
    }
}

enum Word {
    Equal,
    In,
    Contains,
    Matches,
    Empty,
}

struct Operand {
    value: Literal,
    selector: Option<Selector>,
}

fn single(mut terms: Vec<Expression>, list: fn(Vec<Expression>) -> Expression) -> Expression {
    match terms.pop() {
        Some(only) if terms.is_empty() => only,
        Some(last) => {
            terms.push(last);
            list(terms)
        }
        None => list(terms),
    }
}

/// Reads a JSON pointer (RFC 6901): `/Meta/a~1b` is `Meta`, then `a/b`.
fn pointer(text: &str) -> Option<Selector> {
    let parts = text.strip_prefix('/')?.split('/').map(|part| part.replace("~1", "/").replace("~0", "~"));
    Some(Selector(parts.collect()))
}
