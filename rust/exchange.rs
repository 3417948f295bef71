//! Where events arrive, and the mailboxes that want them: each event goes to every mailbox that takes it, of a group to one.
//!
//! Events come from a publisher in this process, or as messages of a server's subscription. A message is judged by its subject
//! and decoded once, when the first mailbox that wants it has room; all share what was decoded. Only its exchange puts events
//! into a mailbox, so what was found to have room still has it a moment later: a publisher that must wait is told before anybody
//! got the event.

use std::sync::Arc;

use crate::bus_message::{self, Place};
use crate::error::{Error, Result};
use crate::event::EventData;
use crate::filter::Filter;
use crate::mailbox::{Context, Delivery, Mailbox, Policy};

/// Mailboxes that get each event once together; one that is in no group is alone here.
#[derive(Debug)]
struct Group {
    name: Option<String>,
    members: Vec<Member>,
    /// Whose turn it is.
    turn: usize,
}

#[derive(Debug)]
struct Member {
    id: u64,
    mailbox: Arc<Mailbox>,
    /// Whether it is among the exchange's `touched`.
    touched: bool,
}

#[derive(Debug)]
pub struct Exchange {
    /// None: events of any namespace come here.
    namespace: Option<Arc<str>>,
    groups: Vec<Group>,
    last_id: u64,
    /// How many mailboxes can make a publisher wait.
    blocking: usize,
    touched: Vec<u64>,
    /// The context of the last event that had no other than its namespace; most events share it.
    last_context: Option<Arc<Context>>,
}

impl Exchange {
    pub fn new(namespace: Option<&str>) -> Self {
        let namespace = namespace.map(Arc::from);
        Self { namespace, groups: Vec::new(), last_id: 0, blocking: 0, touched: Vec::new(), last_context: None }
    }

    /// How many mailboxes are attached.
    pub fn len(&self) -> usize {
        self.groups.iter().map(|group| group.members.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Lets events reach a mailbox, in a group one that shares its `group`; returns its number here.
    pub fn attach(&mut self, mailbox: &Arc<Mailbox>, group: Option<&str>) -> Result<u64> {
        if !mailbox.claim() {
            return Err(Error::Misuse("this mailbox is attached to an exchange; detach it there first"));
        }
        mailbox.lock().home.clone_from(&self.namespace);
        self.blocking += usize::from(mailbox.policy == Policy::Block);
        self.last_id += 1;
        let member = Member { id: self.last_id, mailbox: Arc::clone(mailbox), touched: false };
        match self.groups.iter_mut().find(|known| group.is_some() && known.name.as_deref() == group) {
            Some(known) => known.members.push(member),
            None => self.groups.push(Group { name: group.map(str::to_owned), members: vec![member], turn: 0 }),
        }
        Ok(self.last_id)
    }

    /// Ends what `attach` began.
    pub fn detach(&mut self, id: u64) {
        for group in &mut self.groups {
            for gone in group.members.extract_if(.., |member| member.id == id) {
                gone.mailbox.release();
                self.blocking -= usize::from(gone.mailbox.policy == Policy::Block);
            }
        }
        self.groups.retain(|group| !group.members.is_empty());
        self.touched.retain(|&touched| touched != id);
    }

    /// The mailboxes that got something since this was last asked.
    pub fn touched(&mut self) -> Vec<u64> {
        self.groups.iter_mut().flat_map(|group| &mut group.members).for_each(|member| member.touched = false);
        std::mem::take(&mut self.touched)
    }

    /// How many mailboxes would get an event.
    pub fn takers(&self, event: &EventData) -> usize {
        let parts = event.parts();
        let wants = |filter: &Filter| filter.takes(parts.actor, parts.kind);
        self.groups.iter().filter(|group| group.choose(&wants, 0).is_some()).count()
    }

    /// Gives events out in order; returns how many, and the mailbox that has no room for the next one and must not miss it.
    pub fn publish(&mut self, events: &[Arc<EventData>], reply: Option<&str>) -> (usize, Option<u64>) {
        let context = reply.map(|reply| Arc::new(Context { namespace: None, reply: Some(reply.into()) }));
        for (index, event) in events.iter().enumerate() {
            let parts = event.parts();
            let wants = |filter: &Filter| filter.takes(parts.actor, parts.kind);
            let size = event.wire_size_bound();
            if self.blocking > 0
                && let Some(id) = self.groups.iter().find_map(|group| group.blocked(&wants, size))
            {
                return (index, Some(id));
            }
            for group in &mut self.groups {
                if let Some(member) = group.chosen(&wants, size) {
                    member.touch(&mut self.touched);
                    member.mailbox.lock().offer(Delivery { event: Arc::clone(event), context: context.clone() });
                }
            }
        }
        (events.len(), None)
    }

    /// Takes a message of a server's subscription.
    pub fn take_message(&mut self, subject: &[u8], reply: Option<&[u8]>, body: &[u8]) {
        let Some(place) = self.place(subject) else { return self.foreign(subject) };
        let wants = |filter: &Filter| filter.takes_tokens(place.actor, place.kind);
        let mut read = None;
        for group in &mut self.groups {
            let Some(member) = group.chosen(&wants, 0) else { continue };
            member.touch(&mut self.touched);
            let mut queue = member.mailbox.lock();
            if queue.refuses_all() {
                queue.miss();
                continue;
            }
            let decoded = read.get_or_insert_with(|| bus_message::read(&place, body).map(Arc::new));
            match decoded {
                Ok(event) => {
                    let context = context(&mut self.last_context, self.namespace.is_none().then_some(place.namespace), reply);
                    queue.offer(Delivery { event: Arc::clone(event), context });
                }
                Err(error) => queue.damage(&String::from_utf8_lossy(subject), error),
            }
        }
    }

    /// None: no event of this exchange lies there.
    fn place<'a>(&self, subject: &'a [u8]) -> Option<Place<'a>> {
        Place::of(subject).filter(|place| self.namespace.as_deref().is_none_or(|ours| ours == place.namespace))
    }

