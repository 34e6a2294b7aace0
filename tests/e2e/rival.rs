//! A rival scheduler: it plays Clusternet's, with the writes that Clusternet's was seen to make.
//!
//! It decides every placement again when a taint or a label of any cluster changed, and those whose
//! Subscription or FeedInventory changed; it writes by merge patch, without resourceVersion, and as
//! late as it is told. Clusternet's looks again only at a Subscription whose spec changed. This one
//! does so for a changed placement too, so that it would quarrel if there were something to quarrel over.

mod choice;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures::stream::select_all;
use futures::{Stream, StreamExt};
use http::Method;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use self::choice::{Objects, View};
use crate::control_plane::ControlPlane;
use crate::fleet::managed_clusters;
use crate::request::{Answer, MERGE_PATCH, try_send};
use crate::scene::FLEET;
use crate::subscriptions::{apps, status_path};
use crate::wait::{PATIENCE, eventually};

/// Whom the API server sees.
const USER: &str = "system:serviceaccount:clusternet-system:clusternet-scheduler";
/// How soon it looks whether something is due.
const TICK: Duration = Duration::from_millis(20);
/// How soon it tries again after a refusal.
const RETRY: Duration = Duration::from_millis(500);
/// An annotation that says how far the watches must have come.
const MARK: &str = "rival.example/mark";

/// One write and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// The Subscription.
    pub(crate) subscription: String,
    /// The merge patch.
    pub(crate) patch: Value,
    /// What the API server said.
    pub(crate) answer: Answer,
}

/// A kind that it watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Cluster,
    Subscription,
    Inventory,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Cluster, Self::Subscription, Self::Inventory];

    fn api(self, client: &Client) -> Api<DynamicObject> {
        match self {
            Self::Cluster => managed_clusters(client, FLEET),
            Self::Subscription => apps(client, "Subscription"),
            Self::Inventory => apps(client, "FeedInventory"),
        }
    }

    fn key(self, object: &DynamicObject) -> String {
        let name = object.name_any();
        if self == Self::Cluster { format!("{FLEET}/{name}") } else { name }
    }
}

/// The scheduler; it stops when this is dropped.
pub(crate) struct Rival {
    client: Client,
    mind: Arc<Mutex<Mind>>,
    task: Option<AbortHandle>,
    marks: u64,
}

/// What the task and the test share.
#[derive(Default)]
struct Mind {
    view: View,
    /// The kinds whose first list is in: nothing is decided before all are.
    listed: BTreeSet<Kind>,
    /// The highest mark seen of each kind.
    marks: BTreeMap<Kind, u64>,
    /// The Subscriptions to decide on, each once, and when.
    queue: BTreeMap<String, Instant>,
    /// The decisions to write, and when.
    decided: Vec<(Instant, String, Value)>,
    attempts: Vec<Attempt>,
    /// What each Subscription's `bindingClusters` has been, one after the other.
    history: BTreeMap<String, Vec<Value>>,
    lateness: Duration,
    busy: bool,
    turn: usize,
}

impl Rival {
    /// One that watches, decides and writes.
    pub(crate) async fn start(control_plane: &ControlPlane) -> Self {
        let mut rival = Self::by_hand(control_plane).await;
        let work = work(rival.client.clone(), Arc::clone(&rival.mind));
        rival.task = Some(tokio::spawn(work).abort_handle());
        rival
    }

    /// One that writes only what it is told to.
    pub(crate) async fn by_hand(control_plane: &ControlPlane) -> Self {
        let client = control_plane.client_as(USER, Some("system:masters")).await;
        Self { client, mind: Arc::default(), task: None, marks: 0 }
    }

    /// From now on its writes land this long after they were decided.
    pub(crate) fn set_lateness(&self, lateness: Duration) {
        self.mind().lateness = lateness;
    }

    /// Lets everything decided land now.
    pub(crate) fn land(&self) {
        let now = Instant::now();
        self.mind().decided.iter_mut().for_each(|(due, _, _)| *due = now);
    }

    /// The Subscriptions with a decision that has yet to land.
    pub(crate) fn undelivered(&self) -> Vec<String> {
        self.mind().decided.iter().map(|(_, name, _)| name.clone()).collect()
    }

