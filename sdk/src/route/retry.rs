//! From the retries of a route to a [`RetryPolicy`]: which of the registry's words stand for what.

use callboard_proto::config_entry::RouteDestination;

use crate::call::RetryPolicy;

/// Compiles what a route says of retries; none when it says nothing, so that the application's own policy holds. `named`:
/// the route names methods, and so says of them that they may be carried out twice.
pub(super) fn policy(entry: &RouteDestination, named: bool) -> Option<RetryPolicy> {
    let silent = entry.num_retries == 0
        && !entry.retry_on_connect_failure
        && entry.retry_on.is_empty()
        && entry.retry_on_status_codes.is_empty();
    if silent {
        return None;
    }
    // Conditions without a number mean one retry, as with Envoy.
    let retries = usize::try_from(entry.num_retries).unwrap_or(usize::MAX).max(1);
    // A number without conditions keeps the default conditions.
    let bare = !entry.retry_on_connect_failure && entry.retry_on.is_empty() && entry.retry_on_status_codes.is_empty();
    let mut policy = RetryPolicy {
        attempts_max: retries.saturating_add(1),
        on_connect: bare || entry.retry_on_connect_failure,
        on_broken: bare,
        on_statuses: entry.retry_on_status_codes.clone(),
        any_method: named,
        ..RetryPolicy::default()
    };
    for condition in &entry.retry_on {
        match condition.as_str() {
            "5xx" => {
                (policy.on_connect, policy.on_broken) = (true, true);
                policy.on_statuses.extend(500..=599);
            }
            "gateway-error" => policy.on_statuses.extend([502, 503, 504]),
            "reset" | "reset-before-request" | "refused-stream" => policy.on_broken = true,
            "connect-failure" => policy.on_connect = true,
            "retriable-4xx" => policy.on_statuses.push(409),
            "envoy-ratelimited" => policy.on_statuses.push(429),
            "cancelled" => policy.on_grpc.push(1),
            "deadline-exceeded" => policy.on_grpc.push(4),
            "resource-exhausted" => policy.on_grpc.push(8),
            "internal" => policy.on_grpc.push(13),
            "unavailable" => policy.on_grpc.push(14),
            // A word of a newer server; the others still hold.
            _ => {}
        }
    }
    policy.on_statuses.sort_unstable();
    policy.on_statuses.dedup();
    Some(policy)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(entry: Value) -> Option<RetryPolicy> {
        policy(&serde_json::from_value(entry).unwrap(), false)
    }

    #[test]
    fn words_stand_for_conditions() {
        assert_eq!(of(json!({})), None, "the application's own policy holds");
        let bare = of(json!({"NumRetries": 4})).unwrap();
        assert_eq!(bare, RetryPolicy { attempts_max: 5, ..RetryPolicy::default() });
        let statuses = of(json!({"RetryOnStatusCodes": [503, 429, 503]})).unwrap();
        assert_eq!((statuses.attempts_max, &statuses.on_statuses[..]), (2, &[429, 503][..]));
        assert!(!statuses.on_connect && !statuses.on_broken, "only what is said");
        let words =
            of(json!({"NumRetries": 2, "RetryOn": ["gateway-error", "reset", "unavailable", "newer"]})).unwrap();
        assert_eq!((words.on_broken, words.on_connect, &words.on_grpc[..]), (true, false, &[14][..]));
        assert_eq!(words.on_statuses, [502, 503, 504]);
        assert_eq!(of(json!({"NumRetries": 4_000_000_000u32})).unwrap().attempts(), 8, "within the bound");
    }
}
