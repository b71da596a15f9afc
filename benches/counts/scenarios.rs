//! The list of counted scenarios.

use std::{
    cell::Cell,
    convert::Infallible,
    future::{Future, ready},
    net::Ipv4Addr,
    pin::pin,
    rc::Rc,
    task::{Context, Waker},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::CONTENT_TYPE, request::Parts};
use http_body_util::Empty;
use portcullis::{
    Policy,
    clock::Clock,
    problem::{self, Problem},
    tower::{PeerAddr, PortcullisLayer},
};
use tower::{Layer, Service, service_fn};

use portcullis_test::directory::{
    DirectoryFixture,
    cases::{Case, ample, cases, chain, key_on, request},
};

/// Counts or times the work that it is given.
pub type Counter<'a> = &'a mut dyn FnMut(&mut dyn FnMut());

/// Repeatable work to be counted.
pub struct Scenario {
    name: String,
    round: Box<dyn Fn(Counter<'_>)>,
}

impl Scenario {
    /// Creates a scenario. A round prepares its input and passes the work to the counter, once.
    fn new(name: impl Into<String>, round: impl Fn(Counter<'_>) + 'static) -> Self {
        Self { name: name.into(), round: Box::new(round) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn once(&self, counter: Counter<'_>) {
        (self.round)(counter);
    }
}

/// Returns all scenarios, in the order in which they run.
pub fn all() -> Vec<Scenario> {
    let (quiet, busy) = (Rc::new(DirectoryFixture::new()), DirectoryFixture::new());
    let now = quiet.clock.now();
    let cases: Vec<Rc<Case>> = cases(&quiet, &busy, now).into_iter().map(Rc::new).collect();
    let written = ["whole chain: 401", "whole chain: 406", "whole chain: 429"];
    let refusals: Vec<_> = cases.iter().filter(|case| written.contains(&case.name)).cloned().collect();
    let decided = cases.into_iter().map(|case| decision(case, &quiet));
    let answered = refusals.iter().map(|case| refusal(case.clone(), &quiet));
    let towers = [
        through_tower("tower: bare service", &quiet, (), ample_request(&quiet)),
        through_tower("tower: whole chain: admitted", &quiet, chain(&quiet), ample_request(&quiet)),
    ];
    let refused = refusals.iter().map(|case| {
        let name = format!("tower: {}", case.name);
        through_tower(&name, &quiet, chain(&quiet), case.request().clone())
    });
    decided.chain(answered).chain(towers).chain(refused).collect()
}

/// A decision of the core, until the admission is dropped.
fn decision(case: Rc<Case>, world: &DirectoryFixture) -> Scenario {
    let now = world.clock.now();
    Scenario::new(case.name, move |counter| {
        let mut admission = Some(case.admission());
        counter(&mut || {
            let outcome = admission.as_mut().map(|admission| case.decide(admission, now));
            drop((outcome, admission.take()));
        });
    })
}

/// A decision that denies, and its rendering as HTTP.
fn refusal(case: Rc<Case>, world: &DirectoryFixture) -> Scenario {
    let now = world.clock.now();
    Scenario::new(format!("written: {}", case.name), move |counter| {
        let mut admission = Some(case.admission());
        counter(&mut || {
            let Some(mut admission) = admission.take() else { return };
            let answer = case
                .decide(&mut admission, now)
                .map_err(|denial| problem::render(&denial, &Problem, &admission));
            drop((answer, admission));
        });
    })
}

/// A request through the Tower layer to a service that responds immediately. As behind a server, the request has the
/// client's address among its extensions, and the response a content type; neither is counted.
fn through_tower(
    name: &str,
    world: &DirectoryFixture,
    policy: impl Policy + 'static,
    parts: Parts,
) -> Scenario {
    let layer = PortcullisLayer::new(policy).clock(world.clock.clone()).without_strict_http().pass_through();
    let prepared = Rc::new(Cell::new(None));
    let inner = service_fn({
        let prepared = prepared.clone();
        move |_: Request<Empty<Bytes>>| ready(Ok::<_, Infallible>(prepared.take().unwrap_or_default()))
    });
    let service = layer.layer(inner);
    Scenario::new(name, move |counter| {
        let mut service = service.clone();
        let mut response = Response::new(Empty::<Bytes>::new());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        prepared.set(Some(response));
        let mut request = Request::from_parts(parts.clone(), Empty::<Bytes>::new());
        request.extensions_mut().insert(PeerAddr(Ipv4Addr::LOCALHOST.into()));
        let mut request = Some(request);
        counter(&mut || {
            let Some(request) = request.take() else { return };
            let response = pin!(service.call(request));
            let answered = response.poll(&mut Context::from_waker(Waker::noop()));
            assert!(answered.is_ready(), "the service answers at once");
        });
    })
}

fn ample_request(world: &DirectoryFixture) -> Parts {
    let key = key_on(world, &ample(world));
    request("PUT", &key, &[("content-type", "application/json"), ("accept", "application/json")])
}
