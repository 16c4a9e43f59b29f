//! Where questions are answered: every listener's chain, the threads that work on them, and the way back.
//!
//! Why two pools: a flood of wrong passwords, each of which costs a hash, must not keep the tokens of devices waiting.
//!
//! Invariants:
//! - Every question gets exactly one answer, at the latest when its queue is full or its time is over.
//! - A queue holds at most [`QUESTIONS_MAX`] questions; one more is refused as at a busy server and counted.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use access::TokenTerms;
use broker::CoreId;
use mqtt::ReasonCode;
use shard::{Answer, ListenerId, Question};
use stdx::WallMs;

use super::answers::Answers;
use super::callback;
use super::chain::{Caller, Chain, Finding, Look, Member, Place, Service};
use super::figures::Figures;
use super::pass::{Pass, Person};
use super::pool::{self, Pool, Tasks};
use super::sources::Source;
use super::watch::Watch;
use crate::clock::Clock;

/// Questions that wait in one place. At 30 ms a hash and two threads that is four seconds, which clients bear.
const QUESTIONS_MAX: usize = 256;
/// Threads that hash passwords; each needs the memory that a hash demands, 46 MiB by default.
const HASHING_THREADS: usize = 2;
/// Threads that check signatures.
const SIGNING_THREADS: usize = 1;

/// Everything that answers.
#[derive(Debug)]
pub(crate) struct Desk {
    premises: Premises,
    answers: Answers,
    hashing: Pool<Errand>,
    signing: Pool<Errand>,
    calling: Pool<Errand>,
    figures: Figures,
    rules_version: AtomicU64,
    watch: Arc<dyn Watch>,
    clock: Clock,
}

/// What the configuration says.
#[derive(Debug)]
pub(super) struct Premises {
    /// By listener.
    pub(super) chains: Vec<Chain>,
    pub(super) sources: Vec<Arc<dyn Source>>,
    pub(super) admins: Vec<String>,
}

/// A question and the core that waits.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) core: CoreId,
    pub(super) question: Box<Question>,
}

/// The queues' other ends, until somebody works on them.
pub(super) struct Unstaffed {
    hashing: Tasks<Errand>,
    signing: Tasks<Errand>,
    calling: Tasks<Errand>,
}

impl Desk {
    /// A desk with threads at work.
    pub(super) fn open(
        premises: Premises,
        watch: Arc<dyn Watch>,
        cores: usize,
        clock: Clock,
    ) -> io::Result<Arc<Self>> {
        let (desk, unstaffed) = Self::unstaffed(premises, watch, cores, clock);
        let desk = Arc::new(desk);
        let members = || desk.premises.chains.iter().flat_map(|chain| &chain.members);
        if members().any(|member| matches!(member, Member::Passwords(_))) {
            let work = desk.worker(Place::Hashing);
            unstaffed.hashing.staff("doors-hash", HASHING_THREADS, work)?;
        }
        if members().any(|member| matches!(member, Member::Tokens(_))) {
            unstaffed.signing.staff("doors-sign", SIGNING_THREADS, desk.worker(Place::Signing))?;
        }
        if desk.services().next().is_some() {
            let is_encrypted = desk.services().any(|service| service.url.scheme_str() == Some("https"));
            callback::start(unstaffed.calling, Arc::downgrade(&desk), is_encrypted)?;
        }
        Ok(desk)
    }

    /// The services of all chains; one that several ask stands here as often.
    pub(super) fn services(&self) -> impl Iterator<Item = &Service> {
        self.premises.chains.iter().flat_map(|chain| &chain.members).filter_map(|member| match member {
            Member::Service(service) => Some(&**service),
            Member::Anonymous
            | Member::Certificate { .. }
            | Member::Passwords(_)
            | Member::Tokens(_)
            | Member::Registry(_) => None,
        })
    }

    pub(super) fn unstaffed(
        premises: Premises,
        watch: Arc<dyn Watch>,
        cores: usize,
        clock: Clock,
    ) -> (Self, Unstaffed) {
        let (hashing, hashing_tasks) = pool::open(QUESTIONS_MAX);
        let (signing, signing_tasks) = pool::open(QUESTIONS_MAX);
        let (calling, calling_tasks) = pool::open(QUESTIONS_MAX);
        let desk = Self {
            premises,
            answers: Answers::new(cores),
            hashing,
            signing,
            calling,
            figures: Figures::default(),
            rules_version: AtomicU64::new(0),
            watch,
            clock,
        };
        (desk, Unstaffed { hashing: hashing_tasks, signing: signing_tasks, calling: calling_tasks })
    }

    /// What a thread of one place does with an errand. It does not keep the desk alive.
    fn worker(self: &Arc<Self>, here: Place) -> impl Fn(Errand) + Clone + Send + use<> {
        let desk = Arc::downgrade(self);
        move |errand| {
            if let Some(desk) = desk.upgrade() {
                desk.go_on(errand, Some(here));
            }
        }
    }

    pub(super) fn answers(&self) -> &Answers {
        &self.answers
    }

    pub(super) fn figures(&self) -> &Figures {
        &self.figures
    }

    pub(super) fn premises(&self) -> &Premises {
        &self.premises
    }

    pub(super) fn watch(&self) -> &dyn Watch {
        &*self.watch
    }

    pub(super) fn wall(&self) -> WallMs {
        self.clock.wall()
    }

    pub(super) fn chain(&self, listener: ListenerId) -> Option<&Chain> {
        self.premises.chains.get(usize::from(listener.0))
    }

