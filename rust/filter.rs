//! Which events of a namespace a reader wants: by actor, shard and event type, judged before anything is built.

use std::sync::Arc;

use crate::event::EventData;
use crate::shard::{SHARDS, shard_of};
use crate::token;

/// What is not given takes everything; what is given must all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    actor: Option<String>,
    actor_prefix: Option<String>,
    /// Of the two above, as subjects have them.
    token: Option<String>,
    token_prefix: Option<String>,
    /// Sorted.
    shards: Option<Vec<u32>>,
    kinds: Option<Vec<String>>,
    kind_tokens: Option<Vec<String>>,
}

impl Filter {
    pub fn new(
        actor: Option<String>,
        actor_prefix: Option<String>,
        shards: Option<Vec<u32>>,
        kinds: Option<Vec<String>>,
    ) -> Self {
        let shards = shards.map(|mut shards| {
            shards.sort_unstable();
            shards.dedup();
            shards
        });
        // A token is made byte by byte, so the token of a beginning is the beginning of the token.
        let (token, token_prefix) = (actor.as_deref().map(token::encode), actor_prefix.as_deref().map(token::encode));
        let kind_tokens = kinds.as_ref().map(|kinds| kinds.iter().map(|kind| token::encode(kind)).collect());
        Self { actor, actor_prefix, token, token_prefix, shards, kinds, kind_tokens }
    }

    /// The actor, where one is named.
    pub fn actor(&self) -> Option<&str> {
        self.actor.as_deref()
    }

    /// The shard and token of the one actor, or the one shard, that this takes; None: of several.
    pub fn single(&self) -> Option<(u32, Option<&str>)> {
        if let Some(token) = &self.token {
            return Some((shard_of(token), Some(token)));
        }
        match self.shards.as_deref() {
            Some(&[shard]) => Some((shard, None)),
            _ => None,
        }
    }

    pub fn takes_actor(&self, actor: &str) -> bool {
        self.actor.as_ref().is_none_or(|wanted| wanted == actor)
            && self.actor_prefix.as_ref().is_none_or(|prefix| actor.starts_with(prefix.as_str()))
            && self.shards.as_ref().is_none_or(|shards| shards.binary_search(&shard_of(&token::encode(actor))).is_ok())
    }

    /// The same, of a subject's last two tokens.
    pub fn takes_subject(&self, shard: u32, token: &str) -> bool {
        self.token.as_ref().is_none_or(|wanted| wanted == token)
            && self.token_prefix.as_ref().is_none_or(|prefix| token.starts_with(prefix.as_str()))
            && self.shards.as_ref().is_none_or(|shards| shards.binary_search(&shard).is_ok())
    }

    pub fn takes_kind(&self, kind: &str) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.iter().any(|wanted| wanted == kind))
    }

    pub fn takes_event(&self, event: &Arc<EventData>) -> bool {
        self.kinds.is_none() || self.takes_kind(event.parts().kind)
    }

    /// Whether an event of that actor and type is wanted.
    pub fn takes(&self, actor: &str, kind: &str) -> bool {
        self.takes_kind(kind) && self.takes_actor(actor)
    }

    /// The same, of the tokens of both.
    pub fn takes_tokens(&self, actor: &str, kind: &str) -> bool {
        self.kind_tokens.as_ref().is_none_or(|kinds| kinds.iter().any(|wanted| wanted == kind))
            && self.token.as_ref().is_none_or(|wanted| wanted == actor)
            && self.token_prefix.as_ref().is_none_or(|prefix| actor.starts_with(prefix.as_str()))
            && self.shards.as_ref().is_none_or(|shards| shards.binary_search(&shard_of(actor)).is_ok())
    }
}

/// Whether this is a shard's number.
pub fn is_shard(number: u32) -> bool {
    number < SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_actor_and_its_subject_are_judged_alike(
            actor in "[a-c. é=]{1,4}", wanted in "[a-c. é=]{1,2}", beginning: bool, narrow: bool, other in 0_u32..1021
        ) {
            let token = token::encode(&actor);
            let shard = shard_of(&token);
            let shards = narrow.then(|| vec![other, shard_of(&token::encode("a")), other]);
            let filter = if beginning {
                Filter::new(None, Some(wanted), shards, None)
            } else {
                Filter::new(Some(wanted), None, shards, None)
            };
            prop_assert_eq!(filter.takes_actor(&actor), filter.takes_subject(shard, &token));
        }
    }

    proptest! {
        #[test]
        fn an_event_and_its_tokens_are_judged_alike(
            actor in "[a-b. é=]{1,4}", kind in "[A.* ]{1,3}", wanted in proptest::option::of("[a-b. é=]{1,2}"), beginning: bool,
            kinds in proptest::option::of(proptest::collection::vec("[A.* ]{1,3}", 0..4)), narrow: bool
        ) {
            let shards = narrow.then(|| vec![shard_of(&token::encode("a")), shard_of(&token::encode("b"))]);
            let filter = if beginning {
                Filter::new(None, wanted, shards, kinds)
            } else {
                Filter::new(wanted, None, shards, kinds)
            };
            prop_assert_eq!(
                filter.takes(&actor, &kind), filter.takes_tokens(&token::encode(&actor), &token::encode(&kind))
            );
        }
    }

    #[test]
    fn what_one_subject_can_name() {
        let of = |actor: Option<&str>, prefix: Option<&str>, shards: Option<Vec<u32>>| {
            let filter = Filter::new(actor.map(str::to_owned), prefix.map(str::to_owned), shards, None);
            filter.single().map(|(shard, token)| (shard, token.map(str::to_owned)))
        };
        assert_eq!(of(Some("a.b"), Some("a"), None), Some((933, Some("a=2Eb".to_owned()))));
        assert_eq!(of(None, Some("a"), Some(vec![5, 5])), Some((5, None)));
        assert_eq!(of(None, None, Some(vec![5, 6])), None);
        assert_eq!(of(None, None, Some(vec![])), None);
        assert_eq!(of(None, Some("a"), None), None);
    }

    #[test]
    fn kinds_are_taken_whole() {
        let filter = Filter::new(None, None, None, Some(vec!["Placed".to_owned()]));
        assert!(filter.takes_kind("Placed") && !filter.takes_kind("Place") && Filter::default().takes_kind("x"));
    }
}
