//! What DNS answers, and for how long it may be kept.

use std::collections::BTreeMap;

use callboard_proto::duration::GoDuration;

use super::keys::keys;

keys! {
    /// The keys of `dns_config`.
    #[derive(Debug)]
    pub struct DnsConfig {
        /// How long an answer about a node may be kept.
        pub node_ttl: Option<GoDuration>,
        /// How long an answer about a service may be kept: by name, by `prefix*`, or `*`.
        pub service_ttl: BTreeMap<String, GoDuration>,
        /// Leaves warning instances out.
        pub only_passing: Option<bool>,
        /// Says so when an answer was cut.
        pub enable_truncate: Option<bool>,
        /// The most answers over UDP without EDNS.
        pub udp_answer_limit: Option<usize>,
        /// The most addresses in any answer.
        pub a_record_limit: Option<usize>,
        /// How long a recursor may take.
        pub recursor_timeout: Option<GoDuration>,
        /// `sequential` or `random`.
        pub recursor_strategy: Option<String>,
        /// Leaves names uncompressed.
        pub disable_compression: Option<bool>,
        /// Adds a node's pairs as TXT.
        pub enable_additional_node_meta_txt: Option<bool>,
        /// The start-of-authority record.
        pub soa: SoaConfig,
    }
    unneeded {
        allow_stale: "every answer comes from this node's own copy",
        max_stale: "every answer comes from this node's own copy",
        use_cache: "every answer comes from this node's own copy",
        cache_max_age: "every answer comes from this node's own copy",
        prefer_namespace: "there are no namespaces",
    }
}

keys! {
    /// The keys of `dns_config.soa`, in seconds.
    #[derive(Debug)]
    pub struct SoaConfig {
        /// How often secondaries refresh.
        pub refresh: Option<u32>,
        /// How soon they retry.
        pub retry: Option<u32>,
        /// When they give up.
        pub expire: Option<u32>,
        /// How long a "no" may be kept.
        pub min_ttl: Option<u32>,
    }
}
