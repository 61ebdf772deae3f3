//! Stopping: what is in flight is answered, nothing new begins, and it ends in time.

use std::time::Duration;

use thalweg_net::{Closed, Limits};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::support::with_server;

#[test]
fn requests_in_flight_are_answered_and_no_others() {
    with_server(Limits::default(), async |server| {
        let (mut busy, mut idle) = (server.client().await, server.client().await);
        assert_eq!(idle.ask("e").await, "e");
        busy.send(&["w1", "e2"]).await;
        server.until(|it| !it.toy.waiting.borrow().is_empty()).await;
        server.net.shut_down(Duration::from_secs(60));
        assert!(idle.is_closed().await);
        server.toy.answer(0);
        assert_eq!(busy.receive().await, "w1");
        assert!(busy.is_closed().await);
        drop((busy, idle));
        server.acceptor.await.unwrap().unwrap();
        server.shard.await.unwrap();
        assert_eq!(server.counters.closed(Closed::Shutdown), 2);
        assert!(TcpStream::connect(server.address).await.is_err(), "the port is free");
    });
}

#[test]
fn the_deadline_ends_what_is_not_answered() {
    with_server(Limits::default(), async |server| {
        let mut client = server.client().await;
        client.send(&["w"]).await;
        server.until(|it| !it.toy.waiting.borrow().is_empty()).await;
        server.net.shut_down(Duration::from_secs(60));
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        server.shard.await.unwrap();
        // A paused clock jumps to the next deadline when nothing else is to do.
        assert!(began.elapsed() <= Duration::from_secs(61));
        assert!(client.is_closed().await);
    });
}

#[test]
fn a_client_with_unread_requests_gets_its_answers_and_no_reset() {
    with_server(Limits::default(), async |server| {
        let mut client = server.client().await;
        client.send(&["w1"]).await;
        server.until(|it| !it.toy.waiting.borrow().is_empty()).await;
        // None of these is read while the first one waits.
        let rest = "e".repeat(50_000);
        client.send(&[&rest, &rest, &rest]).await;
        server.net.shut_down(Duration::from_secs(60));
        server.toy.answer(0);
        assert_eq!(client.receive().await, "w1");
        client.send(&["e2"]).await;
        assert_eq!(client.0.read(&mut [0; 1]).await.unwrap(), 0, "the end, not a reset");
        drop(client);
        server.shard.await.unwrap();
        assert_eq!(server.toy.served(), ["w1"]);
    });
}
