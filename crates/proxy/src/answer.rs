//! From a request to its answer: find the service, count in on its target, forward, relay.

use crate::access_log::LogEntry;
use crate::body::{AnswerBody, ClientBody, PageEnd, Relay, RequestBody};
use crate::conn::{Conn, Expiry, Phase};
use crate::h1::AnswerHead;
use crate::head::{self, Seen};
use crate::live::UpstreamAddress;
use crate::local::{LocalService, Ticket};
use crate::pages::Page;
use crate::pass;
use crate::tunnel::Tunnel;
use crate::upstream::{Outgoing, SendFailure, Upstream};
use crate::worker::Match;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use std::convert::Infallible;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

const X_ROBOTS_TAG: HeaderName = HeaderName::from_static("x-robots-tag");

/// Times that a request is sent at most, the first included.
const ATTEMPTS: u32 = 3;

/// Answers one request of the connection.
pub(crate) async fn answer(
    conn: Rc<Conn>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    let begun = conn.worker.clock();
    conn.begin_request();
    let (mut parts, body) = request.into_parts();
    let mut log = conn.worker.logs().then(|| Box::new(LogEntry::new(&conn, &parts, begun)));
    let answered = exchange(&conn, &mut parts, body, begun, &mut log).await;
    let mut response = match answered {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(conn.clone(), parts.headers.get(header::ACCEPT), log),
    };
    if conn.worker.is_stopping() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    conn.keep_memory(parts.headers);
    Ok(response)
}

/// Why a request is not forwarded.
enum Refusal {
    Page(Page),
    Redirect(StatusCode, HeaderValue),
    /// To the start page, with this cookie.
    Admit(HeaderValue),
}

impl From<Page> for Refusal {
    fn from(page: Page) -> Self {
        Self::Page(page)
    }
}

type Log = Option<Box<LogEntry>>;

/// A request that counts on its target.
struct Job<'r> {
    conn: &'r Rc<Conn>,
    parts: &'r Parts,
    seen: Seen<'r>,
    service: Rc<LocalService>,
    ticket: Ticket,
    /// It came by a pass: its answer is for nobody else.
    is_preview: bool,
}

async fn exchange(
    conn: &Rc<Conn>,
    parts: &mut Parts,
    body: Incoming,
    begun: Instant,
    log: &mut Log,
) -> Result<Response<AnswerBody>, Refusal> {
    head::make_origin_form(parts)?;
    let mut memory = conn.take_memory();
    let job = Job::prepare(conn, parts, &body)?;
    if let Some(log) = log {
        log.found(&job.service, &job.ticket.target);
    }
    let sent = job.forward(body, &mut memory).await;
    let first_byte_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    let status = match &sent {
        Ok((head, _)) => head.status,
        Err((page, Blame::Target)) => page.status(),
        Err((page, Blame::Client)) => return Err((*page).into()),
    };
    job.count(status, first_byte_us);
    let (head, upstream) = sent.map_err(|(page, _)| page)?;
    if let Some(log) = log {
        log.answered(status, first_byte_us);
    }
    Ok(job.relay(head, upstream, log.take()))
}

impl<'r> Job<'r> {
    fn prepare(conn: &'r Rc<Conn>, parts: &'r Parts, body: &Incoming) -> Result<Self, Refusal> {
        let seen = head::read(parts)?;
        let path = parts.uri.path();
        let service = match conn.worker.find(conn.listener, &seen.host, path) {
            Match::Service(service) => service,
            Match::Alias(rules) => return Err(redirect(rules.first_domain(), parts)),
            Match::Nothing => return Err(Page::NotFound.into()),
            Match::Unreadable => return Err(Page::Unreadable.into()),
        };
        let now = conn.worker.now_ms();
        if let Some(token) = path.strip_prefix(pass::PATH) {
            let good = service.pass(token, now).ok_or(Page::NotFound)?;
            return Err(Refusal::Admit(good.cookie(now)));
        }
        let pass = pass::shown(&parts.headers).and_then(|token| service.pass(token, now));
        let is_preview = pass.is_some();
        if !is_preview
            && service.is_in_maintenance()
            && service.rules.health_path.as_deref() != Some(path)
        {
            return Err(Page::Maintenance.into());
        }
        if body.size_hint().lower() > service.rules.max_body_bytes {
            return Err(Page::TooLarge.into());
        }
        let ticket = match &pass {
            Some(pass) => service.enter_by(pass),
            None => service.enter().ok_or(Page::NoTarget)?,
        };
        let job = Self { conn, parts, seen, service, ticket, is_preview };
        if job.ticket.target.shard().in_flight() > conn.worker.in_flight_share() {
            // A target that answers nothing is what fills it up: whoever judges it must see that.
            job.ticket.target.shard().turned_away(Page::Busy.status().as_u16());
            return Err(Page::Busy.into());
        }
        Ok(job)
    }

