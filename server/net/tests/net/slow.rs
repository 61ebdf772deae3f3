//! Idle connections and peers that are too slow, on a clock that the test moves.

use std::time::Duration;

use thalweg_net::{Closed, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{advance, pause, resume};

use crate::support::{BIG_BYTES, framed, with_server};

#[test]
fn an_idle_connection_is_closed_and_a_used_one_is_not() {
    let limits = Limits { idle_max: Duration::from_secs(60), ..Limits::default() };
    with_server(limits, async |server| {
        let (mut idle, mut used) = (server.client().await, server.client().await);
        let mut unanswered = server.client().await;
        for client in [&mut idle, &mut used, &mut unanswered] {
            client.ask("e").await;
        }
        pause();
        advance(Duration::from_secs(59)).await;
        resume();
        assert_eq!(used.ask("e").await, "e");
        unanswered.send(&["n"]).await;
        server.until(|it| it.counters.requests() == 5).await;
        pause();
        advance(Duration::from_secs(2)).await;
        resume();
        assert!(idle.is_closed().await);
        assert_eq!(used.ask("e").await, "e");
        assert_eq!(unanswered.ask("e").await, "e");
        assert_eq!(server.counters.closed(Closed::Idle), 1);
    });
}

#[test]
fn a_connection_whose_answer_is_awaited_is_not_idle() {
    let limits = Limits { idle_max: Duration::from_secs(60), ..Limits::default() };
    with_server(limits, async |server| {
        let mut client = server.client().await;
        client.send(&["w"]).await;
        server.until(|it| !it.toy.waiting.borrow().is_empty()).await;
        pause();
        advance(Duration::from_secs(300)).await;
        resume();
        assert_eq!(server.client().await.ask("e").await, "e", "the server had its turn");
        server.toy.answer(0);
        assert_eq!(client.receive().await, "w");
    });
}

#[test]
fn a_frame_that_is_not_finished_in_time_ends_the_connection() {
    with_server(Limits::default(), async |server| {
        let mut client = server.client().await;
        let bytes = framed("e1234567");
        client.0.write_all(&bytes[..5]).await.unwrap();
        server.until(|it| it.counters.bytes_in() == 5).await;
        pause();
        advance(Duration::from_secs(29)).await;
        resume();
        client.0.write_all(&bytes[5..6]).await.unwrap();
        server.until(|it| it.counters.bytes_in() == 6).await;
        pause();
        advance(Duration::from_secs(2)).await;
        resume();
        assert!(client.is_closed().await, "one byte is no pace");
        assert_eq!(server.counters.closed(Closed::SlowSender), 1);
    });
}

#[test]
fn each_frame_has_its_own_time() {
    with_server(Limits::default(), async |server| {
        let mut client = server.client().await;
        let bytes = framed("e12");
        client.0.write_all(&bytes[..5]).await.unwrap();
        for _ in 0..4 {
            server.until(|it| it.net.in_flight_bytes() == 5).await;
            pause();
            advance(Duration::from_secs(20)).await;
            resume();
            // The rest of one frame, and in the same segment the beginning of the next.
            client.0.write_all(&[&bytes[5..], &bytes[..5]].concat()).await.unwrap();
            assert_eq!(client.receive().await, "e12");
        }
    });
}

#[test]
fn a_client_that_does_not_read_is_served_no_further_and_cut_off() {
    with_server(Limits::default(), async |server| {
        let mut client = server.client().await;
        client.send(&["b", "b", "b"]).await;
        server.until(|it| it.net.in_flight_bytes() > 0).await;
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(server.toy.served(), ["b"], "a backlog stops the serving");
        let kernel_bytes_max = 1 << 20;
        assert!(server.net.in_flight_bytes() <= BIG_BYTES + kernel_bytes_max);
        pause();
        advance(Duration::from_secs(31)).await;
        resume();
        server.until(|it| it.counters.closed(Closed::SlowReader) == 1).await;
        assert_eq!(server.net.in_flight_bytes(), 0);
    });
}

/// Lets a client rest with a large answer for so long, and tells how many were cut off for it.
fn cut_off_after(rest: Duration, in_flight_bytes_max: usize) -> u64 {
    with_server(Limits { in_flight_bytes_max, ..Limits::default() }, async |server| {
        let (mut slow, mut good) = (server.client().await, server.client().await);
        slow.send(&["b", "b", "b"]).await;
        server.until(|it| it.net.in_flight_bytes() >= BIG_BYTES).await;
        assert_eq!(good.ask("e").await, "e", "nobody waits for it");
        // Until the kernel has taken all that it takes: then only the clock can wake its task.
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        pause();
        advance(rest).await;
        resume();
        assert_eq!(good.ask("e").await, "e");
        server.counters.closed(Closed::SlowReader)
    })
}

#[test]
fn who_holds_much_and_rests_is_cut_off_soon_where_the_budget_is_spent() {
    assert_eq!(cut_off_after(Duration::from_secs(4), 1 << 20), 0);
    assert_eq!(cut_off_after(Duration::from_secs(7), 1 << 20), 1);
    assert_eq!(cut_off_after(Duration::from_secs(25), 1 << 30), 0, "there is room for its answer");
}

#[test]
fn who_has_taken_much_is_known_to_read() {
    with_server(Limits::default(), async |server| {
        let mut client = server.client().await;
        assert_eq!(client.ask("r").await, "false");
        client.send(&["b"]).await;
        let mut answer = vec![0; 4 + BIG_BYTES];
        client.0.read_exact(&mut answer).await.unwrap();
        assert_eq!(client.ask("r").await, "true");
    });
}

#[test]
fn a_client_that_reads_steadily_is_kept() {
    with_server(Limits::default(), async |server| {
        let mut client = server.client().await;
        client.send(&["b"]).await;
        let mut chunk = vec![0; 4 << 20];
        for _ in 0..4 {
            client.0.read_exact(&mut chunk).await.unwrap();
            server.until(|it| it.counters.bytes_out() > 0).await;
            pause();
            advance(Duration::from_secs(25)).await;
            resume();
        }
        client.0.read_exact(&mut [0; 4]).await.unwrap();
        assert_eq!(client.ask("e").await, "e");
    });
}
