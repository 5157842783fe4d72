//! The syntax tree of a filter, and its printed form.
//!
//! Knows no row type: a selector here is a list of words. Printing a tree and reading it back gives the same tree,
//! which is how the parser is tested. Built by `parser`, checked and compiled by `bind`.

use std::fmt;

/// An expression as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// Two or more expressions joined by `or`.
    Any(Vec<Expression>),
    /// Two or more expressions joined by `and`.
    All(Vec<Expression>),
    /// `not` and an expression.
    Not(Box<Expression>),
    /// One comparison of a field.
    Compare(Comparison),
}

/// One field compared with at most one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Which field.
    pub selector: Selector,
    /// How it is compared.
    pub operator: Operator,
    /// Whether the whole comparison is negated (`!=`, `not in`, `is not empty`, …).
    pub negated: bool,
}

/// How a field is compared, with the value that it is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operator {
    /// `==`
    Equal(Literal),
    /// `in`, and `contains` with the operands the other way round: element of a list, key of a map, part of a text.
    In(Literal),
    /// `matches`: a regular expression found anywhere in the text.
    Matches(Literal),
    /// `is empty`
    Empty,
}

/// A value as text; what it means depends on the field that it is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Literal(pub String);

/// The way to a field: `Service.Meta["a b"]` is three parts, and so is the JSON pointer `"/Service/Meta/a b"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector(pub Vec<String>);

impl Selector {
    /// Joins the parts with dots, for messages.
    pub(super) fn dotted(&self) -> String {
        self.0.join(".")
    }
}

impl Comparison {
    /// Returns the operator as it is written, for messages.
    pub(super) fn symbol(&self) -> &'static str {
        match (&self.operator, self.negated) {
            (Operator::Equal(_), false) => "==",
            (Operator::Equal(_), true) => "!=",
            (Operator::In(_), false) => "in",
            (Operator::In(_), true) => "not in",
            (Operator::Matches(_), false) => "matches",
            (Operator::Matches(_), true) => "not matches",
            (Operator::Empty, false) => "is empty",
            (Operator::Empty, true) => "is not empty",
        }
    }
}

/// Says whether a byte may begin an identifier.
pub(super) fn begins_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic()
}

/// Says whether a byte may follow in an identifier.
pub(super) fn continues_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'/'
}

fn is_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|first| begins_word(*first)) && bytes.iter().all(|byte| continues_word(*byte))
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any(terms) => joined(f, terms, " or "),
            Self::All(terms) => joined(f, terms, " and "),
            Self::Not(inner) => {
                f.write_str("not ")?;
                operand(f, inner)
            }
            Self::Compare(comparison) => write!(f, "{comparison}"),
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, terms: &[Expression], word: &str) -> fmt::Result {
    for (place, term) in terms.iter().enumerate() {
        if place > 0 {
            f.write_str(word)?;
        }
        operand(f, term)?;
    }
    Ok(())
}

/// Writes a part of a larger expression; the parentheses around a list keep it a list of its own when it is read
/// back.
fn operand(f: &mut fmt::Formatter<'_>, term: &Expression) -> fmt::Result {
    match term {
        Expression::Any(_) | Expression::All(_) => write!(f, "({term})"),
        Expression::Not(_) | Expression::Compare(_) => write!(f, "{term}"),
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let symbol = self.symbol();
        let selector = &self.selector;
        match &self.operator {
            Operator::In(value) => write!(f, "{value} {symbol} {selector}"),
            Operator::Equal(value) | Operator::Matches(value) => {
                write!(f, "{selector} {symbol} {value}")
            }
            Operator::Empty => write!(f, "{selector} {symbol}"),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `not` opens a negation, so a field of that name can only be written as a pointer.
        let Some((first, rest)) = self.0.split_first().filter(|(first, _)| is_word(first) && *first != "not") else {
            let pointer = self.0.iter().fold(String::new(), |mut pointer, part| {
                pointer.push('/');
                pointer.push_str(&part.replace('~', "~0").replace('/', "~1"));
                pointer
            });
            return quoted(f, &pointer);
        };
        f.write_str(first)?;
        for part in rest {
            if is_word(part) {
                write!(f, ".{part}")?;
            } else {
                f.write_str("[")?;
                quoted(f, part)?;
                f.write_str("]")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        quoted(f, &self.0)
    }
}

/// Writes text between double quotes with the escapes of a Go string.
fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}