    /// Keeps it busy: it sees what happens, but decides later.
    pub(crate) fn pause(&self) {
        self.mind().busy = true;
    }

    /// Lets it decide again, once it has seen all that was stored before this call.
    pub(crate) async fn resume(&mut self) {
        self.see_all().await;
        self.mind().busy = false;
    }

    /// From now on it picks other clusters of a sub-group.
    pub(crate) fn set_turn(&self, turn: usize) {
        self.mind().turn = turn;
    }

    /// All that it has written to a Subscription, so far.
    pub(crate) fn attempts(&self, subscription: &str) -> Vec<Attempt> {
        self.mind().attempts.iter().filter(|attempt| attempt.subscription == subscription).cloned().collect()
    }

    /// What a Subscription's `bindingClusters` has been since it began to watch, each change once:
    /// what was stored only for a moment is there too.
    pub(crate) fn history(&self, subscription: &str) -> Vec<Value> {
        self.mind().history.get(subscription).cloned().unwrap_or_default()
    }

    /// How often it has written, so far.
    pub(crate) fn writes(&self) -> usize {
        self.mind().attempts.len()
    }

    /// What it would write to a Subscription, by what is stored now.
    pub(crate) async fn decide(&self, subscription: &str) -> Option<Value> {
        let mut view = View::default();
        for kind in Kind::ALL {
            let objects = kind.api(&self.client).list(&ListParams::default()).await.unwrap();
            *objects_of(&mut view, kind) = objects.into_iter().map(|object| (kind.key(&object), object)).collect();
        }
        view.decide(subscription, self.mind().turn)
    }

    /// Writes by hand.
    pub(crate) async fn write(&self, subscription: &str, patch: &Value) -> Answer {
        write(&self.client, &self.mind, subscription, patch).await.expect("the API server does not answer")
    }

    /// Waits until it has dealt with all that was stored before this call.
    ///
    /// What it then wrote may have come back to it since; so when it is to be shown that it does
    /// not quarrel, call this twice, and it must have written nothing in between.
    pub(crate) async fn catch_up(&mut self) {
        self.see_all().await;
        eventually("the rival to be idle", PATIENCE, async || {
            let mind = self.mind();
            let idle = mind.queue.is_empty() && mind.decided.is_empty();
            idle.then_some(()).ok_or_else(|| format!("{:?}, {:?}", mind.queue.keys(), mind.decided))
        })
        .await;
    }

    /// Waits until its watches are past this moment: it must see a mark on an object of each kind.
    async fn see_all(&mut self) {
        self.marks += 1;
        let mark = self.marks;
        for kind in Kind::ALL {
            let api = kind.api(&self.client);
            let Some(any) = api.list(&ListParams::default().limit(1)).await.unwrap().items.pop() else {
                continue;
            };
            let patch = Patch::Merge(json!({"metadata": {"annotations": {MARK: mark.to_string()}}}));
            api.patch(&any.name_any(), &PatchParams::default(), &patch).await.unwrap();
            eventually(&format!("the rival to see the mark on a {kind:?}"), PATIENCE, async || {
                self.mind().marks.get(&kind).is_some_and(|seen| *seen >= mark).then_some(())
            })
            .await;
        }
    }

    fn mind(&self) -> MutexGuard<'_, Mind> {
        self.mind.lock().unwrap()
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        if std::thread::panicking() {
            eprintln!("--- what the rival wrote");
            for Attempt { subscription, patch, answer } in &self.mind().attempts {
                eprintln!("{subscription}: {patch}\n  {} {}{:?}", answer.code, answer.message(), answer.warnings);
            }
        }
    }
}

/// Watches and works until aborted.
async fn work(client: Client, mind: Arc<Mutex<Mind>>) {
    let watch = |kind: Kind| -> Pin<Box<dyn Stream<Item = _> + Send>> {
        let events = watcher(kind.api(&client), watcher::Config::default()).default_backoff();
        Box::pin(events.map(move |event| (kind, event)))
    };
    let mut events = select_all(Kind::ALL.map(watch));
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            event = events.next() => match event.expect("a watch never ends") {
                (kind, Ok(event)) => mind.lock().unwrap().see(kind, event),
                (kind, Err(error)) => eprintln!("the rival's watch of each {kind:?}: {error}"),
            },
            _ = ticks.tick() => {
                mind.lock().unwrap().decide(Instant::now());
                deliver(&client, &mind).await;
            }
        }
    }
}

