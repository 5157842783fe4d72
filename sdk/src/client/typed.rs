//! Keys and config entries as values of the application: read, written and followed. JSON, unless a decoder is given.

use std::sync::Arc;

use callboard_proto::Index;
use callboard_proto::api::kv::KvShown;
use callboard_proto::api::query::{ReadOptions, escape};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::kv::{KvPut, kv_path};
use super::{Client, Read};
use crate::error::{Cause, Error};
use crate::watch::{Cursor, Decoder, Follow, Live, Reader, Value, Values, decoded, shown};

/// How often [`Client::kv_update`] tries when others write at the same moment.
const UPDATES_MAX: usize = 64;

/// A value, and when it was last changed: what a compare and swap compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// When it was last changed.
    pub index: Index,
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Cause> {
    serde_json::from_slice(bytes).map_err(Cause::from)
}

fn written<T: Serialize>(key: &str, value: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| Error::Decode { key: key.to_owned(), source: error.into() })
}

impl Client {
    /// Reads a key as JSON; none when it does not exist.
    ///
    /// # Errors
    /// As every call, and [`Error::Decode`] when the value is something else.
    pub async fn kv_get_as<T: DeserializeOwned + 'static>(&self, key: &str) -> Result<Option<Versioned<T>>, Error> {
        let Some(row) = self.kv_get(key, &ReadOptions::default()).await?.value else { return Ok(None) };
        let decode: Decoder<T> = Box::new(json);
        Ok(Some(Versioned { value: decoded(&row, &decode)?, index: row.modify_index }))
    }

    /// Writes a key as JSON, whatever was there.
    ///
    /// # Errors
    /// As every call, and [`Error::Decode`] when the value cannot be written as JSON.
    pub async fn kv_put_as<T: Serialize>(&self, key: &str, value: &T) -> Result<(), Error> {
        self.kv_put(key, written(key, value)?, &KvPut::default()).await.map(drop)
    }

    /// Writes a key as JSON if it was last changed at this index; zero: if it does not exist. False when it was changed
    /// meanwhile.
    ///
    /// # Errors
    /// As [`Self::kv_put_as`]; after [`Error::Unreachable`] or [`Error::Timeout`] it may have been written.
    pub async fn kv_cas_as<T: Serialize>(&self, key: &str, value: &T, expected: Index) -> Result<bool, Error> {
        self.kv_put(key, written(key, value)?, &KvPut { cas: Some(expected), ..KvPut::default() }).await
    }

    /// Changes a key as JSON so that no change of another is lost: reads it, asks `change` what becomes of it, writes that if
    /// nobody else wrote meanwhile, and else begins again. Returns what was written; `change` may be asked several times.
    ///
    /// # Errors
    /// As [`Self::kv_cas_as`], and [`Error::Bound`] after 64 tries; nothing was written then.
    pub async fn kv_update<T>(&self, key: &str, mut change: impl FnMut(Option<T>) -> T) -> Result<T, Error>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        for tries in 0..UPDATES_MAX {
            let (old, index) = match self.kv_get_as::<T>(key).await? {
                Some(old) => (Some(old.value), old.index),
                None => (None, Index::ZERO),
            };
            let new = change(old);
            if self.kv_cas_as(key, &new, index).await? {
                return Ok(new);
            }
            let pause = self.backoff().delay(tries.min(5) as u32, fastrand::u32(..));
            tokio::time::sleep(pause).await;
        }
        Err(Error::Bound { what: "tries to change a key that others change", max: UPDATES_MAX })
    }

    /// Follows a key whose value is JSON.
    ///
    /// # Errors
    /// [`Error::Bound`] when too much is followed, [`Error::Closed`] after a shutdown.
    pub fn watch_key<T>(&self, key: &str) -> Result<Live<Value<T>>, Error>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.watch_key_with(key, json)
    }

    /// Follows a key whose value is read by a decoder.
    ///
    /// # Errors
    /// As [`Self::watch_key`].
    pub fn watch_key_with<T, D>(&self, key: &str, decode: D) -> Result<Live<Value<T>>, Error>
    where
        T: Send + Sync + 'static,
        D: Fn(&[u8]) -> Result<T, Cause> + Send + Sync + 'static,
    {
        let decode: Decoder<T> = Box::new(decode);
        let read: Reader<KvShown> =
            Box::new(|answer| shown::<Vec<KvShown>>(answer).map(|rows| rows.into_iter().next()));
        self.live(kv_path(key), read, Value::unknown(), move |known: &Arc<Value<T>>, news| {
            Value::next(known, news, |row| (row.modify_index, decoded(&row, &decode)))
        })
    }

    /// Follows every key that begins so, whose values are JSON.
    ///
    /// # Errors
    /// As [`Self::watch_key`].
    pub fn watch_prefix<T>(&self, prefix: &str) -> Result<Live<Values<T>>, Error>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.watch_prefix_with(prefix, json)
    }

    /// Follows every key that begins so, whose values are read by a decoder.
    ///
    /// # Errors
    /// As [`Self::watch_key`].
    pub fn watch_prefix_with<T, D>(&self, prefix: &str, decode: D) -> Result<Live<Values<T>>, Error>
    where
        T: Send + Sync + 'static,
        D: Fn(&[u8]) -> Result<T, Cause> + Send + Sync + 'static,
    {
        let decode: Decoder<T> = Box::new(decode);
        let read: Reader<Vec<KvShown>> = Box::new(|answer| shown(answer).map(Some));
        let path = format!("{}?recurse", kv_path(prefix));
        self.live(path, read, Values::unknown(), move |known: &Arc<Values<T>>, news| Values::next(known, news, &decode))
    }

    /// Follows a config entry, read as JSON: [`callboard_proto::api::config::ConfigShown`], or a type of your own.
    ///
    /// # Errors
    /// As [`Self::watch_key`].
    pub fn watch_config<T>(&self, kind: &str, name: &str) -> Result<Live<Value<T>>, Error>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        let path = format!("/v1/config/{}/{}", escape(kind), escape(name));
        let read: Reader<serde_json::Value> = Box::new(|answer| shown(answer).map(Some));
        let key = format!("{kind}/{name}");
        self.live(path, read, Value::unknown(), move |known: &Arc<Value<T>>, news| {
            Value::next(known, news, |entry: serde_json::Value| {
                let index = Index(entry["ModifyIndex"].as_u64().unwrap_or_default());
                let value = serde_json::from_value(entry);
                (index, value.map_err(|error| Error::Decode { key: key.clone(), source: error.into() }))
            })
        })
    }

    /// Returns the config entries of a kind.
    ///
    /// # Errors
    /// As every call; [`Error::Status`] with 400 or 500 for a kind that is none.
    pub async fn config_list<T: DeserializeOwned>(
        &self,
        kind: &str,
        options: &ReadOptions,
    ) -> Result<Read<Vec<T>>, Error> {
        self.api().read(&format!("/v1/config/{}", escape(kind)), options).await
    }

    fn live<A: Send + 'static, S: Send + Sync + 'static>(
        &self,
        path: String,
        read: Reader<A>,
        first: S,
        fold: impl FnMut(&Arc<S>, crate::watch::News<Option<A>>) -> Option<S> + Send + 'static,
    ) -> Result<Live<S>, Error> {
        let (permit, end) = self.follower()?;
        let follow = Follow::new(self.api().clone(), path, Cursor::new(self.cursor_settings()), read);
        Ok(Live::start(follow, first, fold, self.tracker(), end, permit))
    }
}