    pub(super) fn rules_version(&self) -> u64 {
        self.rules_version.load(Ordering::SeqCst)
    }

    /// Rules were changed; to be called after the change.
    pub(super) fn note_new_rules(&self) {
        self.rules_version.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes a question from a core.
    pub(super) fn ask(&self, core: CoreId, question: Box<Question>) {
        self.go_on(Errand { core, question }, None);
    }

    /// Goes on with an errand of which one step is done.
    pub(super) fn go_on_after(&self, mut errand: Errand, finding: Finding) {
        match finding {
            Finding::PassedOn => {
                errand.question.step += 1;
                self.go_on(errand, None);
            }
            decided => self.tell(&errand, decided),
        }
    }

    /// Takes all steps that can be taken here, and hands the errand on.
    fn go_on(&self, mut errand: Errand, here: Option<Place>) {
        let Some(chain) = self.chain(errand.question.listener) else {
            return self.tell(&errand, Finding::Refused(ReasonCode::NotAuthorized));
        };
        // Ends: every round either returns or takes a later step.
        loop {
            let caller = Caller::of_question(&errand.question, self.wall());
            let (step, place) = match chain.look(errand.question.step, &caller, &self.figures) {
                Look::Decided(finding) => return self.tell(&errand, finding),
                Look::Later(step, place) => (step, place),
            };
            if here != Some(place) {
                errand.question.step = step;
                return self.hand_on(errand, place);
            }
            match chain.toil(step, &caller, &self.figures) {
                Finding::PassedOn => errand.question.step = step + 1,
                finding => return self.tell(&errand, finding),
            }
        }
    }

    fn hand_on(&self, errand: Errand, place: Place) {
        let pool = match place {
            Place::Hashing => &self.hashing,
            Place::Signing => &self.signing,
            Place::Calling => &self.calling,
        };
        if let Err(errand) = pool.offer(errand) {
            self.tell(&errand, Finding::Refused(ReasonCode::ServerBusy));
        }
    }

    fn tell(&self, errand: &Errand, finding: Finding) {
        let question = &errand.question;
        let caller = Caller::of_question(question, self.wall());
        let answer = self.conclude(question.listener, &caller, finding);
        self.answers.tell(errand.core, question.conn, answer);
    }

    /// Counts what was decided and writes the pass.
    pub(super) fn conclude(&self, listener: ListenerId, caller: &Caller<'_>, finding: Finding) -> Answer {
        match finding {
            Finding::Admitted(person) => {
                self.figures.admitted.up();
                if person.user.is_some() {
                    self.watch.succeeded(caller.from);
                }
                let person = self.crown(person);
                Answer::Admitted(self.pass(Some(listener), caller.client_id, person))
            }
            Finding::Refused(code) => {
                self.note_refusal(code, caller);
                Answer::Refused(code)
            }
            Finding::PassedOn => unreachable!("the end of the chain refuses"),
        }
    }

    fn note_refusal(&self, code: ReasonCode, caller: &Caller<'_>) {
        match code {
            ReasonCode::ServerBusy => self.figures.busy.up(),
            ReasonCode::BadUserNameOrPassword | ReasonCode::NotAuthorized => {
                self.figures.refused.up();
                self.watch.failed(caller.from, caller.now);
            }
            _whatever_else_is_not_the_clients_fault => self.figures.refused.up(),
        }
    }

    /// Makes those administrators whom the configuration names.
    fn crown(&self, person: Person) -> Person {
        let is_named =
            person.user.as_deref().is_some_and(|user| self.premises.admins.iter().any(|a| a == user));
        Person { is_admin: person.is_admin || is_named, ..person }
    }

    /// What a person may do on a listener; of one that is gone, what all of today's allow. None is everything.
    fn pass(
        &self,
        listener: Option<ListenerId>,
        client_id: &str,
        person: Person,
    ) -> Option<Arc<dyn broker::Rights>> {
        let chains = match listener {
            Some(listener) => self.chain(listener).map(std::slice::from_ref).unwrap_or_default(),
            None => &self.premises.chains[..],
        };
        let rules: Box<[_]> = chains.iter().filter_map(|chain| chain.rules.clone()).collect();
        let Person { user, is_admin, rights, expires_at } = &person;
        if rules.is_empty() && *is_admin && user.is_none() && rights.is_none() && expires_at.is_none() {
            return None;
        }
        Some(Arc::new(Pass { client_id: client_id.into(), person, rules }))
    }

    /// What the owner of a session may do that is away. What a token or a service granted was not written down; every
    /// message is judged again when the owner is back.
    pub(super) fn remember(
        &self,
        listener: Option<ListenerId>,
        client_id: &str,
        user: Option<&str>,
    ) -> Option<Arc<dyn broker::Rights>> {
        let everybody_is_admin =
            listener.and_then(|listener| self.chain(listener)).is_some_and(|chain| chain.everybody_is_admin);
        let person = Person { user: user.map(Into::into), is_admin: everybody_is_admin, ..Person::default() };
        self.pass(listener, client_id, self.crown(person))
    }
}

/// What a token must say; the room's defaults for what the configuration does not ask.
pub(super) fn token_terms(
    issuer: Option<&String>,
    audience: Option<&String>,
    user_claim: &str,
) -> TokenTerms {
    TokenTerms {
        issuer: issuer.cloned(),
        audience: audience.cloned(),
        user_claim: user_claim.to_owned(),
        ..TokenTerms::default()
    }
}
