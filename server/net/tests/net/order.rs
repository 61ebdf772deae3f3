//! Requests take effect in order, and answers leave in that order.

use thalweg_net::{Closed, Limits};
use tokio::io::AsyncWriteExt;

use crate::support::{framed, with_server};

#[test]
fn a_byte_at_a_time_is_a_request_too() {
    with_server(Limits::default(), async |server| {
        let mut client = server.client().await;
        for byte in framed("echo") {
            client.0.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(client.receive().await, "echo");
    });
}

#[test]
fn many_requests_in_one_write_are_all_answered_in_order() {
    with_server(Limits::default(), async |server| {
        let mut client = server.client().await;
        let bodies: Vec<String> = (0..1_000).map(|number| format!("e{number}")).collect();
        client.send(&bodies.iter().map(String::as_str).collect::<Vec<_>>()).await;
        for body in bodies {
            assert_eq!(client.receive().await, body);
        }
        assert_eq!(server.counters.requests(), 1_000);
        assert_eq!(server.counters.bytes_in(), server.counters.bytes_out());
    });
}

#[test]
fn frames_of_every_size_around_a_chunk_are_echoed() {
    with_server(Limits::default(), async |server| {
        let mut client = server.client().await;
        for bytes in [1, 4091, 4092, 4093, 65_531, 65_532, 65_533, 3 << 20, 5, 3 << 20] {
            let body = "e".repeat(bytes);
            client.send(&[&body, "end"]).await;
            assert!(client.receive().await == body, "{bytes} bytes");
            assert_eq!(client.receive().await, "end");
        }
    });
}

#[test]
fn pipelined_answers_keep_request_order_when_a_later_one_is_ready_first() {
    with_server(Limits::default(), async |server| {
        let mut client = server.client().await;
        client.send(&["p1", "p2", "e3"]).await;
        server.until(|it| it.toy.served.borrow().len() == 3).await;
        server.toy.answer(1);
        server.toy.answer(0);
        for expected in ["p1", "p2", "e3"] {
            assert_eq!(client.receive().await, expected);
        }
    });
}

#[test]
fn a_request_that_is_not_pipelined_holds_back_the_next_frame() {
    with_server(Limits::default(), async |server| {
        let mut client = server.client().await;
        client.send(&["w1", "e2"]).await;
        server.until(|it| !it.toy.waiting.borrow().is_empty()).await;
        let mut other = server.client().await;
        assert_eq!(other.ask("e").await, "e", "other connections are served");
        assert_eq!(server.toy.served(), ["w1", "e"]);
        server.toy.answer(0);
        assert_eq!(client.receive().await, "w1");
        assert_eq!(client.receive().await, "e2");
    });
}

#[test]
fn a_request_that_is_not_pipelined_goes_on_behind_one_that_is_not_answered() {
    with_server(Limits::default(), async |server| {
        let mut client = server.client().await;
        client.send(&["p1", "w2", "e3"]).await;
        server.until(|it| it.toy.waiting.borrow().len() == 2).await;
        server.toy.answer(1);
        server.until(|it| it.toy.served.borrow().len() == 3).await;
        server.toy.answer(0);
        for expected in ["p1", "w2", "e3"] {
            assert_eq!(client.receive().await, expected);
        }
        server.until(|it| it.net.in_flight_bytes() == 0).await;
    });
}

#[test]
fn an_answer_whose_time_is_up_is_asked_for_though_nothing_wakes_it() {
    with_server(Limits::default(), async |server| {
        let mut client = server.client().await;
        assert_eq!(client.ask("t").await, "t");
    });
}

#[test]
fn no_more_than_64_requests_are_in_flight() {
    with_server(Limits::default(), async |server| {
        let mut client = server.client().await;
        client.send(&["p"; 100]).await;
        server.until(|it| it.toy.served.borrow().len() >= 64).await;
        assert_eq!(server.client().await.ask("e").await, "e");
        assert_eq!(server.toy.served.borrow().len(), 65);
        for _ in 0..100 {
            server.until(|it| !it.toy.waiting.borrow().is_empty()).await;
            server.toy.answer(0);
            assert_eq!(client.receive().await, "p");
        }
    });
}

#[test]
fn a_request_without_response_is_skipped_in_the_answers() {
    with_server(Limits::default(), async |server| {
        let mut client = server.client().await;
        client.send(&["e1", "n2", "e3"]).await;
        assert_eq!(client.receive().await, "e1");
        assert_eq!(client.receive().await, "e3");
    });
}

#[test]
fn the_node_can_close_at_once_or_after_the_answer() {
    with_server(Limits::default(), async |server| {
        let mut client = server.client().await;
        client.send(&["e1", "c2", "e3"]).await;
        assert_eq!(client.receive().await, "e1");
        assert!(client.is_closed().await);
        let mut client = server.client().await;
        client.send(&["a1", "e2"]).await;
        assert_eq!(client.receive().await, "a1");
        assert!(client.is_closed().await);
        assert_eq!(server.toy.served(), ["e1", "c2", "a1"]);
        assert_eq!(server.counters.closed(Closed::ByNode), 2);
    });
}

#[test]
fn a_client_that_ends_its_side_still_gets_its_answers() {
    with_server(Limits::default(), async |server| {
        let mut client = server.client().await;
        client.send(&["p1", "e2"]).await;
        client.0.shutdown().await.unwrap();
        server.until(|it| it.toy.served.borrow().len() == 2).await;
        server.toy.answer(0);
        assert_eq!(client.receive().await, "p1");
        assert_eq!(client.receive().await, "e2");
        assert!(client.is_closed().await);
        assert_eq!(server.counters.closed(Closed::ByClient), 1);
    });
}

#[test]
fn a_throttled_connection_is_answered_first_and_muted_then() {
    with_server(Limits::default(), async |server| {
        let mut client = server.client().await;
        client.send(&["m1", "e2"]).await;
        assert_eq!(client.receive().await, "m1");
        assert_eq!(server.toy.served(), ["m1"]);
        tokio::time::pause();
        tokio::time::advance(std::time::Duration::from_millis(1_001)).await;
        assert_eq!(client.receive().await, "e2");
    });
}
