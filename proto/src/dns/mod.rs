//! From a DNS question to records.
