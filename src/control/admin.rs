//! What operators and their machines ask over HTTP: metrics, readiness, allocations, and a few
//! orders. Open to whoever shows the token, or where there is none to this very machine; metrics
//! also to networks that are listed. None of it is served by TLS listeners, whose port is public.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::header::{self, AUTHORIZATION};
use axum::http::{HeaderMap, StatusCode, Version};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Json, Router};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::json;
use subtle::ConstantTimeEq;
use tokio::sync::{Mutex, MutexGuard, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use super::access::{self, Access, Caller};
use super::hall::Visitor;
use super::http::refusal;
use super::log::Levels;
use super::metrics::{CONTENT_TYPE, Observed};
use crate::signalling;
use crate::turn::{Record, Username, Volume};
use crate::worker::{Mailbox, Snapshot};

/// What the answers are made from.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The workers, in the order of their numbers.
    pub workers: Vec<Mailbox>,
    /// Who may ask.
    pub keys: Keys,
    /// Proxies, which speak for others and are not this machine, wherever they come from.
    pub proxies: Vec<IpNet>,
    /// What was seen last.
    pub seen: Arc<Mutex<Seen>>,
    /// Whether new allocations are refused.
    pub draining: watch::Receiver<bool>,
    /// The signalling relay's counters.
    pub signalling: watch::Receiver<signalling::Stats>,
    /// Certificates by file, with the second since 1970 at which each ends.
    pub certificates: watch::Receiver<Vec<(String, i64)>>,
    /// What is logged.
    pub levels: Levels,
    /// Who carries orders out.
    pub orders: mpsc::Sender<Order>,
}

/// Who may ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Whoever shows this, and nobody else; where it is empty this very machine.
    pub token: Token,
    /// Networks that may read metrics.
    pub metrics_from: Vec<IpNet>,
}

/// A secret that shows nowhere.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "Token(none)" } else { "Token(…)" })
    }
}

/// What the server is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Make no more allocations, and end when there are none left.
    Drain,
    /// Read again what can be read again.
    Reload,
}

/// The workers' counters as they were seen last.
#[derive(Debug, Default)]
pub struct Seen {
    at: Option<Instant>,
    answering: usize,
    snapshots: Vec<Option<Snapshot>>,
}

/// How old an answer may be that is given again.
const FRESH: Duration = Duration::from_millis(100);
/// How long a worker may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Allocations that are listed at most.
const LIST_MAX: usize = 10_000;

impl Admin {
    /// The routes, without a fallback.
    pub fn router(self) -> Router {
        let site = Arc::new(self);
        let guarded = Router::new()
            .route("/admin/v1/status", get(status))
            .route("/admin/v1/allocations", get(list))
            .route("/admin/v1/allocations/{id}", get(one).delete(end_one))
            .route("/admin/v1/users/{user}/allocations", axum::routing::delete(end_of_user))
            .route("/admin/v1/log-level", put(set_levels))
            .route("/admin/v1/drain", post(drain))
            .route("/admin/v1/reload", post(reload))
            .route("/admin/v1/openapi.json", get(openapi))
            .route_layer(from_fn_with_state(Arc::clone(&site), guard));
        let metrics = Router::new()
            .route("/metrics", get(metrics))
            .route_layer(from_fn_with_state(Arc::clone(&site), guard_metrics));
        guarded
            .merge(metrics)
            .route("/readyz", get(readyz))
            .layer(DefaultBodyLimit::max(4096))
            .with_state(site)
    }

    /// The workers' counters, no older than [`FRESH`]: however many ask, a worker is asked seldom.
    async fn look(&self) -> MutexGuard<'_, Seen> {
        let mut seen = self.seen.lock().await;
        if seen.at.is_some_and(|at| at.elapsed() < FRESH) {
            return seen;
        }
        // All are asked before any is waited for.
        let asked: Vec<_> = self.workers.iter().map(Mailbox::snapshot).collect();
        seen.snapshots.resize(asked.len(), None);
        seen.answering = 0;
        for (worker, asked) in asked.into_iter().enumerate() {
            if let Some(snapshot) = answered(asked.ok()).await {
                seen.snapshots[worker] = Some(snapshot);
                seen.answering += 1;
            }
        }
        seen.at = Some(Instant::now());
        seen
    }

    async fn observe(&self) -> Observed {
        let seen = self.look().await;
        Observed {
            // Of one that does not answer what it said last: a sum must not go back.
            workers: seen.snapshots.iter().flatten().copied().collect(),
            workers_answering: seen.answering,
            workers_started: self.workers.len(),
            signalling: *self.signalling.borrow(),
            certificates: self.certificates.borrow().clone(),
            log_lines_lost: self.levels.lost(),
            draining: *self.draining.borrow(),
        }
    }

    /// Allocations of all workers, with the number of each one's worker.
    async fn records(&self, of: Option<&Username>, most: usize) -> Vec<(usize, Record)> {
        let asked: Vec<_> =
            self.workers.iter().map(|it| it.allocations(of.cloned(), most)).collect();
        let mut records = Vec::new();
        for (worker, asked) in asked.into_iter().enumerate() {
            let found = answered(asked.ok()).await.unwrap_or_default();
            records.extend(found.into_iter().map(|record| (worker, record)));
        }
        records.truncate(most);
        records
    }

    async fn end(&self, worker: usize, id: u64) -> bool {
        let asked = self.workers.get(worker).and_then(|it| it.end_allocation(id).ok());
        answered(asked).await.unwrap_or(false)
    }

    async fn record(&self, worker: usize, id: u64) -> Option<Record> {
        let asked = self.workers.get(worker).and_then(|it| it.allocation(id).ok());
        answered(asked).await.flatten()
    }

    /// Lets a request through that may ask, or comes from where everybody may.
    async fn admit(
        &self,
        visitor: Visitor,
        is_listed: bool,
        request: Request,
        next: Next,
    ) -> Response {
        match self.keys.check(visitor, request.version(), request.headers(), &self.proxies) {
            Err(why) if !is_listed => refusal(StatusCode::FORBIDDEN, "closed", why),
            _ => next.run(request).await,
        }
    }
}

