//! A server of one shard, and a client that speaks in frames.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use thalweg_net::{Handler, Limits, Listener, ListenerCounters, ListenerOptions, Net, Peer};
use thalweg_net::{Response, Served};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::Instant;

/// Serves by the first byte of a frame; answers echo the frame unless said otherwise.
#[derive(Default)]
pub struct Toy {
    /// Every frame, in the order of the calls.
    pub served: RefCell<Vec<Bytes>>,
    /// Answers of `p` and `w` frames that the test has not let go yet.
    pub waiting: RefCell<VecDeque<oneshot::Sender<()>>>,
}

impl Handler for Toy {
    fn serve(self: &Rc<Self>, peer: &Rc<Peer>, frame: BytesMut) -> Served {
        let frame = frame.freeze();
        self.served.borrow_mut().push(frame.clone());
        let echo = Response::new(vec![frame.clone()]);
        match frame.first() {
            Some(b'p') => self.later(echo, true),
            Some(b'w') => self.later(echo, false),
            Some(b's') => {
                peer.woke(1);
                Served::Now(echo)
            }
            Some(b't') => in_time(echo),
            Some(b'n') => Served::NoResponse,
            Some(b'r') => Served::Now(Response::new(vec![peer.reads.get().to_string().into()])),
            Some(b'c') => Served::Close("the frame asks for it".into()),
            Some(b'a') => Served::Now(Response { close_after: true, ..echo }),
            Some(b'm') => Served::Now(Response { mute_ms: 1_000, ..echo }),
            Some(b'b') => Served::Now(Response::new(vec![Bytes::from(vec![0; BIG_BYTES])])),
            _ => Served::Now(echo),
        }
    }
}

/// An answer that is ready once its time is up, and wakes nobody then.
fn in_time(response: Response) -> Served {
    let until = Instant::now() + Duration::from_millis(1);
    let mut response = Some(response);
    let future = Box::pin(poll_fn(move |_| match Instant::now() < until {
        true => Poll::Pending,
        false => Poll::Ready(response.take().expect("polled until it is ready")),
    }));
    Served::Later { future, pipelined: false, until: Some(until) }
}

/// The size of the answer to a `b` frame.
pub const BIG_BYTES: usize = 16 << 20;

impl Toy {
    fn later(&self, response: Response, pipelined: bool) -> Served {
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().push_back(sender);
        let future = Box::pin(async {
            receiver.await.expect("the test keeps or sends it");
            response
        });
        Served::Later { future, pipelined, until: None }
    }

    /// Lets the `index`-th of the waiting answers go.
    pub fn answer(&self, index: usize) {
        self.waiting.borrow_mut().remove(index).unwrap().send(()).unwrap();
    }

    pub fn served(&self) -> Vec<String> {
        let served = self.served.borrow();
        served.iter().map(|frame| String::from_utf8_lossy(frame).into_owned()).collect()
    }
}

pub struct Server {
    pub net: Arc<Net>,
    pub toy: Rc<Toy>,
    pub address: SocketAddr,
    pub counters: Arc<ListenerCounters>,
    pub shard: JoinHandle<()>,
    pub acceptor: JoinHandle<std::io::Result<()>>,
}

/// Runs a test beside a server with these limits, all in one thread.
pub fn with_server<T>(limits: Limits, test: impl AsyncFnOnce(Server) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { test(start(limits)).await })
}

fn start(limits: Limits) -> Server {
    let (net, mut inboxes) = Net::new(limits, 1);
    let listener = Listener::bind(&ListenerOptions::plaintext("TEST", "127.0.0.1", 0)).unwrap();
    let (address, counters) = (listener.local_addr(), listener.counters());
    let toy = Rc::new(Toy::default());
    let shard = tokio::task::spawn_local(inboxes.remove(0).serve(toy.clone()));
    let acceptor = tokio::spawn(net.clone().accept(listener));
    Server { net, toy, address, counters, shard, acceptor }
}

impl Server {
    pub async fn client(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Lets the server work until `done`, without a clock.
    pub async fn until(&self, done: impl Fn(&Self) -> bool) {
        for _ in 0..100_000 {
            if done(self) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("it never came to that");
    }
}

pub struct Client(pub TcpStream);

/// A frame as it goes over the wire.
pub fn framed(body: &str) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&length, body.as_bytes()].concat()
}

impl Client {
    pub async fn send(&mut self, bodies: &[&str]) {
        let bytes: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
        self.0.write_all(&bytes).await.unwrap();
    }

    pub async fn receive(&mut self) -> String {
        let length = self.0.read_u32().await.unwrap();
        let mut body = vec![0; length as usize];
        self.0.read_exact(&mut body).await.unwrap();
        String::from_utf8(body).unwrap()
    }

    pub async fn ask(&mut self, body: &str) -> String {
        self.send(&[body]).await;
        self.receive().await
    }

    /// Whether the server closes without another byte.
    pub async fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 1]).await, Ok(0) | Err(_))
    }
}