    fn count(&self, status: StatusCode, first_byte_us: u64) {
        let shard = self.ticket.target.shard();
        shard.answered(status.as_u16(), first_byte_us);
        if status.is_server_error() {
            shard.failed(self.parts.method.as_str(), self.parts.uri.path(), status.as_u16());
        }
    }

    /// Sends the request, again where that is safe, until an answer begins.
    async fn forward(
        &self,
        body: Incoming,
        memory: &mut HeaderMap,
    ) -> Result<(AnswerHead, Box<Upstream>), (Page, Blame)> {
        let target = &self.ticket.target;
        let Some(route) = target.live.route(&self.seen.host, self.parts.uri.path()) else {
            return Err((Page::NotFound, Blame::Client));
        };
        let can_repeat = is_idempotent(&self.parts.method) && body.is_end_stream();
        let mut body = Some(body);
        let mut outgoing = None;
        for attempt in 1..=ATTEMPTS {
            let address = target.pick(route);
            // What becomes a tunnel gets a connection of its own.
            let may_reuse = attempt == 1 && !self.seen.wants_upgrade;
            let worker = &self.conn.worker;
            let idle = may_reuse.then(|| worker.take_idle(address.number, !can_repeat)).flatten();
            let mut upstream = match idle {
                Some(upstream) => upstream,
                None => self.connect(address).await?,
            };
            if let Some(body) = body.take() {
                outgoing = Some(self.outgoing(upstream.take_lead(), body));
            }
            let Some(request) = outgoing.take() else { break };
            upstream.send(request);
            match self.wait(&mut upstream, memory).await? {
                Ok(head) => return Ok((head, upstream)),
                Err(SendFailure::Unwritten(unsent)) => outgoing = Some(unsent),
                Err(SendFailure::Broken(head, _)) if can_repeat => {
                    outgoing = Some(Outgoing::new(head, RequestBody::Empty, false));
                }
                Err(SendFailure::Broken(_, error)) => {
                    tracing::debug!(%error, address = %address.address, "an upstream broke off");
                }
            }
        }
        Err((Page::BadGateway, Blame::Target))
    }

    fn outgoing(&self, mut head: Vec<u8>, body: Incoming) -> Outgoing {
        let rules = &self.service.rules;
        let is_empty = body.is_end_stream();
        let is_chunked = !is_empty && body.size_hint().exact().is_none();
        head::write(&mut head, self.parts, &self.seen, self.conn, &rules.trusted, is_chunked);
        let body = if is_empty {
            RequestBody::Empty
        } else {
            let (max_bytes, timeout_ms) = (rules.max_body_bytes, rules.timeout_ms);
            RequestBody::Client(ClientBody::new(body, self.conn.clone(), max_bytes, timeout_ms))
        };
        Outgoing::new(head, body, is_chunked)
    }

    async fn connect(&self, address: &UpstreamAddress) -> Result<Box<Upstream>, (Page, Blame)> {
        Box::pin(Upstream::connect(address)).await.map_err(|error| {
            tracing::debug!(%error, address = %address.address, "cannot reach an upstream");
            (Page::BadGateway, Blame::Target)
        })
    }

    /// Waits for the answer, or for the end of the client's or the upstream's time.
    async fn wait(
        &self,
        upstream: &mut Upstream,
        memory: &mut HeaderMap,
    ) -> Result<Result<AnswerHead, SendFailure>, (Page, Blame)> {
        let conn = self.conn;
        conn.wait_for_upstream(self.service.rules.timeout_ms);
        poll_fn(|cx| {
            if let Some(expiry) = conn.expiry() {
                return Poll::Ready(Err(page_of(expiry)));
            }
            let answered = upstream.poll_answer(cx, &self.parts.method, memory);
            match (answered, conn.expiry()) {
                (Poll::Ready(Ok(head)), _) => Poll::Ready(Ok(Ok(head))),
                (_, Some(expiry)) => Poll::Ready(Err(page_of(expiry))),
                (Poll::Ready(Err(failure)), None) => Poll::Ready(Ok(Err(failure))),
                (Poll::Pending, None) => Poll::Pending,
            }
        })
        .await
    }

