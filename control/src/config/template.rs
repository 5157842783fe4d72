//! Templates in addresses: `{{ GetPrivateIP }}`, `{{ GetInterfaceIP "eth0" }}`, and their like.
//!
//! Pure: what the host has is an argument. Templates that are not known are refused by name.

use std::net::{IpAddr, Ipv4Addr};

/// What the host has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    /// Its name.
    pub(super) name: Option<String>,
    /// The addresses of its interfaces that are up.
    pub(super) interfaces: Vec<(String, IpAddr)>,
    /// The address that packets to the outside come from; loopback when there is no outside.
    pub(super) outward: IpAddr,
}

/// The templates that are known.
const KNOWN: &str = "GetPrivateIP, GetPrivateIPs, GetPublicIP, GetPublicIPs, GetInterfaceIP \"NAME\", \
                     GetInterfaceIPs \"NAME\", GetAllInterfaces | include \"name\" \"NAME\" | attr \"address\"";

impl Host {
    /// Asks the system.
    ///
    /// # Errors
    /// When the interfaces cannot be listed.
    pub(super) fn read() -> std::io::Result<Host> {
        let mut interfaces = Vec::new();
        for found in nix::ifaddrs::getifaddrs()? {
            let up = found.flags.contains(nix::net::if_::InterfaceFlags::IFF_UP);
            let Some(address) = found.address.filter(|_| up) else { continue };
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            let v6 = address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip()));
            interfaces.extend(v4.or(v6).map(|ip| (found.interface_name, ip)));
        }
        let read = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
        let name = read.or_else(|| std::env::var("HOSTNAME").ok()).filter(|name| !name.is_empty());
        Ok(Host { name, interfaces, outward: outward() })
    }

    fn private(&self) -> Vec<IpAddr> {
        self.found(|ip| match ip {
            IpAddr::V4(ip) => ip.is_private() || is_shared(ip),
            IpAddr::V6(ip) => ip.is_unique_local(),
        })
    }

    fn public(&self) -> Vec<IpAddr> {
        self.found(|ip| match ip {
            IpAddr::V4(ip) => {
                !(ip.is_private() || is_shared(ip) || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified())
            }
            IpAddr::V6(ip) => {
                !(ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified())
            }
        })
    }

    /// The addresses of a kind: first the one that leads outward, IPv4 before IPv6.
    fn found(&self, kind: impl Fn(&IpAddr) -> bool) -> Vec<IpAddr> {
        let mut found: Vec<IpAddr> = self.interfaces.iter().map(|(_, ip)| *ip).filter(kind).collect();
        found.sort_by_key(|ip| (*ip != self.outward, ip.is_ipv6()));
        found
    }

    fn of(&self, name: &str) -> Vec<IpAddr> {
        let mut found: Vec<IpAddr> = self.interfaces.iter().filter(|row| row.0 == name).map(|row| row.1).collect();
        found.sort_by_key(IpAddr::is_ipv6);
        found
    }
}

/// Addresses that carriers share among customers (RFC 6598).
fn is_shared(ip: &Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    first == 100 && (64..128).contains(&second)
}

/// The address that packets to the outside would come from; loopback when there is no outside.
fn outward() -> IpAddr {
    // Connecting a UDP socket sends nothing: it only asks the routing table.
    let probe = || -> std::io::Result<IpAddr> {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        Ok(socket.local_addr()?.ip())
    };
    probe().unwrap_or(Ipv4Addr::LOCALHOST.into())
}

/// Replaces every template by the addresses that it stands for.
pub(super) fn expand(text: &str, host: &Host) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((template, after)) = after.split_once("}}") else {
            return Err(format!("{text:?} opens a template and does not close it"));
        };
        out.push_str(before);
        out.push_str(&stands_for(template.trim(), host)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn stands_for(template: &str, host: &Host) -> Result<String, String> {
    let words: Vec<&str> = template.split_whitespace().collect();
    let (found, several) = match words[..] {
        ["GetPrivateIP"] => (host.private(), false),
        ["GetPrivateIPs"] => (host.private(), true),
        ["GetPublicIP"] => (host.public(), false),
        ["GetPublicIPs"] => (host.public(), true),
        ["GetInterfaceIP", name] => (host.of(unquoted(name, template)?), false),
        ["GetInterfaceIPs", name] => (host.of(unquoted(name, template)?), true),
        ["GetAllInterfaces", "|", "include", "\"name\"", name, "|", "attr", "\"address\""] => {
            (host.of(unquoted(name, template)?), false)
        }
        _ => return Err(format!("the template {template:?} is not known; known are {KNOWN}")),
    };
    let kept = if several { &found[..] } else { &found[..found.len().min(1)] };
    if kept.is_empty() {
        return Err(format!("no address of this host fits the template {template:?}"));
    }
    Ok(kept.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
}

fn unquoted<'a>(word: &'a str, template: &str) -> Result<&'a str, String> {
    let quoted = |quote| word.strip_prefix(quote).and_then(|word| word.strip_suffix(quote));
    quoted('"').or_else(|| quoted('`')).ok_or_else(|| format!("the name in the template {template:?} must be quoted"))
}
