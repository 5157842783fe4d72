//! Where a redirect leads, and as what.
//!
//! Decides the next address (RFC 3986, section 5.2), whether method and body go along (RFC 9110,
//! section 15.4) and which headers do not leave their host. Pure; called by the HTTP probe.

use http::{Method, StatusCode, Uri};

/// How many redirects are followed, as Go's client does.
pub(crate) const REDIRECTS_MAX: usize = 10;

/// Whether the status sends the client elsewhere.
pub(crate) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The method of the next request; none when this one is repeated with its body.
pub(crate) fn method_after(status: StatusCode, method: &Method) -> Option<Method> {
    match status.as_u16() {
        301..=303 if *method == Method::HEAD => Some(Method::HEAD),
        301..=303 => Some(Method::GET),
        _ => None,
    }
}

/// Whether a header tells a secret that is meant for the first host only.
pub(crate) fn is_secret(header: &str) -> bool {
    const SECRETS: [&str; 4] = ["authorization", "www-authenticate", "cookie", "cookie2"];
    SECRETS.iter().any(|secret| secret.eq_ignore_ascii_case(header))
}

/// Resolves a `Location` against the address that was asked; none when it makes no address.
pub(crate) fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or_default();
    let scheme = base.scheme_str()?;
    let authority = base.authority()?;
    let absolute = if has_scheme(location) {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else {
        let (path, query) = match location.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (location, None),
        };
        let (path, query) = match path {
            "" => (base.path().to_owned(), query.or(base.query())),
            path if path.starts_with('/') => (without_dots(path), query),
            path => {
                let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
                (without_dots(&format!("{folder}/{path}")), query)
            }
        };
        let query = query.map_or(String::new(), |query| format!("?{query}"));
        format!("{scheme}://{authority}{path}{query}")
    };
    let uri: Uri = absolute.parse().ok()?;
    (matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()).then_some(uri)
}

fn has_scheme(location: &str) -> bool {
    let Some((scheme, _)) = location.split_once(':') else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// Takes `.` and `..` out of an absolute path (RFC 3986, section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            part => kept.push(part),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(location: &str, expected: &str) {
        let base: Uri = "http://a:81/b/c/d?q".parse().unwrap();
        assert_eq!(resolve(&base, location).map(|uri| uri.to_string()).unwrap_or_default(), expected, "{location}");
    }

    #[test]
    fn a_location_is_resolved() {
        // After the examples of RFC 3986, section 5.4.
        check("g", "http://a:81/b/c/g");
        check("./g", "http://a:81/b/c/g");
        check("g/", "http://a:81/b/c/g/");
        check("/g", "http://a:81/g");
        check("//g", "http://g/");
        check("?y", "http://a:81/b/c/d?y");
        check("g?y#s", "http://a:81/b/c/g?y");
        check("", "http://a:81/b/c/d?q");
        check(".", "http://a:81/b/c/");
        check("..", "http://a:81/b/");
        check("../../../g", "http://a:81/g");
        check("https://h/x", "https://h/x");
        check("/x?to=http://y", "http://a:81/x?to=http://y");
        check("mailto:a@b", "");
        check("ftp://a/b", "");
        check("/with space", "");
    }

    #[test]
    fn a_method_survives_only_where_it_is_meant_to() {
        let after = |code, method| method_after(StatusCode::from_u16(code).unwrap(), &method);
        assert_eq!(after(302, Method::POST), Some(Method::GET));
        assert_eq!(after(303, Method::HEAD), Some(Method::HEAD));
        assert_eq!(after(307, Method::POST), None);
    }

    proptest! {
        #[test]
        fn odd_locations_never_panic(location in "[a-z:/.?#@\\[\\] é]{0,40}") {
            let base: Uri = "https://[::1]:8443/x/y".parse().unwrap();
            if let Some(uri) = resolve(&base, &location) {
                prop_assert!(uri.host().is_some());
            }
        }
    }
}