/// What a worker has answered in time, if it could be asked.
async fn answered<T>(asked: Option<oneshot::Receiver<T>>) -> Option<T> {
    timeout(PATIENCE, asked?).await.ok()?.ok()
}

impl Keys {
    fn has_token(&self, headers: &HeaderMap) -> bool {
        let shown = access::header_text(headers, AUTHORIZATION.as_str());
        let shown = shown.and_then(|it| it.strip_prefix("Bearer ")).unwrap_or_default();
        !self.token.0.is_empty() && shown.as_bytes().ct_eq(self.token.0.as_bytes()).into()
    }

    /// Whether somebody may ask for anything.
    ///
    /// # Errors
    ///
    /// A sentence that says how the operator can open what is closed.
    fn check(
        &self,
        visitor: Visitor,
        version: Version,
        headers: &HeaderMap,
        proxies: &[IpNet],
    ) -> Result<(), &'static str> {
        // A page of somebody else's in a browser of this machine is not this machine's wish.
        match access::caller(headers, &[]) {
            Ok(Caller::Native | Caller::SameOrigin) => {}
            _ => return Err("pages of other origins may not ask for this"),
        }
        let why = "open to this machine only, as http://localhost; with token in [admin] to \
                   whoever shows it";
        match (self.token.0.is_empty(), self.has_token(headers)) {
            (_, true) => return Ok(()),
            // A proxy on this machine may look like this machine; it does not know the token.
            (false, false) => return Err("show token of [admin]: Authorization: Bearer …"),
            (true, false) => {}
        }
        let peer = visitor.peer.to_canonical();
        if proxies.iter().any(|net| net.contains(&peer)) {
            return Err(why);
        }
        Access::Local.check(visitor.peer, version, headers).map_err(|_| why)
    }
}

async fn guard(
    State(site): State<Arc<Admin>>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
    next: Next,
) -> Response {
    site.admit(visitor, false, request, next).await
}

async fn guard_metrics(
    State(site): State<Arc<Admin>>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
    next: Next,
) -> Response {
    let peer = visitor.peer.to_canonical();
    let is_listed = site.keys.metrics_from.iter().any(|net| net.contains(&peer));
    site.admit(visitor, is_listed, request, next).await
}

async fn metrics(State(site): State<Arc<Admin>>) -> impl IntoResponse {
    let text = site.observe().await.to_openmetrics();
    ([(header::CONTENT_TYPE, CONTENT_TYPE), (header::CACHE_CONTROL, "no-store")], text)
}

/// 200 where new clients are welcome and every worker answers, else 503 with the reason.
async fn readyz(State(site): State<Arc<Admin>>) -> impl IntoResponse {
    let draining = *site.draining.borrow();
    let all_answer = site.look().await.answering == site.workers.len();
    let (code, state) = match (draining, all_answer) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "a worker does not answer"),
        (false, true) => (StatusCode::OK, "ready"),
    };
    (code, [(header::CACHE_CONTROL, "no-store")], Json(json!({ "status": state })))
}

async fn status(State(site): State<Arc<Admin>>) -> impl IntoResponse {
    let seen = site.observe().await;
    let sum = |of: fn(&Snapshot) -> u64| seen.workers.iter().map(of).sum::<u64>();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "draining": seen.draining,
        "workers": { "started": seen.workers_started, "answering": seen.workers_answering },
        "allocations": sum(|it| it.core.allocations),
        "permissions": sum(|it| it.core.permissions),
        "channels": sum(|it| it.core.channels),
        "connections": sum(|it| it.connections as u64),
        "peer_connections": sum(|it| it.peers as u64),
        "dtls_sessions": sum(|it| it.sessions as u64),
        "packets_to_peers": sum(|it| it.core.packets_to_peer),
        "packets_to_clients": sum(|it| it.core.packets_to_client),
        "signalling_sockets": seen.signalling.sockets,
        "log_level": site.levels.text(),
    }))
}

