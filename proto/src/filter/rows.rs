//! The rows that a filter can judge, and the names of their fields.
