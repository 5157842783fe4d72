//! Two tries at a time: a second server is asked when the first takes longer than most, and the first good answer counts.

use std::pin::pin;
use std::time::Duration;

use http::{HeaderValue, Request};
use http_body::Body;

use super::super::attempt::{Answer, Miss, Try};
use super::super::retry;
use super::Sequence;
use crate::balance::Picked;
use crate::error::Cause;
use crate::http::Payload;
use crate::load::BOUND_HEADER;

impl<B> Sequence<'_, B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    /// Asks one, and after a while a second one as well; the first good answer counts, and the other is dropped.
    pub(super) async fn ask_two(
        &mut self,
        picked: Picked,
        request: Request<Payload<B>>,
        wait: Duration,
        mut spare: Request<Payload<B>>,
    ) -> Result<Answer<B>, Box<Miss<B>>> {
        let (steps, first_key) = (self.steps, picked.key());
        let mut first = pin!(steps.go(picked, request));
        if let Ok(came) = tokio::time::timeout(wait, &mut first).await {
            return came;
        }
        if !self.may_ask_another() {
            return first.await;
        }
        self.tried.push(first_key);
        let other = self.pick();
        self.tried.retain(|key| *key != first_key);
        let Some(other) = other else { return first.await };
        if !self.granted() {
            other.release();
            return first.await;
        }
        self.account.stats.hedged();
        self.tries += 1;
        spare.headers_mut().insert(retry::ATTEMPT, HeaderValue::from(self.tries as u64));
        // A second server is asked for its speed; the bound was the first one's.
        spare.headers_mut().remove(&BOUND_HEADER);
        let mut second = pin!(Try { bounded: false, ..steps }.go(other, spare));
        let (came, by_second) = tokio::select! {
            came = &mut first => (came, false),
            came = &mut second => (came, true),
        };
        let good = came.as_ref().is_ok_and(|answer| !answer.refused && !self.follows(answer));
        if good {
            if by_second {
                self.account.stats.hedge_won();
            }
            return came;
        }
        // The one that is left may do better; the other is noted if it does not.
        let rest = if by_second { first.await } else { second.await };
        match (came, rest) {
            (came, Ok(answer)) => {
                match came {
                    Err(miss) => {
                        self.tried.push(miss.key);
                        self.attempts.push(miss.attempt);
                    }
                    Ok(other) if other.refused => drop(self.refused(other)),
                    Ok(_) => {}
                }
                Ok(answer)
            }
            (Ok(answer), Err(miss)) => {
                self.tried.push(miss.key);
                self.attempts.push(miss.attempt);
                Ok(answer)
            }
            (Err(first), Err(second)) => {
                self.tried.push(first.key);
                self.attempts.push(first.attempt);
                Err(second)
            }
        }
    }
}
