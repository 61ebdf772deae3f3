//! What is refused, what waits, and what never allocates.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use thalweg_net::{Closed, Limits, ListenerLimits};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::support::{framed, with_server};

#[test]
fn bad_frame_lengths_close_the_connection_after_the_answers_before_them() {
    let limits = Limits { frame_bytes_max: 10, ..Limits::default() };
    with_server(limits, async |server| {
        for (count, length) in [-1, i32::MIN, i32::MAX, 11].into_iter().enumerate() {
            let mut client = server.client().await;
            let bytes = [framed("e1"), length.to_be_bytes().to_vec()].concat();
            client.0.write_all(&bytes).await.unwrap();
            assert_eq!(client.receive().await, "e1", "{length}");
            assert!(client.is_closed().await, "{length}");
            server.until(|it| it.counters.closed(Closed::BadFrame) == count as u64 + 1).await;
        }
        assert_eq!(server.client().await.ask(&"e".repeat(10)).await.len(), 10);
    });
}

#[test]
fn a_changed_frame_limit_holds_for_open_connections() {
    with_server(Limits::default(), async |server| {
        let mut client = server.client().await;
        assert_eq!(client.ask("e12345").await, "e12345");
        server.net.set_limits(Limits { frame_bytes_max: 5, ..Limits::default() });
        client.send(&["e12345"]).await;
        assert!(client.is_closed().await);
    });
}

#[test]
fn tls_and_http_are_told_from_kafka() {
    with_server(Limits::default(), async |server| {
        for start in [&b"GET / HTTP/1.1\r\n"[..], b"POST /", b"\x16\x03\x01\x02\x00\x01"] {
            let mut client = server.client().await;
            client.0.write_all(start).await.unwrap();
            assert!(client.is_closed().await);
        }
        server.until(|it| it.counters.closed(Closed::WrongProtocol) == 3).await;
    });
}

#[test]
fn an_address_gets_as_many_connections_as_its_limit_says() {
    let limits = Limits {
        connections_per_ip_max: 100,
        connections_per_ip_overrides: BTreeMap::from([(IpAddr::from([127, 0, 0, 1]), 2)]),
        ..Limits::default()
    };
    with_server(limits, async |server| {
        let (mut first, mut second) = (server.client().await, server.client().await);
        first.ask("e").await;
        second.ask("e").await;
        assert!(server.client().await.is_closed().await);
        assert_eq!(server.counters.refused(), 1);
        drop(first);
        server.until(|it| it.counters.connections() == 1).await;
        assert_eq!(server.client().await.ask("e").await, "e");
    });
}

#[test]
fn a_connection_over_the_limit_of_the_listener_waits_for_a_place() {
    let one = ListenerLimits { connections_max: 1, ..ListenerLimits::default() };
    let listeners = BTreeMap::from([("TEST".to_owned(), one)]);
    with_server(Limits { listeners, ..Limits::default() }, async |server| {
        let mut first = server.client().await;
        first.ask("e").await;
        let mut second = server.client().await;
        second.send(&["e2"]).await;
        first.ask("e").await;
        assert_eq!(server.toy.served(), ["e", "e"], "the second waits");
        drop(first);
        assert_eq!(second.receive().await, "e2");
    });
}

#[test]
fn a_raised_limit_lets_waiting_connections_in() {
    with_server(Limits { connections_max: 0, ..Limits::default() }, async |server| {
        let mut client = server.client().await;
        client.send(&["e"]).await;
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        server.net.set_limits(Limits::default());
        assert_eq!(client.receive().await, "e");
    });
}

#[test]
fn a_spent_budget_stops_reading_from_who_holds_much_and_nothing_is_lost() {
    with_server(Limits { in_flight_bytes_max: 100_000, ..Limits::default() }, async |server| {
        let (mut first, mut second) = (server.client().await, server.client().await);
        let big = "p".repeat(200_000);
        first.send(&[&big]).await;
        server.until(|it| it.net.in_flight_bytes() >= 200_000).await;
        assert_eq!(server.net.answer_bytes_left(), 100_000, "requests take nothing from answers");
        first.send(&["p"]).await;
        assert_eq!(second.ask("e").await, "e", "who holds little is served");
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(server.toy.served.borrow().len(), 2, "the first is not read from");
        server.toy.answer(0);
        assert_eq!(first.receive().await, big);
        server.until(|it| it.toy.served.borrow().len() == 3).await;
        server.until(|it| it.net.in_flight_bytes() <= 1).await;
    });
}

#[test]
fn what_the_node_holds_counts_until_it_is_given_back() {
    with_server(Limits { in_flight_bytes_max: 100_000, ..Limits::default() }, async |server| {
        let mut held = server.net.hold_answer(300_000);
        assert_eq!(server.net.answer_bytes_left(), 0);
        let mut client = server.client().await;
        assert_eq!(client.ask("e").await, "e");
        held.set(40_000);
        assert_eq!(server.net.answer_bytes_left(), 60_000);
        drop(held);
        assert_eq!(server.net.answer_bytes_left(), 100_000);
    });
}