    /// Nobody can tell who would have wanted it, so everybody hears of it.
    fn foreign(&mut self, subject: &[u8]) {
        let subject = String::from_utf8_lossy(subject);
        let error = Error::decode(0, "no event lies on this subject");
        for member in self.groups.iter_mut().flat_map(|group| &mut group.members) {
            member.touch(&mut self.touched);
            member.mailbox.lock().damage(&subject, &error);
        }
    }
}

/// What comes with an event beside its message; of one namespace and without a reply always the same.
fn context(last: &mut Option<Arc<Context>>, namespace: Option<&str>, reply: Option<&[u8]>) -> Option<Arc<Context>> {
    let reply = reply.map(|reply| String::from_utf8_lossy(reply).into());
    if namespace.is_none() && reply.is_none() {
        return None;
    }
    if let (Some(known), None) = (&*last, &reply)
        && known.namespace.as_deref() == namespace
    {
        return Some(Arc::clone(known));
    }
    let keep = reply.is_none();
    let fresh = Arc::new(Context { namespace: namespace.map(Arc::from), reply });
    if keep {
        *last = Some(Arc::clone(&fresh));
    }
    Some(fresh)
}

impl Group {
    /// The place of the member that an event of that size goes to, and whether it has room; None: nobody here wants it.
    ///
    /// In turn, but a member with room goes before one without.
    fn choose(&self, wants: &dyn Fn(&Filter) -> bool, size: usize) -> Option<(usize, bool)> {
        let mut full = None;
        for step in 0..self.members.len() {
            let place = (self.turn + step) % self.members.len();
            let mailbox = &self.members[place].mailbox;
            if !wants(&mailbox.filter) {
                continue;
            }
            let queue = mailbox.lock();
            if queue.is_closed() {
                continue;
            }
            if queue.has_room(1, size) {
                return Some((place, true));
            }
            full = full.or(Some((place, false)));
        }
        full
    }

    /// The member that an event goes to; the next turn is another's.
    fn chosen(&mut self, wants: &dyn Fn(&Filter) -> bool, size: usize) -> Option<&mut Member> {
        if let [alone] = &self.members[..] {
            return wants(&alone.mailbox.filter).then_some(&mut self.members[0]);
        }
        let (place, _) = self.choose(wants, size)?;
        self.turn = place + 1;
        self.members.get_mut(place)
    }

    /// The member whose publisher must wait until it has room.
    fn blocked(&self, wants: &dyn Fn(&Filter) -> bool, size: usize) -> Option<u64> {
        let (place, has_room) = self.choose(wants, size)?;
        let Member { id, mailbox, .. } = &self.members[place];
        (!has_room && mailbox.policy == Policy::Block && mailbox.fits(size)).then_some(*id)
    }
}

impl Member {
    fn touch(&mut self, touched: &mut Vec<u64>) {
        if !std::mem::replace(&mut self.touched, true) {
            touched.push(self.id);
        }
    }
}

#[cfg(test)]
mod tests;
