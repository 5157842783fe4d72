//! Names as they are built and taken apart: addresses in hexadecimal, reverse names, what fits in a message.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::text::Text;

/// The longest label, in bytes (RFC 1035 section 2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// The longest name written with dots and without the last one (255 bytes on the wire).
pub(super) const NAME_BYTES_MAX: usize = 253;

/// Says whether a name, with or without its last dot, can be written into a message at all.
pub(super) fn is_encodable(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= NAME_BYTES_MAX && name.split('.').all(|label| (1..=LABEL_BYTES_MAX).contains(&label.len()))
}

/// Says whether a text is one label of letters, digits and hyphens, as the name of a name server must be.
pub(super) fn is_host_label(text: &str) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Ends a host name with a dot, unless it has one.
pub(super) fn qualified(host: &str) -> Text {
    if host.ends_with('.') { host.into() } else { format!("{host}.").into() }
}

/// Writes an address as 8 or 32 hexadecimal digits.
pub(super) fn hex(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("{:08x}", u32::from(v4)),
        IpAddr::V6(v6) => format!("{:032x}", u128::from(v6)),
    }
}

/// Reads what [`hex`] writes.
pub(super) fn from_hex(text: &str) -> Option<IpAddr> {
    // `from_str_radix` alone would accept a sign.
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    match text.len() {
        8 => u32::from_str_radix(text, 16).ok().map(|bits| Ipv4Addr::from(bits).into()),
        32 => u128::from_str_radix(text, 16).ok().map(|bits| Ipv6Addr::from(bits).into()),
        _ => None,
    }
}

/// Reads the labels before `in-addr.arpa` or `ip6.arpa` (RFC 1035 section 3.5, RFC 3596 section 2.5).
pub(super) fn reverse(labels: &[&str]) -> Option<IpAddr> {
    let (arpa, rest) = labels.split_last()?;
    let (family, digits) = rest.split_last()?;
    match (*family, *arpa) {
        ("in-addr", "arpa") => {
            let octets: [&str; 4] = digits.try_into().ok()?;
            // The standard parser refuses signs, leading zeroes and numbers above 255.
            octets.iter().rev().copied().collect::<Vec<_>>().join(".").parse().ok().map(IpAddr::V4)
        }
        ("ip6", "arpa") => {
            let nibbles: [&str; 32] = digits.try_into().ok()?;
            if nibbles.iter().any(|nibble| nibble.len() != 1) {
                return None;
            }
            from_hex(&nibbles.iter().rev().copied().collect::<String>())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_goes_both_ways() {
        for text in ["127.0.0.1", "10.0.0.1", "::1", "2001:db8::ff"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(from_hex(&hex(address)), Some(address));
        }
        assert_eq!(hex(Ipv4Addr::new(10, 0, 0, 1).into()), "0a000001");
        for text in ["", "zz", "7f00001", "+f000001", "7f0000011", "é0000"] {
            assert_eq!(from_hex(text), None, "{text}");
        }
    }

    #[test]
    fn names_that_do_not_fit() {
        assert!(is_encodable("web.service.consul."));
        assert!(is_encodable(&"x".repeat(63)));
        assert!(!is_encodable(&"x".repeat(64)));
        assert!(!is_encodable(""));
        assert!(!is_encodable("a..b"));
        assert!(is_encodable(&format!("{}x", "x.".repeat(126))));
        assert!(!is_encodable(&format!("{}xx", "x.".repeat(126))));
    }
}
