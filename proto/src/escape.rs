//! Escapes in quoted text, as Go has them (The Go Programming Language Specification, "Rune literals").
//!
//! Filters and HCL share them.

/// Reads the escape whose backslash stands right before the byte `offset`, pushes what it stands for, and returns the
/// offset behind it. What is pushed are bytes: `\xe2\x82\xac` is one character in three escapes, so only the whole text
/// is UTF-8 or not.
///
/// # Errors
/// What would have been right there. Nothing was pushed.
pub(crate) fn unescape(text: &str, offset: usize, bytes: &mut Vec<u8>) -> Result<usize, &'static str> {
    let byte = *text.as_bytes().get(offset).ok_or("an escaped character")?;
    let plain = match byte {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'\\' | b'"' | b'\'' => byte,
        b'x' => return escaped_byte(text, offset + 1, 2, 16, bytes),
        b'0'..=b'7' => return escaped_byte(text, offset, 3, 8, bytes),
        b'u' => return escaped_char(text, offset + 1, 4, bytes),
        b'U' => return escaped_char(text, offset + 1, 8, bytes),
        _ => return Err(UNKNOWN),
    };
    bytes.push(plain);
    Ok(offset + 1)
}

const UNKNOWN: &str = "a known escape sequence";

fn escaped_byte(
    text: &str,
    offset: usize,
    length: usize,
    radix: u32,
    bytes: &mut Vec<u8>,
) -> Result<usize, &'static str> {
    let code = code(text, offset, length, radix)?;
    bytes.push(u8::try_from(code).map_err(|_| UNKNOWN)?);
    Ok(offset + length)
}

fn escaped_char(text: &str, offset: usize, length: usize, bytes: &mut Vec<u8>) -> Result<usize, &'static str> {
    let code = code(text, offset, length, 16)?;
    let letter = char::from_u32(code).ok_or("an escaped Unicode character")?;
    bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(offset + length)
}

fn code(text: &str, offset: usize, length: usize, radix: u32) -> Result<u32, &'static str> {
    // `from_str_radix` alone would accept a sign.
    text.get(offset..offset + length)
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        .and_then(|digits| u32::from_str_radix(digits, radix).ok())
        .ok_or(UNKNOWN)
}
