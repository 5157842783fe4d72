//! Calls of `/v1/kv/…`.
//!
//! Writes that depend on what was there before (`cas`, locks) are not sent twice: when the connection breaks after
//! they were sent, the caller is told and looks.

use std::fmt::{self, Write as _};

use bytes::Bytes;
use callboard_proto::Index;
use callboard_proto::api::kv::KvShown;
use callboard_proto::api::query::{ReadOptions, escape};
use http::{Method, StatusCode};

use super::Client;
use super::api::{Read, decode, meta};
use crate::error::Error;
use crate::http::Repeat;

/// Says how a key is to be written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KvPut {
    /// A number for the client's own use.
    pub flags: u64,
    /// Write only if the key was last changed at this index; 0 means: only if it does not exist.
    pub cas: Option<Index>,
    /// Take the lock for this session.
    pub acquire: Option<String>,
    /// Give back the lock of this session.
    pub release: Option<String>,
}

/// Says what is to be deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KvRemove {
    /// One key.
    #[default]
    One,
    /// One key, if it was last changed at this index.
    Cas(Index),
    /// Every key that begins so.
    Prefix,
}

/// A key in a path: its slashes stay, because servers take the rest of the path as the key.
struct Key<'a>(&'a str);

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, part) in self.0.split('/').enumerate() {
            if place > 0 {
                f.write_char('/')?;
            }
            // A segment of dots would be taken for a step in the path.
            match part {
                "." => f.write_str("%2e")?,
                ".." => f.write_str("%2e%2e")?,
                part => write!(f, "{}", escape(part))?,
            }
        }
        Ok(())
    }
}

/// Returns the path of a key.
pub(crate) fn kv_path(key: &str) -> String {
    format!("/v1/kv/{}", Key(key))
}

impl Client {
    /// Reads a key; none when it does not exist, with the index at which it may come to exist.
    ///
    /// # Errors
    /// As every call: unreachable, refused, or an answer that cannot be used.
    pub async fn kv_get(&self, key: &str, options: &ReadOptions) -> Result<Read<Option<KvShown>>, Error> {
        let found = self.kv_read::<Vec<KvShown>>(format!("/v1/kv/{}", Key(key)), options).await?;
        Ok(Read { value: found.value.and_then(|rows| rows.into_iter().next()), meta: found.meta })
    }

    /// Reads every key that begins so, in order.
    ///
    /// # Errors
    /// As every call.
    pub async fn kv_list(&self, prefix: &str, options: &ReadOptions) -> Result<Read<Vec<KvShown>>, Error> {
        let found = self.kv_read(format!("/v1/kv/{}?recurse", Key(prefix)), options).await?;
        Ok(Read { value: found.value.unwrap_or_default(), meta: found.meta })
    }

    /// Lists the keys that begin so, up to the next separator behind the prefix if one is given.
    ///
    /// # Errors
    /// As every call.
    pub async fn kv_keys(
        &self,
        prefix: &str,
        separator: Option<&str>,
        options: &ReadOptions,
    ) -> Result<Read<Vec<String>>, Error> {
        let mut path = format!("/v1/kv/{}?keys", Key(prefix));
        if let Some(separator) = separator {
            let _ = write!(path, "&separator={}", escape(separator));
        }
        let found = self.kv_read(path, options).await?;
        Ok(Read { value: found.value.unwrap_or_default(), meta: found.meta })
    }

    async fn kv_read<T: serde::de::DeserializeOwned>(
        &self,
        path: String,
        options: &ReadOptions,
    ) -> Result<Read<Option<T>>, Error> {
        let answer = self.api().read_raw(&path, options).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(Read { meta: meta(&path, &answer)?, value: None });
        }
        let doing = format!("GET {path}");
        let answer = answer.success(&doing)?;
        Ok(Read { meta: meta(&doing, &answer)?, value: Some(decode(&doing, &answer.body)?) })
    }

    /// Writes a key; false when a condition of `how` did not hold.
    ///
    /// # Errors
    /// As every call; after [`Error::Unreachable`] or [`Error::Timeout`] it may have been written.
    pub async fn kv_put(&self, key: &str, value: impl Into<Bytes>, how: &KvPut) -> Result<bool, Error> {
        let mut query = String::new();
        let mut put = |name: &str, value: &dyn fmt::Display| {
            let _ = write!(query, "&{name}={value}");
        };
        if how.flags != 0 {
            put("flags", &how.flags);
        }
        if let Some(index) = how.cas {
            put("cas", &index);
        }
        if let Some(session) = &how.acquire {
            put("acquire", &escape(session));
        }
        if let Some(session) = &how.release {
            put("release", &escape(session));
        }
        let conditional = how.cas.is_some() || how.acquire.is_some() || how.release.is_some();
        let repeat = if conditional { Repeat::Unsafe } else { Repeat::Safe };
        self.kv_write(&Method::PUT, key, &query, value.into(), repeat).await
    }

    /// Deletes keys; false when the condition did not hold.
    ///
    /// # Errors
    /// As every call; after [`Error::Unreachable`] or [`Error::Timeout`] it may have been done.
    pub async fn kv_delete(&self, key: &str, what: KvRemove) -> Result<bool, Error> {
        let (query, repeat) = match what {
            KvRemove::One => (String::new(), Repeat::Safe),
            KvRemove::Cas(index) => (format!("&cas={index}"), Repeat::Unsafe),
            KvRemove::Prefix => ("&recurse".to_owned(), Repeat::Safe),
        };
        self.kv_write(&Method::DELETE, key, &query, Bytes::new(), repeat).await
    }

    async fn kv_write(
        &self,
        method: &Method,
        key: &str,
        query: &str,
        body: Bytes,
        repeat: Repeat,
    ) -> Result<bool, Error> {
        let api = self.api();
        let target =
            api.target(&format!("/v1/kv/{}?{}", Key(key), query.trim_start_matches('&')), &ReadOptions::default());
        let target = target.trim_end_matches('?');
        let (doing, answer) = api.call(method, target, body, repeat).await?;
        decode(&doing, &answer.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_slashes() {
        for (key, path) in [("a/b c", "a/b%20c"), ("a/../b", "a/%2e%2e/b"), ("a/", "a/"), ("ü?", "%C3%BC%3F")] {
            assert_eq!(Key(key).to_string(), path);
        }
    }
}
