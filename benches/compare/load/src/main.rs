//! `load --to ADDRESS …`: sends requests from one thread for some time, and prints the results as JSON.
//!
//! Without `--rate`, every connection sends its next request upon each response (saturation). With a rate, requests
//! are due at fixed times, and latency counts from the due time, so a gateway that stalls is charged for the queue.
//! The target must be a loopback address.

mod connection;
mod http1;
mod http2;

use std::{
    collections::{BTreeMap, VecDeque},
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
    num::NonZeroU64,
    rc::Rc,
    time::{Duration, Instant},
};

use connection::{Connection, Request};
use rustix::{buffer::spare_capacity, event::epoll, time::Timespec};

/// The wait for responses after the last request.
const TIMEOUT: Duration = Duration::from_secs(2);

struct Options {
    to: SocketAddr,
    from: Option<IpAddr>,
    http2: bool,
    connections: usize,
    /// Concurrent requests on each connection; more than one only over HTTP/2.
    streams: usize,
    rate: f64,
    /// The end of the run: after a time, or after a number of requests.
    time: Duration,
    most: u64,
    requests: Vec<Request>,
}

impl Options {
    fn parse() -> Result<Self, Box<dyn Error>> {
        let mut given = BTreeMap::new();
        let mut words = std::env::args().skip(1);
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            given.insert(name, value);
        }
        let mut number = |name: &str, default: f64| given.remove(name).map_or(Ok(default), |it| it.parse());
        let (connections, streams) = (number("--connections", 32.0)?, number("--streams", 1.0)?);
        let (rate, seconds) = (number("--rate", 0.0)?, number("--seconds", 2.0)?);
        let (body, routes) = (number("--body", 0.0)?, number("--routes", 0.0)?);
        let most = number("--requests", f64::INFINITY)? as u64;
        let mut text = |name: &str| given.remove(name);
        let to: SocketAddr = text("--to").ok_or("--to ADDRESS is missing")?.parse()?;
        let from = text("--from").map(|it| it.parse()).transpose()?;
        let http2 = text("--protocol").is_some_and(|it| it == "h2");
        let keys = text("--keys").map(std::fs::read_to_string).transpose()?;
        if let Some(unknown) = given.keys().next() {
            return Err(format!("unknown option {unknown}").into());
        }
        if !to.ip().is_loopback() {
            return Err("--to must be a loopback address".into());
        }
        let requests = requests(keys.as_deref(), routes as usize, body as usize, http2);
        let time = Duration::from_secs_f64(seconds);
        let (connections, streams) = (connections as usize, streams as usize);
        Ok(Self { to, from, http2, connections, streams, rate, time, most, requests })
    }
}

/// One request for each key and route, so that none is serialized while the time runs.
fn requests(keys: Option<&str>, routes: usize, body: usize, http2: bool) -> Vec<Request> {
    let keys: Vec<_> = keys.map_or(vec![None], |keys| keys.lines().map(Some).collect());
    let body: Rc<[u8]> = vec![b'x'; body].into();
    let compose = if http2 { http2::head } else { http1::head };
    (0..keys.len().max(routes))
        .map(|at| {
            let path = if routes == 0 { "/api/item".into() } else { format!("/route{}/item", at % routes) };
            let fields = http1::fields(keys[at % keys.len()], body.len());
            Request { head: compose(&path, &fields, !body.is_empty()).into(), body: body.clone() }
        })
        .collect()
}

/// The results of the requests.
#[derive(Default)]
struct Tally {
    statuses: BTreeMap<u16, u64>,
    /// Nanoseconds.
    times: Vec<u64>,
    content: u64,
    errors: u64,
    reconnects: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse()?;
    // Sets the kernel's timer slack, 50 µs by default, to a minimum, so that late wake-ups do not count as latency.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
    let (tally, elapsed) = run(&options)?;
    report(tally, elapsed);
    Ok(())
}