#[test]
fn readers_wait_for_room_in_the_order_of_coming() {
    with_server(Limits { in_flight_bytes_max: 100, ..Limits::default() }, async |server| {
        let held = server.net.hold_answer(100);
        assert!(server.net.hold_answer_within(1, true, None).is_none());
        let (told, mut order) = tokio::sync::mpsc::unbounded_channel();
        let mut readers = Vec::new();
        for number in 0..3 {
            let (net, told) = (server.net.clone(), told.clone());
            let place = net.draw_place();
            readers.push(tokio::task::spawn_local(async move {
                let turn = net.answer_room(true, place).await;
                told.send(number).unwrap();
                // As much as there is: the next one has to wait for it.
                let held = net.hold_answer_within(100, true, Some(place));
                drop(turn);
                held
            }));
        }
        // Who gives up is no hindrance.
        tokio::task::yield_now().await;
        readers.remove(1).abort();
        tokio::task::yield_now().await;
        assert!(order.try_recv().is_err(), "nobody goes while nothing is left");
        drop(held);
        assert!(
            server.net.hold_answer_within(1, true, None).is_none(),
            "who comes later waits, too"
        );
        assert_eq!(order.recv().await, Some(0));
        let first = readers.remove(0).await.unwrap();
        tokio::task::yield_now().await;
        assert!(order.try_recv().is_err());
        drop(first);
        assert_eq!(order.recv().await, Some(2));
    });
}

#[test]
fn where_readers_use_up_all_a_new_one_is_let_in_now_and_then() {
    with_server(Limits { in_flight_bytes_max: 100, ..Limits::default() }, async |server| {
        tokio::time::pause();
        let _readers = server.net.hold_answer(80);
        let begun = Instant::now();
        for _ in 0..2 {
            assert!(server.net.hold_answer_within(1, false, None).is_none());
            let place = server.net.draw_place();
            let turn = server.net.answer_room(false, place).await;
            assert!(turn.as_reader);
            assert!(server.net.hold_answer_within(1, true, None).is_none(), "it came before");
            assert!(server.net.hold_answer_within(1, true, Some(place)).is_some());
        }
        assert!(begun.elapsed() > Duration::from_secs(5), "one after the other");
    });
}

/// Asks once.
async fn has_come(turn: Pin<&mut impl Future>) -> bool {
    let mut turn = Some(turn);
    poll_fn(|cx| Poll::Ready(turn.take().is_some_and(|turn| turn.poll(cx).is_ready()))).await
}

#[test]
fn who_becomes_the_first_hears_of_it_and_of_room() {
    with_server(Limits { in_flight_bytes_max: 100, ..Limits::default() }, async |server| {
        tokio::time::pause();
        let (net, begun) = (&server.net, Instant::now());
        // Each waits for room and for his time to be over; which of the two is asked first is drawn.
        for _ in 0..100 {
            let held = net.hold_answer(100);
            let mut first = Box::pin(net.answer_room(false, net.draw_place()));
            let mut second = pin!(net.answer_room(false, net.draw_place()));
            assert!(!has_come(first.as_mut()).await);
            assert!(!has_come(second.as_mut()).await);
            drop(first);
            // It goes on as the first before there is room.
            assert!(!has_come(second.as_mut()).await);
            drop(held);
            assert!(!second.await.as_reader);
        }
        assert_eq!(begun.elapsed(), Duration::ZERO, "nobody waited for his time to be over");
    });
}

#[test]
fn frames_larger_than_the_whole_budget_still_get_through() {
    with_server(Limits { in_flight_bytes_max: 10_000, ..Limits::default() }, async |server| {
        let mut clients = Vec::new();
        let body = "e".repeat(200_000);
        for _ in 0..5 {
            let mut client = server.client().await;
            let body = body.clone();
            clients.push(tokio::task::spawn_local(async move {
                assert!(client.ask(&body).await == body);
                client
            }));
        }
        let mut open = Vec::new();
        for client in clients {
            open.push(client.await.unwrap());
        }
        server.until(|it| it.net.in_flight_bytes() == 0).await;
    });
}

#[test]
fn a_thousand_announcements_of_100_mib_cost_next_to_nothing() {
    let soft = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: soft.maximum, ..soft };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    with_server(Limits::default(), async |server| {
        let before = resident_bytes();
        let mut clients = Vec::new();
        for _ in 0..1_000 {
            let mut client = server.client().await;
            client.0.write_all(&(100_u32 << 20).to_be_bytes()).await.unwrap();
            clients.push(client);
        }
        server.until(|it| it.net.in_flight_bytes() == 4_000).await;
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < 64 << 20, "{grown} bytes for 1,000 connections");
        assert_eq!(server.client().await.ask("e").await, "e", "others are served");
    });
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * rustix::param::page_size()
}
