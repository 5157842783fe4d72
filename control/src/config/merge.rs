//! Joins two trees of settings: single values are replaced, maps joined, lists appended.
//!
//! Pure, and associative for trees of one shape, so that files can be joined in any grouping. `sources` calls it.

use serde_json::Value;

/// Puts `later` over `earlier`.
pub(super) fn merge(earlier: &mut Value, later: Value) {
    match (earlier, later) {
        (Value::Object(earlier), Value::Object(later)) => {
            for (name, value) in later {
                match earlier.get_mut(&name) {
                    Some(place) => merge(place, value),
                    None => {
                        earlier.insert(name, value);
                    }
                }
            }
        }
        (Value::Array(earlier), Value::Array(later)) => earlier.extend(later),
        (earlier, later) => *earlier = later,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;

    /// Trees of one shape: the first letter of a name says what is under it.
    fn tree() -> impl Strategy<Value = Value> {
        let leaf = || prop::collection::btree_map("s[ab]", any::<u8>().prop_map(Value::from), 0..3);
        let list = || prop::collection::btree_map("l[ab]", prop::collection::vec(any::<u8>(), 0..3), 0..3);
        let inner = (leaf(), list());
        (leaf(), list(), prop::collection::btree_map("t[ab]", inner, 0..3)).prop_map(|(leaves, lists, tables)| {
            let object = |leaves, lists: std::collections::BTreeMap<String, Vec<u8>>| -> Map<String, Value> {
                let lists = lists.into_iter().map(|(name, list)| (name, json!(list)));
                std::iter::Iterator::chain(IntoIterator::into_iter(leaves), lists).collect()
            };
            let mut whole = object(leaves, lists);
            whole.extend(tables.into_iter().map(|(name, (leaves, lists))| (name, object(leaves, lists).into())));
            whole.into()
        })
    }

    fn merged(earlier: &Value, later: &Value) -> Value {
        let mut whole = earlier.clone();
        merge(&mut whole, later.clone());
        whole
    }

    proptest! {
        #[test]
        fn merging_is_associative(a in tree(), b in tree(), c in tree()) {
            prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        }

        #[test]
        fn nothing_changes_nothing(a in tree()) {
            prop_assert_eq!(&merged(&a, &json!({})), &a);
            prop_assert_eq!(&merged(&json!({}), &a), &a);
        }
    }

    #[test]
    fn values_are_replaced_maps_joined_lists_appended() {
        let earlier = json!({"a": 1, "m": {"x": 1, "y": 1}, "l": [1]});
        let later = json!({"a": 2, "m": {"y": 2}, "l": [2]});
        assert_eq!(merged(&earlier, &later), json!({"a": 2, "m": {"x": 1, "y": 2}, "l": [1, 2]}));
    }
}