fn run(options: &Options) -> io::Result<(Tally, Duration)> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let open = |at: usize| -> io::Result<Connection> {
        let connection = Connection::open(options.to, options.from, options.http2)?;
        let flags = epoll::EventFlags::IN;
        epoll::add(&poll, &connection.stream, epoll::EventData::new_u64(at as u64), flags)?;
        Ok(connection)
    };
    let mut connections = (0..options.connections).map(open).collect::<io::Result<Vec<_>>>()?;
    // The queue of idle connections; a connection has one entry for each further request that it may send.
    let mut free: VecDeque<usize> = (0..options.streams).flat_map(|_| 0..options.connections).collect();
    let (mut tally, mut running, mut sent) = (Tally::default(), 0_usize, 0_u64);
    let (mut events, mut ended, mut touched) = (Vec::with_capacity(256), Vec::new(), Vec::new());
    let start = Instant::now();
    let end = start + options.time;
    let due = |sent: u64| match options.rate {
        0.0 => Instant::now(),
        rate => start + Duration::from_secs_f64(sent as f64 / rate),
    };
    let mut last = start;
    loop {
        let now = Instant::now();
        let over = now >= end || sent >= options.most;
        if over && (running == 0 || now > end + TIMEOUT) {
            tally.errors += running as u64;
            return Ok((tally, last - start));
        }
        while now < end && sent < options.most && !free.is_empty() {
            let due = due(sent);
            if options.rate > 0.0 && due > now {
                break;
            }
            let Some(at) = free.pop_front() else { break };
            connections[at].begin(&options.requests[sent as usize % options.requests.len()], due);
            touched.push(at);
            running += 1;
            sent += 1;
        }
        for at in touched.drain(..) {
            flush(&poll, &mut connections[at], at)?;
        }
        let wait = if options.rate > 0.0 && now < end && !free.is_empty() {
            due(sent).saturating_duration_since(Instant::now())
        } else {
            Duration::from_millis(50)
        };
        let wait = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        epoll::wait(&poll, spare_capacity(&mut events), Some(&wait))?;
        for event in events.drain(..) {
            let at = event.data.u64() as usize;
            let connection = &mut connections[at];
            let open_still = connection.read(&mut ended);
            last = Instant::now();
            for answer in ended.drain(..) {
                running -= 1;
                free.push_back(at);
                match answer.status {
                    0 => tally.errors += 1,
                    status => {
                        *tally.statuses.entry(status).or_default() += 1;
                        tally.times.push((last - answer.due).as_nanos() as u64);
                        tally.content += answer.content;
                    }
                }
            }
            if open_still {
                flush(&poll, connection, at)?;
                continue;
            }
            let lost = connection.running();
            running -= lost;
            tally.errors += lost as u64;
            free.extend(std::iter::repeat_n(at, lost));
            tally.reconnects += 1;
            *connection = open(at)?;
        }
    }
}

/// Writes as much as possible, and requests an event if more can be written later.
fn flush(poll: &impl std::os::fd::AsFd, connection: &mut Connection, at: usize) -> io::Result<()> {
    let waited = connection.waits_to_write;
    connection.flush();
    if connection.waits_to_write != waited {
        let write = if waited { epoll::EventFlags::empty() } else { epoll::EventFlags::OUT };
        let flags = epoll::EventFlags::IN | write;
        epoll::modify(poll, &connection.stream, epoll::EventData::new_u64(at as u64), flags)?;
    }
    Ok(())
}

fn report(mut tally: Tally, elapsed: Duration) {
    tally.times.sort_unstable();
    let count = tally.times.len();
    let micros = |share: f64| {
        let at = ((count as f64 * share) as usize).min(count.saturating_sub(1));
        tally.times.get(at).map_or(0.0, |time| *time as f64 / 1000.0)
    };
    let statuses: Vec<_> = tally.statuses.iter().map(|(status, n)| format!("\"{status}\":{n}")).collect();
    let seconds = elapsed.as_secs_f64();
    println!(
        "{{\"requests\":{count},\"seconds\":{seconds:.3},\"per_second\":{:.0},\"statuses\":{{{}}},\"errors\":{},\
         \"reconnects\":{},\"content\":{:.1},\"p50_us\":{:.1},\"p99_us\":{:.1},\"p999_us\":{:.1},\"max_us\":{:.1}}}",
        count as f64 / seconds.max(1e-9),
        statuses.join(","),
        tally.errors,
        tally.reconnects,
        tally.content as f64 / count.max(1) as f64,
        micros(0.5),
        micros(0.99),
        micros(0.999),
        micros(1.0),
    );
}
