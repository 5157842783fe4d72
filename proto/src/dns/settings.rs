//! The settings of the DNS interface, as values; where they come from is not known here.

use std::collections::BTreeMap;

/// What `dns_config` says about answers. `only_passing` is not here: the caller chooses the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long answers about nodes may be cached, in seconds.
    pub node_ttl: u32,
    /// How long answers about services may be cached.
    pub service_ttl: ServiceTtl,
    /// The fields of the SOA record.
    pub soa: Soa,
    /// How many answers a UDP reply without EDNS has at most; 0 leaves only the hard bound of 8.
    pub udp_answer_limit: usize,
    /// How many A and AAAA answers any reply has at most; 0 for no such limit.
    pub a_record_limit: usize,
    /// Whether a reply says that answers were left out (the TC bit).
    pub enable_truncate: bool,
    /// Whether node metadata goes along as additional TXT records.
    pub node_meta_txt: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node_ttl: 0,
            service_ttl: ServiceTtl::default(),
            soa: Soa::default(),
            udp_answer_limit: 3,
            a_record_limit: 0,
            enable_truncate: false,
            node_meta_txt: true,
        }
    }
}

/// The times of the SOA record, in seconds (RFC 1035 section 3.3.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Soa {
    /// How often a secondary server looks for changes.
    pub refresh: u32,
    /// How long it waits after a failure.
    pub retry: u32,
    /// When it gives up.
    pub expire: u32,
    /// How long "there is no such name" may be cached.
    pub min_ttl: u32,
}

impl Default for Soa {
    fn default() -> Self {
        Self { refresh: 3600, retry: 600, expire: 86_400, min_ttl: 0 }
    }
}

/// Cache times by service name: exact names, then the longest `prefix*`, then `*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceTtl {
    exact: BTreeMap<String, u32>,
    /// Longest first; `*` is the empty prefix and thus the last.
    prefixes: Vec<(String, u32)>,
}

impl ServiceTtl {
    /// Returns the cache time of a service, in seconds; 0 if no rule speaks of it.
    #[must_use]
    pub fn of(&self, service: &str) -> u32 {
        let service = service.to_ascii_lowercase();
        if let Some(ttl) = self.exact.get(&service) {
            return *ttl;
        }
        self.prefixes.iter().find(|(prefix, _)| service.starts_with(prefix)).map_or(0, |(_, ttl)| *ttl)
    }
}

impl<S: AsRef<str>> FromIterator<(S, u32)> for ServiceTtl {
    /// Collects rules of the form name or `prefix*`, and seconds.
    fn from_iter<I: IntoIterator<Item = (S, u32)>>(rules: I) -> Self {
        let mut ttl = Self::default();
        for (rule, seconds) in rules {
            let rule = rule.as_ref().to_ascii_lowercase();
            match rule.strip_suffix('*') {
                Some(prefix) => ttl.prefixes.push((prefix.to_owned(), seconds)),
                None => {
                    ttl.exact.insert(rule, seconds);
                }
            }
        }
        ttl.prefixes.sort_by(|(one, _), (two, _)| two.len().cmp(&one.len()).then_with(|| one.cmp(two)));
        ttl
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_exact_rule_wins() {
        let ttl: ServiceTtl = [("*", 1), ("db*", 2), ("db-m*", 3), ("Db-Master", 4)].into_iter().collect();
        for (service, expect) in
            [("web", 1), ("db", 2), ("db-x", 2), ("db-mirror", 3), ("DB-MASTER", 4), ("db-master2", 3)]
        {
            assert_eq!(ttl.of(service), expect, "{service}");
        }
        assert_eq!(ServiceTtl::default().of("web"), 0);
    }
}