    fn relay(
        mut self,
        head: AnswerHead,
        upstream: Box<Upstream>,
        log: Log,
    ) -> Response<AnswerBody> {
        let is_upgrade = head.status == StatusCode::SWITCHING_PROTOCOLS;
        if is_upgrade && !self.seen.wants_upgrade {
            return Refusal::Page(Page::BadGateway).into_response(self.conn.clone(), None, log);
        }
        let is_stream = is_event_stream(&head.headers);
        let mut response = Response::new(AnswerBody::Page(None, PageEnd::nothing()));
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        for (name, value) in &self.ticket.target.live.labels {
            response.headers_mut().insert(name.clone(), value.clone());
        }
        if self.is_preview {
            let headers = response.headers_mut();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.insert(X_ROBOTS_TAG, HeaderValue::from_static("noindex"));
        }
        if is_upgrade {
            let upgrade = HeaderValue::from_static("upgrade");
            response.headers_mut().insert(header::CONNECTION, upgrade);
            *response.body_mut() = self.open_tunnel(upstream, log);
            return response;
        }
        self.conn.begin_answer();
        if is_stream {
            self.ticket.become_stream();
            self.conn.become_long_lived(Phase::Streaming, &self.ticket);
        }
        *response.body_mut() = AnswerBody::Relay(Relay {
            upstream: Some(upstream),
            ticket: self.ticket,
            conn: self.conn.clone(),
            log,
            at_event_end: is_stream.then_some(true),
        });
        response
    }

    fn open_tunnel(mut self, upstream: Box<Upstream>, log: Log) -> AnswerBody {
        self.ticket.become_tunnel();
        self.conn.become_long_lived(Phase::Tunnel, &self.ticket);
        let raw = upstream.into_raw();
        self.conn.set_tunnel(Box::new(Tunnel::new(raw, self.ticket, self.seen.is_websocket)));
        AnswerBody::Page(None, PageEnd::new(self.conn.clone(), log))
    }
}

/// Who is behind a failure: only the target's are counted as its errors.
#[derive(Clone, Copy)]
enum Blame {
    Target,
    Client,
}

fn page_of(expiry: Expiry) -> (Page, Blame) {
    match expiry {
        Expiry::FirstByte => (Page::GatewayTimeout, Blame::Target),
        Expiry::Upload => (Page::RequestTimeout, Blame::Client),
        Expiry::TooLarge => (Page::TooLarge, Blame::Client),
        Expiry::BrokenBody => (Page::BadRequest, Blame::Client),
    }
}

/// RFC 9110, section 9.2.2; methods that are not known are not.
fn is_idempotent(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS].contains(method)
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    kind.get(..17).is_some_and(|start| start.eq_ignore_ascii_case(b"text/event-stream"))
}

fn redirect(domain: Option<&str>, parts: &Parts) -> Refusal {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    // The port that the client came by, when it named one.
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let port = host.and_then(|host| host.rsplit_once(':')?.1.parse::<u16>().ok());
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let location =
        domain.and_then(|d| HeaderValue::try_from(format!("http://{d}{port}{path}")).ok());
    let is_plain = matches!(parts.method, Method::GET | Method::HEAD);
    let status =
        if is_plain { StatusCode::MOVED_PERMANENTLY } else { StatusCode::PERMANENT_REDIRECT };
    location.map_or(Refusal::Page(Page::NotFound), |l| Refusal::Redirect(status, l))
}

impl Refusal {
    fn into_response(
        self,
        conn: Rc<Conn>,
        accept: Option<&HeaderValue>,
        mut log: Log,
    ) -> Response<AnswerBody> {
        conn.begin_answer();
        let (status, body) = match &self {
            Self::Page(page) => (page.status(), Some(page.render(accept))),
            Self::Redirect(status, _) => (*status, None),
            Self::Admit(_) => (StatusCode::SEE_OTHER, None),
        };
        if let Some(log) = &mut log {
            log.refused(status);
        }
        let (kind, bytes) = body.map_or((None, None), |(kind, bytes)| (Some(kind), Some(bytes)));
        let mut response = Response::new(AnswerBody::Page(bytes, PageEnd::new(conn, log)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        if let Some(kind) = kind {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        match self {
            Self::Page(page) => {
                if let Some(seconds) = page.retry_after_s() {
                    headers.insert(header::RETRY_AFTER, seconds.into());
                }
                if page.closes() {
                    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
            }
            Self::Redirect(_, location) => {
                headers.insert(header::LOCATION, location);
            }
            Self::Admit(cookie) => {
                headers.insert(header::SET_COOKIE, cookie);
                headers.insert(header::LOCATION, HeaderValue::from_static("/"));
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            }
        }
        response
    }
}