impl Mind {
    fn see(&mut self, kind: Kind, event: watcher::Event<DynamicObject>) {
        let object = match event {
            watcher::Event::Init => return,
            watcher::Event::InitDone => {
                self.listed.insert(kind);
                return self.enqueue_all();
            }
            watcher::Event::Delete(object) => {
                objects_of(&mut self.view, kind).remove(&kind.key(&object));
                return self.enqueue_all();
            }
            watcher::Event::InitApply(object) | watcher::Event::Apply(object) => object,
        };
        let key = kind.key(&object);
        let old = objects_of(&mut self.view, kind).insert(key.clone(), object.clone());
        let changed = old.is_none_or(|old| weighty(kind, &old) != weighty(kind, &object));
        if kind == Kind::Subscription {
            let clusters = object.data["status"]["bindingClusters"].clone();
            let history = self.history.entry(key.clone()).or_default();
            if history.last() != Some(&clusters) {
                history.push(clusters);
            }
        }
        match kind {
            Kind::Cluster if changed => self.enqueue_all(),
            Kind::Subscription | Kind::Inventory if changed => self.enqueue(key, Instant::now()),
            _ => {}
        }
        // Last, so that whoever sees the mark sees all that came of what was before it.
        let mark = object.annotations().get(MARK).and_then(|mark| mark.parse().ok()).unwrap_or(0);
        let highest = self.marks.entry(kind).or_default();
        *highest = mark.max(*highest);
    }

    fn enqueue_all(&mut self) {
        let names: Vec<String> = self.view.subscriptions.keys().cloned().collect();
        names.into_iter().for_each(|name| self.enqueue(name, Instant::now()));
    }

    fn enqueue(&mut self, name: String, due: Instant) {
        let entry = self.queue.entry(name).or_insert(due);
        *entry = due.min(*entry);
    }

    /// Decides on what is due.
    fn decide(&mut self, now: Instant) {
        if self.busy || self.listed.len() < Kind::ALL.len() {
            return;
        }
        let due: Vec<String> = self.queue.extract_if(.., |_, due| *due <= now).map(|(name, _)| name).collect();
        for name in due {
            if let Some(patch) = self.view.decide(&name, self.turn) {
                self.decided.push((now + self.lateness, name, patch));
            }
        }
    }
}

/// Writes what is due, in the order in which it was decided. It leaves the list only when it has
/// been answered, so an empty list means that all is done.
async fn deliver(client: &Client, mind: &Mutex<Mind>) {
    let due = |mind: &Mind| mind.decided.iter().position(|(due, _, _)| *due <= Instant::now());
    loop {
        let next = {
            let mind = mind.lock().unwrap();
            due(&mind).map(|place| (place, mind.decided[place].clone()))
        };
        let Some((place, (_, name, patch))) = next else { return };
        let answer = write(client, mind, &name, &patch).await;
        let mut mind = mind.lock().unwrap();
        if !answer.is_some_and(|answer| answer.succeeded()) {
            mind.enqueue(name, Instant::now() + RETRY);
        }
        mind.decided.remove(place);
    }
}

/// Writes, and records the answer.
async fn write(client: &Client, mind: &Mutex<Mind>, subscription: &str, patch: &Value) -> Option<Answer> {
    let answer = try_send(client, Method::PATCH, &status_path(subscription, ""), MERGE_PATCH, patch).await?;
    let attempt = Attempt { subscription: subscription.to_owned(), patch: patch.clone(), answer: answer.clone() };
    mind.lock().unwrap().attempts.push(attempt);
    Some(answer)
}

fn objects_of(view: &mut View, kind: Kind) -> &mut Objects {
    match kind {
        Kind::Cluster => &mut view.clusters,
        Kind::Subscription => &mut view.subscriptions,
        Kind::Inventory => &mut view.inventories,
    }
}

/// What must change for it to decide again.
fn weighty(kind: Kind, object: &DynamicObject) -> Value {
    match kind {
        Kind::Cluster => json!([object.metadata.labels, object.data["spec"]["taints"]]),
        Kind::Subscription => json!([object.data["spec"], object.data["status"]]),
        Kind::Inventory => object.data["spec"].clone(),
    }
}
