//! Which settings are read only when the node starts.

use super::Config;

impl Config {
    /// The keys whose values differ in `later` and take effect only with a restart.
    #[must_use]
    pub fn needs_restart(&self, later: &Config) -> Vec<&'static str> {
        let differs = [
            ("node_name", self.node_name != later.node_name),
            ("node_id", self.node_id != later.node_id),
            ("datacenter", self.datacenter != later.datacenter),
            ("domain, alt_domain", self.domain != later.domain || self.alt_domain != later.alt_domain),
            ("addresses and ports", self.net != later.net),
            ("data_dir", self.data_dir != later.data_dir),
            ("pid_file", self.pid_file != later.pid_file),
            ("log_json, log_file", self.log.json != later.log.json || self.log.file != later.log.file),
            ("recursors", self.recursors != later.recursors || self.recursors_at_random != later.recursors_at_random),
            ("dns_config", self.dns != later.dns),
            (
                "enable_script_checks, enable_local_script_checks",
                self.scripts != later.scripts || self.scripts_local != later.scripts_local,
            ),
            ("disable_remote_exec", self.remote_exec != later.remote_exec),
            ("check_update_interval", self.check_update_interval != later.check_update_interval),
            ("check_output_max_size", self.check_output_max != later.check_output_max),
            ("session_ttl_min", self.session_ttl_min != later.session_ttl_min),
            ("config_entries", self.config_entries != later.config_entries),
            ("server, joining, encrypt, autopilot and performance", self.cluster != later.cluster),
            (
                "acl",
                self.acl.enabled != later.acl.enabled
                    || self.acl.fallback != later.acl.fallback
                    || self.acl.key_list_policy != later.acl.key_list_policy
                    || self.acl.token_persistence != later.acl.token_persistence
                    || self.acl.initial_management != later.acl.initial_management,
            ),
            ("tls", self.tls != later.tls),
            ("connect", self.connect != later.connect),
            ("telemetry", self.telemetry != later.telemetry),
            ("ui_config", self.console != later.console),
            ("auto_reload_config", self.auto_reload != later.auto_reload),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(keys, _)| keys).collect()
    }
}