/// An allocation, as it is told.
#[derive(Debug, Serialize)]
struct Told {
    id: String,
    user: String,
    client: String,
    transport: String,
    relays: &'static str,
    relayed: Vec<String>,
    age_secs: u64,
    expires_in_secs: u64,
    permissions: usize,
    channels: usize,
    to_peers: ToldVolume,
    to_client: ToldVolume,
}

#[derive(Debug, Serialize)]
struct ToldVolume {
    packets: u64,
    bytes: u64,
}

impl From<Volume> for ToldVolume {
    fn from(Volume { packets, bytes }: Volume) -> Self {
        Self { packets, bytes }
    }
}

impl Told {
    fn new(worker: usize, record: &Record) -> Self {
        Self {
            id: format!("{worker}-{:016x}", record.id),
            user: String::from_utf8_lossy(&record.user.0).into_owned(),
            client: record.tuple.client.to_string(),
            transport: record.tuple.transport.to_string(),
            relays: match record.protocol {
                crate::turn::Protocol::Udp => "udp",
                crate::turn::Protocol::Tcp => "tcp",
            },
            relayed: record.relayed.iter().flatten().map(ToString::to_string).collect(),
            age_secs: record.age_millis / 1000,
            expires_in_secs: record.expires_in_secs,
            permissions: record.permissions,
            channels: record.channels,
            to_peers: record.to_peers.into(),
            to_client: record.to_client.into(),
        }
    }
}

/// The worker and the number in an id as [`Told`] has it.
fn read_id(text: &str) -> Option<(usize, u64)> {
    let (worker, id) = text.split_once('-')?;
    Some((worker.parse().ok()?, u64::from_str_radix(id, 16).ok()?))
}

fn no_such() -> Response {
    refusal(StatusCode::NOT_FOUND, "no-such-allocation", "there is no such allocation")
}

#[derive(Debug, Deserialize)]
struct ListQuery {
    user: Option<String>,
    limit: Option<usize>,
}

/// `GET /admin/v1/allocations?user=NAME&limit=N`
async fn list(
    State(site): State<Arc<Admin>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Response {
    let Ok(Query(ListQuery { user, limit })) = query else {
        return refusal(StatusCode::BAD_REQUEST, "bad-request", "limit is a number");
    };
    let user = user.map(|user| Username(user.into_bytes().into()));
    let most = limit.unwrap_or(1000).min(LIST_MAX);
    let records = site.records(user.as_ref(), most).await;
    let told: Vec<_> = records.iter().map(|(worker, record)| Told::new(*worker, record)).collect();
    Json(json!({ "allocations": told })).into_response()
}

async fn one(State(site): State<Arc<Admin>>, Path(id): Path<String>) -> Response {
    let Some((worker, id)) = read_id(&id) else { return no_such() };
    let found = site.record(worker, id).await;
    found.map_or_else(no_such, |record| Json(Told::new(worker, &record)).into_response())
}

async fn end_one(State(site): State<Arc<Admin>>, Path(id): Path<String>) -> Response {
    match read_id(&id) {
        Some((worker, id)) if site.end(worker, id).await => {
            Json(json!({ "ended": 1 })).into_response()
        }
        _ => no_such(),
    }
}

async fn end_of_user(State(site): State<Arc<Admin>>, Path(user): Path<String>) -> Response {
    let user = Username(user.into_bytes().into());
    let mut ended = 0;
    for (worker, record) in site.records(Some(&user), usize::MAX).await {
        ended += usize::from(site.end(worker, record.id).await);
    }
    Json(json!({ "ended": ended })).into_response()
}

#[derive(Debug, Deserialize)]
struct LevelWish {
    level: String,
}

/// `PUT /admin/v1/log-level` with `{"level": "debug"}`
async fn set_levels(
    State(site): State<Arc<Admin>>,
    wish: Result<Json<LevelWish>, axum::extract::rejection::JsonRejection>,
) -> Response {
    let Ok(Json(LevelWish { level })) = wish else {
        let why = "say {\"level\": \"info\"}, with Content-Type: application/json";
        return refusal(StatusCode::BAD_REQUEST, "bad-request", why);
    };
    match site.levels.set(&level) {
        Ok(()) => Json(json!({ "level": level })).into_response(),
        Err(why) => refusal(StatusCode::BAD_REQUEST, "bad-level", &why),
    }
}

async fn drain(State(site): State<Arc<Admin>>) -> Response {
    order(&site, Order::Drain)
}

async fn reload(State(site): State<Arc<Admin>>) -> Response {
    order(&site, Order::Reload)
}

fn order(site: &Admin, order: Order) -> Response {
    match site.orders.try_send(order) {
        Ok(()) => (StatusCode::ACCEPTED, Json(json!({ "accepted": true }))).into_response(),
        Err(_) => {
            let why = "the server drains, or is carrying out another order";
            refusal(StatusCode::SERVICE_UNAVAILABLE, "busy", why)
        }
    }
}

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("admin/openapi.json"))
}
